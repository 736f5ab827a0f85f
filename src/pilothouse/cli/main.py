"""The entry point of the `pilothouse` command: finds the sub-command, and turns every error into a clear end.

Importing this module must stay cheap: sub-commands are imported when they are asked for, and nothing here may pull in
an event loop, a web server, YAML or a terminal library (`tests/cli/test_main.py` checks it).
"""

import sys
from collections.abc import Sequence

import click

from pilothouse import __version__
from pilothouse.cli.command import EXIT_DONE, LazyGroup
from pilothouse.errors import InvalidRequestError, PilothouseError

_COMMANDS = {
    "up": "up",
    "plan": "plan",
    "down": "down",
    "config": "config",
    "compat": "compat",
    "ps": "ps",
    "logs": "logs",
    "events": "events",
    "explain": "explain",
    "why-not": "why_not:why_not",
    "simulate": "simulate",
    "rebalance": "rebalance",
    "inspect": "inspect",
    "top": "top",
    "watch": "watch",
    "releases": "releases",
    "rollback": "rollback",
    "pause": "pause",
    "resume": "pause:resume",
    "restart": "restart",
    "adopt": "adopt",
    "grant": "grant",
    "audit": "audit",
    "volume": "resources:volume",
    "network": "resources:network",
    "secret": "resources:secret",
    "config-file": "resources:config_file",
    "init": "init",
    "token": "token",
    "join": "join",
    "leave": "join:leave",
    "node": "node",
    "cluster": "cluster",
    "agent": "agent",
    "provision": "provision",
    "server": "server",
    "store": "store",
    "backup": "backup",
    "restore": "restore",
    "check": "check",
    "doctor": "doctor",
    "completion": "completion",
    "version": "version",
}


def _target(name: str, place: str) -> str:
    module, _, attribute = place.partition(":")
    return f"pilothouse.cli.commands.{module}:{attribute or name}"


COMMANDS = {name: _target(name, place) for name, place in _COMMANDS.items()}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="pilothouse")
@click.option(
    "--socket",
    metavar="PATH",
    envvar="PILOTHOUSE_SOCKET",
    help="The server's socket. Default: $PILOTHOUSE_SOCKET, else api.sock in $PILOTHOUSE_RUN or /run/pilothouse.",
)
def cli(socket: str | None) -> None:
    """Run Compose apps on container hosts, keep them running, and say why they are as they are.

    Start with `pilothouse up` in the directory of a Compose file; it starts the server if none runs.
    """
    del socket  # read by `options.client` from the context of the command


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 rolled back, 2 failed, 3 refused, 130 interrupted."""
    wants_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        result = cli.main(args=arguments, prog_name="pilothouse", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        return _fail(InvalidRequestError(_usage(error)), as_json=wants_json)
    except PilothouseError as error:
        return _fail(error, as_json=wants_json)
    except BrokenPipeError:
        # The reader of our output has gone; there is nobody to tell.
        sys.stderr.close()
        return EXIT_DONE
    return result if isinstance(result, int) else EXIT_DONE


def _usage(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = f"; see: {context.command_path} --help" if context else ""
    return f"{error.format_message().rstrip('.')}{where}"


def _fail(error: PilothouseError, *, as_json: bool) -> int:
    from pilothouse.cli.failure import report  # noqa: PLC0415 - only a command that fails pays for it

    report(error, as_json=as_json)
    return error.exit_code
