"""`pilothouse agent`: the agent of a machine that joined a cluster."""

import importlib
import os

import click

from pilothouse.cli import lifecycle, membership, options, output, share
from pilothouse.cli.command import EXIT_DONE, EXIT_FAILED, command
from pilothouse.cli.places import Places, places
from pilothouse.model.cluster import Role

_RUN = "pilothouse.cli.run_agent"
_PROCESS = "pilothouse.cli.agent_process"


@click.group()
def agent() -> None:
    """Run, start, stop and look at the agent of this machine.

    A machine that joined a cluster runs an agent; a manager's server has its own. Containers belong to the engine: they
    run on when the agent stops, and are found again when it starts.
    """


def _places(data: str | None, run: str | None) -> Places:
    root = click.get_current_context().find_root()
    return places(os.environ, data=data, run=run, socket=root.params.get("socket"))


@command(
    "run",
    group=agent,
    examples=[("pilothouse agent run", "in the foreground, logging to standard error, until interrupted")],
    exits={EXIT_DONE: "it was asked to end", EXIT_FAILED: "it could not start, or a part of it died again and again"},
)
@options.directories
def run_agent(*, data: str | None, run: str | None) -> None:
    """Run the agent in the foreground; this is what `join`, `agent start` and the systemd unit do."""
    importlib.import_module(_RUN).main(_places(data, run), os.environ)


@command("start", group=agent, examples=[("pilothouse agent start", "in the background, or as a systemd unit")])
@options.directories
def start(*, data: str | None, run: str | None) -> None:
    """Start the agent unless it runs, and wait until a manager has heard of it; on a manager, start its server."""
    found = _places(data, run)
    known, pid = membership.load(found.data), lifecycle.running_pid(found)
    if known is not None and known.role is Role.MANAGER and share.complete(found.data):
        output.line(f"this machine is a manager, and its server has the agent: {lifecycle.start(found)}")
    elif pid is not None:
        output.line(f"it runs already (process {pid})")
    else:
        output.line(importlib.import_module(_PROCESS).start(found))


@command("stop", group=agent, examples=[("pilothouse agent stop", "every container runs on")])
@options.directories
def stop(*, data: str | None, run: str | None) -> None:
    """Stop the agent and wait until it has ended; containers run on."""
    pid = lifecycle.stop(_places(data, run))
    output.line("no agent runs" if pid is None else f"stopped the agent (process {pid}); containers run on")


@command(
    "status",
    group=agent,
    examples=[("pilothouse agent status", "is it there, and has a manager heard of it")],
    exits={EXIT_DONE: "it runs and a manager has heard of it", EXIT_FAILED: "it does not, or none has"},
)
@options.as_json
@options.directories
def status(*, as_json: bool, data: str | None, run: str | None) -> int:
    """Say whether the agent runs, and which node it is."""
    found = _places(data, run)
    known, pid = membership.load(found.data), lifecycle.running_pid(found)
    becoming = share.progress(found) if known is not None and known.role is Role.MANAGER else ""
    heard = bool(importlib.import_module(_PROCESS).ready(found))
    if as_json:
        output.json({"running": pid is not None, "heard": heard, "pid": pid, "membership": known, "becoming": becoming})
    elif known is None:
        output.line("this machine is in no cluster")
    else:
        state = "does not run" if pid is None else f"runs as process {pid}"
        output.line(f"the agent of {known.node_id} {state}; cluster {known.cluster}")
        output.line(f"managers: {', '.join(known.managers)}{'' if heard else '; none has heard of this start yet'}")
        if becoming:
            output.line(f"becomes a manager: {becoming}")
    return EXIT_DONE if heard else EXIT_FAILED
