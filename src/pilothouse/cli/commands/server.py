"""`pilothouse server`: the server of this machine."""

import importlib
import os

import click

from pilothouse.cli import lifecycle, options, output, times
from pilothouse.cli.client import Client
from pilothouse.cli.command import EXIT_DONE, EXIT_FAILED, command
from pilothouse.cli.places import Places, places, tcp_place
from pilothouse.cli.transport import Transport
from pilothouse.clock import SystemClock
from pilothouse.errors import NotFoundError
from pilothouse.model.counts import count


@click.group()
def server() -> None:
    """Run, start, stop and look at the server of this machine.

    The server is manager and agent in one process. Containers belong to the engine: they run on when it stops, and are
    found again when it starts.
    """


_SERVER = "pilothouse.cli.run"


def _places(data: str | None = None, run: str | None = None) -> Places:
    root = click.get_current_context().find_root()
    return places(os.environ, data=data, run=run, socket=root.params.get("socket"))


@command(
    "run",
    group=server,
    examples=[
        ("pilothouse server run", "in the foreground, logging to standard error, until interrupted"),
        ("pilothouse server run --data /srv/pilothouse --run /run/other", "a second one, apart from the first"),
        (
            "pilothouse server run --tcp 10.0.0.5:7443 --tls-certificate api.pem --tls-key api.key --token-file token",
            "on TCP as well, with TLS and a token that every request must bring",
        ),
    ],
    exits={EXIT_DONE: "it was asked to end", EXIT_FAILED: "it could not start, or a part of it died again and again"},
)
@options.directories
@click.option("--tcp", metavar="HOST:PORT", envvar="PILOTHOUSE_TCP", help="Listen here as well; needs the three below.")
@click.option("--tls-certificate", metavar="FILE", envvar="PILOTHOUSE_TLS_CERTIFICATE", help="PEM, with its chain.")
@click.option("--tls-key", metavar="FILE", envvar="PILOTHOUSE_TLS_KEY", help="PEM.")
@click.option(
    "--token-file",
    metavar="FILE",
    envvar="PILOTHOUSE_TOKEN_FILE",
    help="Holds the token of every request over TCP: 32 characters or more, readable by its owner only.",
)
def run_server(
    *,
    data: str | None,
    run: str | None,
    tcp: str | None,
    tls_certificate: str | None,
    tls_key: str | None,
    token_file: str | None,
) -> None:
    """Run the server in the foreground; this is what `server start` and the systemd unit do.

    It ends on SIGTERM or SIGINT. Containers run on, and the next server finds them again. The engine's socket is taken
    from PILOTHOUSE_ENGINE or DOCKER_HOST, else Docker's, else Podman's.
    """
    # By name: commands know the HTTP client and nothing else; what a server is made of is known there alone.
    listening = tcp_place(tcp, tls_certificate, tls_key, token_file)
    importlib.import_module(_SERVER).main(_places(data, run), os.environ, listening)


@command(
    "start",
    group=server,
    examples=[("pilothouse server start", "start it in the background, or as a systemd unit where there is systemd")],
)
@options.directories
def start(*, data: str | None, run: str | None) -> None:
    """Start the server unless it runs, and wait until it answers.

    On a machine run by systemd, root gets a unit that starts it at boot too. Elsewhere it runs in the background and
    writes its log to server.log in the run directory.
    """
    found = _places(data, run)
    if lifecycle.answers(found):
        output.line(f"the server runs already (process {lifecycle.running_pid(found) or 'unknown'})")
    else:
        output.line(lifecycle.start(found))


@command(
    "stop",
    group=server,
    examples=[("pilothouse server stop", "stop it; every container runs on")],
    exits={EXIT_DONE: "it has ended, or did not run", EXIT_FAILED: "it has not ended when the time was up"},
)
@click.option("--timeout", default="30s", show_default=True, metavar="DURATION", help="How long to wait for its end.")
@options.directories
def stop(*, timeout: str, data: str | None, run: str | None) -> None:
    """Stop the server and wait until it has ended; containers run on."""
    pid = lifecycle.stop(_places(data, run), times.parse_duration(timeout))
    output.line("no server runs" if pid is None else f"stopped the server (process {pid}); containers run on")


@command(
    "status",
    group=server,
    examples=[("pilothouse server status", "is it there, since when, with how many apps")],
    exits={EXIT_DONE: "it runs and answers", EXIT_FAILED: "it does not"},
)
@options.as_json
@options.directories
def status(*, as_json: bool, data: str | None, run: str | None) -> int:
    """Say whether the server runs, and what it is."""
    found = _places(data, run)
    pid, trouble = lifecycle.state(found)
    if trouble is not None:
        if as_json:
            output.json({"running": pid is not None, "answers": False, "pid": pid, "message": str(trouble)})
        else:
            output.line(
                f"process {pid} runs, but: {trouble}" if pid else "no server runs; start it: pilothouse server start"
            )
        return EXIT_FAILED
    info = Client(Transport(found.socket)).info()
    if as_json:
        output.json({"running": True, "answers": True, **output.plain(info)})
        return EXIT_DONE
    output.line(
        f"pilothouse {info.version} runs as process {info.pid}, for {times.ago(info.started_at, SystemClock().now())}"
    )
    output.line(f"engine {info.engine or 'unknown'}; node {info.node_id or 'unknown'}")
    output.line(f"{count(info.apps, 'app')}, {count(info.tasks, 'task')}")
    output.line(f"{info.store} store at revision {info.revision} in {info.data_directory or 'no directory'}")
    return EXIT_DONE


@command(
    "logs",
    group=server,
    examples=[("pilothouse server logs -f", "the server's own log, and on")],
)
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
@click.option("-n", "--tail", type=click.IntRange(min=0), default=100, show_default=True, metavar="N")
@options.directories
def logs(*, follow: bool, tail: int, data: str | None, run: str | None) -> None:
    """Show the server's own log: structured events, one on each line."""
    found = _places(data, run)
    if lifecycle.owned_by_systemd(found):
        program = ["journalctl", "--output=cat", "--no-pager", f"--lines={tail}"]
        program += [f"--unit={unit}" for unit in (lifecycle.UNIT, lifecycle.AGENT_UNIT)]
        program += ["--follow"] if follow else []
    elif found.log_file.exists():
        program = ["tail", f"--lines={tail}", *(["--follow=name", "--retry"] if follow else []), str(found.log_file)]
    else:
        raise NotFoundError(
            f"there is no log at {found.log_file}: a server that was started with `pilothouse server run` writes to "
            "where it was started"
        )
    os.execvp(program[0], program)  # noqa: S606 - an argument list, no shell
