"""`pilothouse store`: where the platform's state is kept."""

import importlib
import os

import click

from pilothouse.cli import options, output, times
from pilothouse.cli.cluster_client import ClusterClient
from pilothouse.cli.command import EXIT_DONE, EXIT_FAILED, command
from pilothouse.cli.places import places
from pilothouse.model.api import StoreMember

_OFFLINE = "pilothouse.cli.offline"
_MIB = 1 << 20


@click.group()
def store() -> None:
    """Say where the platform's state is kept, and move it.

    On one host it is a file. Several managers share it: each runs a member of etcd, and most of them must be there for
    anything to change.
    """


@command(
    "status",
    group=store,
    examples=[("pilothouse store status", "where the state is, who leads, which members answer")],
    exits={EXIT_DONE: "changes go through", EXIT_FAILED: "most members cannot be reached"},
)
@options.as_json
def status(*, as_json: bool) -> int:
    """Say where the state is, which manager leads, and how the members are."""
    found = options.client().store()
    if as_json:
        output.json(output.plain(found))
    else:
        output.line(f"{found.kind} store at revision {found.revision}")
        if found.leader:
            output.line(f"manager {found.leader} leads, in term {found.epoch}")
        if found.members:
            heads = ("MEMBER", "ID", "ANSWERS", "VERSION", "SIZE", "CLIENTS")
            output.table(heads, [_row(each) for each in found.members])
        if found.stale_since is not None:
            output.line(f"most members cannot be reached since {times.stamp(found.stale_since)}")
        if found.message:
            output.line(found.message)
    return EXIT_DONE if found.stale_since is None else EXIT_FAILED


def _row(member: StoreMember) -> tuple[str, ...]:
    answers = "no" if member.trouble else "leads" if member.leads else "learns" if member.learner else "yes"
    size = f"{member.bytes / _MIB:.1f} MiB" if member.bytes else ""
    return member.name, member.id, answers, member.version, size, " ".join(member.clients)


@command(
    "migrate",
    group=store,
    examples=[
        ("pilothouse store migrate --to etcd", "from this host's file into etcd, for more than one manager"),
        ("pilothouse store migrate --to etcd --advertise 10.0.0.5", "so that other managers reach it there"),
        ("pilothouse store migrate --to sqlite", "back into a file; the other managers must be stopped"),
    ],
)
@click.option("--to", type=click.Choice(["etcd", "sqlite"]), required=True, help="Where the state shall be.")
@click.option(
    "--advertise",
    metavar="HOST[:PORT]",
    help="Where other managers reach this one's API; the store's two ports follow it. Default: as this machine joined.",
)
@options.directories
def migrate(*, to: str, advertise: str | None, data: str | None, run: str | None) -> None:
    """Move the platform's state. A server that runs here is stopped for that, and started again; containers run on.

    Every object and the kept history are copied, read back and compared before anything is decided. Interrupted, it has
    changed nothing, and is repeated from the beginning. What the state was in stays under another name.
    """
    # By name: commands know the HTTP client and nothing else; stores are known there alone.
    importlib.import_module(_OFFLINE).migrate(places(os.environ, data=data, run=run), to=to, advertise=advertise)


@command(
    "remove-member",
    group=store,
    examples=[("pilothouse store remove-member 8e9e05c52164694d", "as `pilothouse doctor` named it")],
)
@options.as_json
@click.argument("member", metavar="MEMBER")
def remove_member(*, as_json: bool, member: str) -> None:
    """Take a member of the store out that belongs to no manager any more, or was added and never started.

    MEMBER is its id or name in `pilothouse store status`. A manager's member goes with `pilothouse node demote` or
    `pilothouse node remove`. Refused if the members that are left could not go on.
    """
    gone = ClusterClient(options.transport()).remove_member(member).items
    if as_json:
        output.json(gone)
    else:
        for each in gone:
            output.line(f"removed the member {each.id} ({each.name or 'never started'}, {' '.join(each.peers)})")
