"""`pilothouse restart`: replace tasks as they are."""

import click

from pilothouse.cli import follow, options, output
from pilothouse.cli.command import command


@command(
    "restart",
    examples=[
        ("pilothouse restart shop web", "new tasks for one service, at the service's own pace"),
        ("pilothouse restart shop", "for every service"),
    ],
)
@click.option("-d", "--detach", is_flag=True, help="Do not wait until the new tasks are there.")
@follow.timeout_option
@options.as_json
@click.argument("app")
@click.argument("services", nargs=-1, metavar="[SERVICE…]")
def restart(*, detach: bool, timeout: str, as_json: bool, app: str, services: tuple[str, ...]) -> int:
    """Replace every task of services by a new one made alike, and unpark slots that had given up.

    The replacement goes as an update does: in the order and at the pace the manifest says.
    """
    seconds = follow.timeout_seconds(timeout)
    client = options.client()
    view = client.app(app)
    chosen = services or tuple(service.name for service in view.services)
    for name in chosen:
        client.restart(app, name)
    if detach:
        if as_json:
            output.json(client.app(app))
        else:
            output.line(f"restarting {', '.join(chosen)} of {app}")
        return 0
    return follow.until_converged(client, app, view.revision, seconds, as_json=as_json)
