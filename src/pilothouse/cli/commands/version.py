"""`pilothouse version`: of this command, and of the server if one answers."""

from pilothouse import __version__
from pilothouse.cli import options, output
from pilothouse.cli.command import command
from pilothouse.errors import ServerUnavailableError


@command("version", examples=[("pilothouse version --json", "for programs")])
@options.as_json
def version(*, as_json: bool) -> None:
    """Show the version of this command and of the server, if one answers."""
    try:
        server = options.client().info().version
    except ServerUnavailableError:
        server = ""
    if as_json:
        output.json({"client": __version__, "server": server})
    else:
        output.line(f"pilothouse {__version__}")
        output.line(f"server {server or 'does not answer'}")
