"""`pilothouse restart`: replace tasks as they are, as a release."""

import click

from pilothouse.cli import follow, options, output
from pilothouse.cli.command import command
from pilothouse.cli.progress import Progress
from pilothouse.ids import SystemIds
from pilothouse.model.release_api import RestartRequest


@command(
    "restart",
    examples=[
        ("pilothouse restart shop web", "new tasks for one service, at the service's own pace"),
        ("pilothouse restart shop", "for every service"),
    ],
    exits=follow.EXITS,
)
@click.option("--rolling", is_flag=True, help="At the service's own pace; it always is, so this changes nothing.")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; kept with the release.")
@click.option("-d", "--detach", is_flag=True, help="Do not wait until the new tasks are there.")
@follow.timeout_option
@options.as_json
@click.argument("app")
@click.argument("services", nargs=-1, metavar="[SERVICE…]")
def restart(
    *, rolling: bool, message: str, detach: bool, timeout: str, as_json: bool, app: str, services: tuple[str, ...]
) -> int:
    """Replace every task of services by a new one made alike, and unpark slots that had given up.

    It is a release like any other: it goes in the order and at the pace the manifest says, is rolled back if the new
    tasks fail, and can be watched, paused and seen in `pilothouse releases ls`.
    """
    del rolling
    seconds = follow.timeout_seconds(timeout)
    client = options.client()
    progress = Progress(quiet=as_json)
    made = client.restart_services(app, RestartRequest(services=services, message=message), key=SystemIds().new())
    progress.say(f"{app} release {made.revision}: restarts {', '.join(services) or 'every service'}")
    if detach:
        if as_json:
            output.json(made)
        return 0
    return follow.until_stable(client, app, made.revision, seconds, as_json=as_json, progress=progress)
