"""`pilothouse join` and `pilothouse leave`: this machine becomes a node of a cluster, and stops being one."""

import importlib
import os
import sys

import click

from pilothouse.cli import lifecycle, membership, options, output
from pilothouse.cli.command import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, command
from pilothouse.cli.places import Places, places
from pilothouse.errors import (
    InvalidRequestError,
    NotClusteredError,
    ServerUnavailableError,
    StoreUnavailableError,
)
from pilothouse.model.cluster import Role

_JOINING = "pilothouse.cli.joining"
_AGENT = "pilothouse.cli.agent_process"
_EMPTYING = "pilothouse.cli.emptying"
_LEAVING = "pilothouse.cli.leaving"
_OFFLINE = "pilothouse.cli.offline"


def _places(data: str | None, run: str | None) -> Places:
    root = click.get_current_context().find_root()
    return places(os.environ, data=data, run=run, socket=root.params.get("socket"))


@command(
    "join",
    examples=[
        ("pilothouse join 10.0.0.5 PH1-…", "as `pilothouse token create` printed it on a manager"),
        ("pilothouse join 10.0.0.5:9443 PH1-… --advertise 10.0.0.7", "with the address others reach this machine at"),
        (
            "pilothouse join 10.0.0.5 - <token",
            "the token is read from standard input, so that no list of processes has it",
        ),
        ("pilothouse join 10.0.0.5 --token-file token", "or from a file"),
    ],
    exits={
        EXIT_DONE: "this machine is a node, and a manager has heard of it",
        EXIT_FAILED: "no manager answered, or the agent did not come up",
        EXIT_REFUSED: "the manager refused, or is not the one the token is for; nothing was left behind",
    },
)
@click.option("--advertise", default="", metavar="HOST[:PORT]", help="Where other machines reach this one.")
@click.option("--token-file", default="", metavar="FILE", help="The token is the first line of this file.")
@options.as_json
@options.directories
@click.argument("address", metavar="HOST[:PORT]")
@click.argument("token", default="", metavar="[TOKEN|-]")
def join(
    *,
    advertise: str,
    token_file: str,
    as_json: bool,
    data: str | None,
    run: str | None,
    address: str,
    token: str,
) -> None:
    """Make this machine a node of the cluster whose manager is at HOST.

    A TOKEN that is written here is in the list of processes for a moment: - reads it from standard input. The token
    says which authority to believe; what answers at HOST without being certified by it is told nothing. The machine
    makes its own key, which never leaves it. Then the agent is started, and the command waits until a manager has heard
    of the node.
    """
    found = _places(data, run)
    token = _token(token, token_file)
    joining, agent = importlib.import_module(_JOINING), importlib.import_module(_AGENT)
    answer = joining.join(found, address, token, advertise)
    if answer.warning:
        output.note(f"! {answer.warning}")
    try:
        said = agent.start(found)
    except ServerUnavailableError as error:
        if lifecycle.running_pid(found) is not None:
            raise
        joining.undo(found)
        raise ServerUnavailableError(
            f"{error}\nnothing was left here; on a manager: pilothouse node remove {answer.node_id}, then join again"
        ) from error
    if as_json:
        output.json({"node_id": answer.node_id, "cluster": answer.cluster, "role": answer.role.value})
        return
    output.note(said)
    output.line(f"this machine is the node {answer.node_id} of the cluster {answer.cluster}")
    if answer.role is Role.MANAGER:
        output.line(
            f"it is an agent until somebody on a manager approves it (pilothouse node approve {answer.node_id}), and "
            "becomes a manager by itself then; `pilothouse agent status` says how far it is"
        )
        try:
            importlib.import_module(_OFFLINE).check_installed(os.environ)
        except StoreUnavailableError as error:
            output.note(f"! {error}")


def _token(given: str, file: str) -> str:
    """Return the token, wherever it was said to be.

    Raises:
        InvalidRequestError: It is nowhere, in two places, or cannot be read.
    """
    if bool(given) == bool(file):
        raise InvalidRequestError("name the token in one way: as TOKEN, as - for standard input, or with --token-file")
    if not file:
        return sys.stdin.readline() if given == "-" else given
    try:
        with open(file) as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                output.note(f"! {file} can be read by other users; chmod 600 keeps the next one to yourself")
            return opened.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"the token cannot be read from {file}: {error}") from error


@command(
    "leave",
    examples=[
        ("pilothouse leave", "stop and remove what the platform runs here, and forget the cluster; volumes stay"),
        ("pilothouse leave --keep-running", "forget the cluster, and leave the containers to themselves"),
        ("pilothouse leave --force", "on a manager whose cluster is gone, or has removed it"),
    ],
    exits={
        EXIT_DONE: "this machine is in no cluster, and nothing of the platform runs on it",
        EXIT_FAILED: "the agent did not end, or something could not be removed: repeat it",
        EXIT_REFUSED: "this machine is in no cluster, or is a manager that the others cannot do without",
    },
)
@click.option("--force", is_flag=True, help="Ask nobody, although this machine is a manager.")
@click.option("--keep-running", is_flag=True, help="Stop no container; nobody looks after them from then on.")
@options.as_json
@options.directories
def leave(*, force: bool, keep_running: bool, as_json: bool, data: str | None, run: str | None) -> None:
    """Take this machine out of its cluster.

    The agent is stopped; then what the platform runs here is stopped (10 seconds each to end) and removed with its
    networks, its proxy and its guard. Named volumes stay. At last the machine's key and certificates are deleted. Drain
    the node first (`pilothouse node drain NODE` on a manager) to have its work elsewhere before it ends here, and
    remove it there afterwards. A manager is made an agent first, as `pilothouse node demote` does; that is refused if
    the others could not go on.
    """
    found = _places(data, run)
    known = membership.load(found.data)
    if known is None:
        raise NotClusteredError("this machine is in no cluster, so there is nothing to leave")
    if known.role is Role.MANAGER:
        importlib.import_module(_LEAVING).give_up(found, known.node_id, output.note, force=force)
    else:
        lifecycle.stop(found)
    emptying = importlib.import_module(_EMPTYING)
    emptied = None if keep_running else emptying.empty_machine(found)
    importlib.import_module(_JOINING).undo(found)
    if as_json:
        output.json({"node_id": known.node_id, "emptied": emptied})
        return
    for each in () if emptied is None else emptied.left:
        output.note(f"! {each}: it stays")
    output.line(f"left the cluster; {emptying.sentence(emptied)}; on a manager: pilothouse node remove {known.node_id}")
