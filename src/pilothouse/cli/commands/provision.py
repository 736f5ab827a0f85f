"""`pilothouse provision`: make another machine a node, over SSH."""

import asyncio
import platform
import sys

import click

from pilothouse.cli import options, output
from pilothouse.cli.cluster_client import ClusterClient
from pilothouse.cli.command import EXIT_FAILED, EXIT_REFUSED, command
from pilothouse.cli.pairs import pairs
from pilothouse.cli.provision.preflight import Finding, Verdict, Wanted
from pilothouse.clock import SystemClock
from pilothouse.errors import NotClusteredError, ServerUnavailableError
from pilothouse.model.addresses import (
    API_PORT,
    CLIENT_OFFSET,
    PEER_OFFSET,
    SESSIONS_OFFSET,
    manager_addresses,
    split_address,
)
from pilothouse.model.cluster import Role
from pilothouse.model.cluster_api import TokenRequest

_TOKEN_SECONDS = 900.0
"""Long enough for a slow line, as the token is made only once the installation is there."""

_COLOURS = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.REFUSED: "red"}


@command(
    "provision",
    examples=[
        ("pilothouse provision ssh://root@10.0.0.7", "look at the machine, install Pilothouse there, have it join"),
        ("pilothouse provision ssh://10.0.0.7 --check", "only look: is it fit, and what would have to be done first"),
        (
            "pilothouse provision ssh://ops@10.0.0.7 --role manager --label zone=b --identity ~/.ssh/ops",
            "as a manager, which somebody approves afterwards, with a label; log in with this key",
        ),
    ],
    exits={
        EXIT_FAILED: "it stopped half way; the message says where, and what was left there",
        EXIT_REFUSED: "the machine is not fit or not known; nothing was changed on it",
    },
)
@click.option("--role", type=click.Choice([each.value for each in Role]), default="agent", show_default=True)
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="The node gets this label; repeatable.")
@click.option("--manager", metavar="HOST[:PORT]", default="", help="Where the machine finds a manager. Default: here.")
@click.option("--identity", metavar="FILE", default="", help="The private key to log in with. Default: as ssh does.")
@click.option("--known-hosts", metavar="FILE", default="", help="Host keys to trust. Default: ~/.ssh/known_hosts.")
@click.option("--host-key", metavar="SHA256:…", default="", help="Trust the host key with this fingerprint, no other.")
@click.option("--check", "only_look", is_flag=True, help="Only look; change nothing.")
@click.option("--no-install", is_flag=True, help="Pilothouse is there already, installed by other means.")
@click.option("--no-join", is_flag=True, help="Install and stop there, also on a node, to upgrade it.")
@options.as_json
@click.argument("address", metavar="ssh://[USER@]HOST[:PORT]")
def provision(
    *,
    role: str,
    labels: tuple[str, ...],
    manager: str,
    identity: str,
    known_hosts: str,
    host_key: str,
    only_look: bool,
    no_install: bool,
    no_join: bool,
    as_json: bool,
    address: str,
) -> None:
    """Make another machine a node, over SSH: look at it, install Pilothouse there, have it join.

    The machine's host key must be known. It is looked at first (kernel, engine, clock, packet size, ports, disk and
    more), and nothing is changed on one that is not fit. What is installed is a copy of this installation, so the
    machine needs no package index, but the same architecture and version of Python.
    """
    # Here, because AsyncSSH takes a third of a second to import and the help of every command is asked for often.
    from pilothouse.cli.provision import remote, steps  # noqa: PLC0415

    given = remote.address(address)
    trust = remote.Trust(known_hosts=known_hosts, fingerprint=host_key, identity=identity)
    asked = TokenRequest(role=Role(role), labels=pairs("--label", labels), life_seconds=_TOKEN_SECONDS)
    cluster = None if no_join else _Cluster(ClusterClient(options.transport()), asked)
    places = _places(cluster, manager, only_look=only_look)
    said = _Said(quiet=as_json)

    async def whole() -> steps.Done:
        clock = SystemClock()
        said.step(f"connecting to {given.host}")
        async with remote.Connecting(given, trust) as machine:
            findings = await steps.look(
                machine, _wanted(role, places, no_install=no_install, joins=not no_join), places, clock
            )
            for each in findings:
                said.finding(each)
            steps.insist(given.host, findings)
            installed = node = ""
            if not only_look and not no_install:
                installed = await steps.install(machine, given.host, said)
            if not only_look and cluster and places:
                node = await steps.join(machine, given.host, places[0], cluster, clock, said)
            return steps.Done(host=given.host, findings=findings, installed=installed, node=node)

    done = asyncio.run(whole())
    if as_json:
        output.json(done)


def _places(cluster: "_Cluster | None", manager: str, *, only_look: bool) -> tuple[str, ...]:
    """Return what the machine must be able to connect to; a look needs no cluster."""
    if cluster is None:
        return ()
    try:
        return cluster.places(manager)
    except (NotClusteredError, ServerUnavailableError):
        if not only_look:
            raise
        return ()


def _wanted(role: str, places: tuple[str, ...], *, no_install: bool, joins: bool) -> Wanted:
    """Return what the machine is to become; a manager listens on the same ports as the one it joins."""
    ports: tuple[int, ...] = ()
    if Role(role) is Role.MANAGER:
        first = split_address(places[0])[1] if places else API_PORT
        ports = tuple(first + offset for offset in (0, SESSIONS_OFFSET, PEER_OFFSET, CLIENT_OFFSET))
    ours = "" if no_install else f"{sys.version_info.major}.{sys.version_info.minor}"
    return Wanted(
        role=Role(role),
        python=ours,
        machine="" if no_install else platform.machine(),
        ports=ports,
        managers=places,
        joins=joins,
    )


class _Cluster:
    """The cluster that this machine's server is in."""

    def __init__(self, client: ClusterClient, asked: TokenRequest) -> None:
        self._client = client
        self._asked = asked
        self._token_id = ""

    def places(self, manager: str) -> tuple[str, str]:
        """Return "HOST:PORT" of a manager's API and of its listener for agents; this machine's unless one is named."""
        if manager:
            return manager_addresses(manager)
        view = self._client.cluster()
        for each in view.managers:
            if each.id == view.node_id:
                return each.api, each.sessions
        raise NotClusteredError("no manager knows its own address: name one that the machine reaches, with --manager")

    def token(self) -> str:
        made = self._client.make_token(self._asked)
        self._token_id = made.record.id
        return made.token

    def withdraw(self) -> None:
        self._client.revoke_token(self._token_id)

    def trouble(self, node_id: str) -> str:
        found = self._client.node(node_id)
        return "" if found.ready else found.message or "it has not been heard of"


class _Said:
    """Writes how it gets on, for a person."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shown = -1

    def finding(self, found: Finding) -> None:
        if not self._quiet:
            colour = output.colour_wanted(sys.stderr)
            mark = output.paint(f"{found.verdict.value:8}", _COLOURS[found.verdict], on=colour)
            output.note(f"  {mark} {found.check}: {found.message}")

    def step(self, text: str) -> None:
        if not self._quiet:
            output.note(text)

    def far(self, done: int, whole: int) -> None:
        tenth = 10 * done // whole
        if tenth > self._shown and not self._quiet:
            self._shown = tenth
            output.note(f"  {10 * tenth} % of {whole >> 20} MiB sent")
