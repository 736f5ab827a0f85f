"""`pilothouse down`: take an app down."""

import click

from pilothouse.cli import follow, options, output
from pilothouse.cli.command import command
from pilothouse.cli.progress import Progress
from pilothouse.clock import SystemClock


@command(
    "down",
    examples=[
        ("pilothouse down shop", "stop the app and remove it; its volumes stay"),
        ("pilothouse down --volumes shop", "and its volumes, with all data in them"),
    ],
    exits={0: "nothing of it is left", 2: "something is left when the time is up; the platform goes on"},
)
@click.option("-v", "--volumes", is_flag=True, help="Remove its named volumes too. Their data is lost.")
@click.option("-d", "--detach", is_flag=True, help="Do not wait until it is gone.")
@follow.timeout_option
@options.as_json
@options.app_argument
def down(*, volumes: bool, detach: bool, timeout: str, as_json: bool, app: str) -> None:
    """Stop every task of an app, dependents first, and remove the app.

    Without APP it takes down the app whose Compose file is in this directory.
    """
    seconds = follow.timeout_seconds(timeout)
    app = options.app_name(app)
    client = options.client()
    view = client.remove(app, volumes=volumes)
    if detach:
        if as_json:
            output.json(view)
        else:
            output.line(f"{app} is being taken down")
        return
    try:
        follow.wait_gone(client, app, seconds, Progress(quiet=as_json), SystemClock())
    except KeyboardInterrupt:
        output.note(f"interrupted; {app} goes on being taken down: `pilothouse ps {app}` shows how far it is")
        raise
    if as_json:
        output.json({"app": app, "gone": True, "volumes": volumes})
    else:
        output.line(f"{app} is gone" + (", its volumes too" if volumes else "; its volumes stay"))
