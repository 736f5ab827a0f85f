"""`pilothouse cluster`: the cluster as a whole, and what only a person may decide about it."""

import click

from pilothouse.cli import options, output, times
from pilothouse.cli.cluster_client import ClusterClient
from pilothouse.cli.command import command
from pilothouse.cli.commands.cluster_settings import set_
from pilothouse.clock import SystemClock
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.counts import count


@click.group()
def cluster() -> None:
    """Look at the cluster, change its authority, confirm what the platform must not decide alone."""


cluster.add_command(set_)


def _client() -> ClusterClient:
    return ClusterClient(options.transport())


@command("show", group=cluster, examples=[("pilothouse cluster show", "its managers and authorities")])
@options.as_json
def show(*, as_json: bool) -> None:
    """Show the cluster's managers and authorities."""
    found = _client().cluster()
    if as_json:
        output.json(found)
        return
    now = SystemClock().now()
    output.line(f"cluster {found.cluster}, made {times.ago(found.created_at, now)}; {count(found.nodes, 'node')}")
    if found.evictions_message:
        output.line(f"! {found.evictions_message}; confirm it: pilothouse cluster confirm-evictions")
    output.table(("MANAGER", "API", "SESSIONS", "VERSION", "STATE"), [_manager(each) for each in found.managers])
    output.table(
        ("AUTHORITY", "STATE", "UNTIL", "HASH"),
        [(each.id, each.state, times.stamp(each.not_after), each.hash) for each in found.authorities],
    )


@command(
    "rotate-ca",
    group=cluster,
    examples=[("pilothouse cluster rotate-ca", "another authority takes the place of the one that signs")],
)
@options.as_json
def rotate_ca(*, as_json: bool) -> None:
    """Have another authority take the place of the one that signs; nothing stops meanwhile.

    Every node that is there hears of it first, then it signs, and the old one is trusted until its last certificate has
    ended, a day later at most. A machine that is away meanwhile can come back as long as its own certificate lasts.
    """
    made = _client().rotate_authority()
    if as_json:
        output.json(made)
    else:
        output.line(f"authority {made.id} is made; it signs once every node that is there has heard of it")


@command(
    "confirm-evictions",
    group=cluster,
    examples=[("pilothouse cluster confirm-evictions", "the nodes that were lost at once are really lost")],
)
@options.as_json
def confirm_evictions(*, as_json: bool) -> None:
    """Confirm that the nodes lost at once are lost, so that their tasks are replaced.

    When more than a third of the nodes vanish within a minute, the fault is more likely between them and the manager;
    so the platform replaces nothing until a person has looked.
    """
    found = _client().confirm_evictions()
    if as_json:
        output.json(found)
    else:
        output.line("confirmed; the tasks of the lost nodes are replaced as far as they can be placed")


@command(
    "format",
    group=cluster,
    examples=[
        ("pilothouse cluster format", "how far an upgrade of Pilothouse has come, and what holds it back"),
        ("pilothouse cluster format --raise", "have the new format at once; the older version cannot come back"),
    ],
)
@click.option("--raise", "now", is_flag=True, help="Do not wait ten minutes: after that there is no simple way back.")
@options.as_json
def format_(*, now: bool, as_json: bool) -> None:
    """Show the format of the platform's state, which version each machine runs, and what holds the next format back.

    Two versions of Pilothouse may run side by side. Until all machines run the newer one, what only it understands is
    not used; ten minutes after that the format is raised, and older versions are refused from then on.
    """
    found = _client().raise_format() if now else _client().format()
    if as_json:
        output.json(found)
        return
    output.line(f"format {found.number}; this manager runs {found.version}, which knows up to format {found.newest}")
    for each in found.held_back_by:
        output.line(f"! held back: {each}")
    if found.number < found.newest and not found.held_back_by:
        output.line("nothing holds the next format back: " + ("it is being raised" if now else "it comes by itself"))
    rows = [("manager", each) for each in found.managers] + [("agent", each) for each in found.agents]
    output.table(
        ("MACHINE", "WHAT", "VERSION", "KNOWS FORMAT"),
        [(each.name, what, each.version, str(each.format)) for what, each in rows],
    )


def _manager(found: ManagerMember) -> tuple[str, ...]:
    approved = "waits for approval" if found.approved_at is None else "approved"
    return found.id, found.api, found.sessions, found.release or "-", approved
