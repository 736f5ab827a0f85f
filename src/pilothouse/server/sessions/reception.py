"""The sessions of one term with agents over the network: who comes in, who is there, who has to go.

A node has one session at a time. A second agent of the same name, while the first is alive, is a cloned machine: the
newest wins, and the older is not let in again while that one is there.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pilothouse.clock import Clock
from pilothouse.control.nodes.liveness import Presence
from pilothouse.errors import ConflictError, NodeUnavailableError, UnauthorizedError
from pilothouse.governance.secrets.seal import Vault
from pilothouse.log import event
from pilothouse.model.cluster import Authority, Cluster, ManagerMember
from pilothouse.model.node import Node
from pilothouse.server.cluster.admission import allowed
from pilothouse.server.commits import Commits
from pilothouse.server.sessions.calls import Calls
from pilothouse.server.sessions.intake import Intake
from pilothouse.server.sessions.interface import NodeServices
from pilothouse.server.sessions.registry import Nodes
from pilothouse.server.sessions.relay import Asked
from pilothouse.server.sessions.stub import NodeStub
from pilothouse.store.interface import Commit, ReadTx, Store
from pilothouse.supervise import Loop

SILENT_SECONDS = 20.0
"""A session on which no beat came for so long is ended; the node was given up before that."""

HELLO_SECONDS = 15.0
"""Who has not said hello by then is not served."""

ROUND_SECONDS = 2.0
"""Between two looks for silent sessions."""

DOUBT_SECONDS = 60.0
"""Between two looks whether every session may still be there."""


class Visitor(Protocol):
    """A session, as the reception needs it.

    Attributes:
        names, serial: Of its certificate.
        node_id: Whose it is; "" before it said hello.
        incarnation: Of its agent.
        heard_at: When its last sign of life came, on the monotonic clock.
    """

    names: tuple[str, ...]
    serial: str
    node_id: str
    incarnation: str
    heard_at: float

    def end(self, reason: str) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True)
class Kit:
    """What every session of a term works with.

    Attributes:
        epoch: Of the term.
        presence: Where signs of life are noted.
        looks: How many sessions may look at the store between two turns of everybody else.
    """

    store: Store
    vault: Vault
    clock: Clock
    presence: Presence
    calls: Calls
    intake: Intake
    epoch: int
    looks: asyncio.Semaphore


class Reception:
    """The sessions of one term.

    Attributes:
        kit: What they work with.
    """

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        clock: Clock,
        commits: Commits,
        nodes: Nodes,
        presence: Presence,
        epoch: int,
    ) -> None:
        self._commits = commits
        self._nodes = nodes
        self._visitors: set[Visitor] = set()
        self._present: dict[str, Visitor] = {}
        self._outdone: dict[str, set[str]] = {}
        self._doubted: set[str] = set()
        self._doubt = asyncio.Event()
        self.kit = Kit(
            store=store,
            vault=vault,
            clock=clock,
            presence=presence,
            calls=Calls(clock),
            intake=Intake(store, clock),
            epoch=epoch,
            looks=asyncio.Semaphore(4),
        )

    @property
    def present(self) -> tuple[str, ...]:
        """The ids of the nodes that have a session, sorted."""
        return tuple(sorted(self._present))

    @property
    def count(self) -> int:
        """How many nodes have a session."""
        return len(self._present)

    def loops(self) -> Mapping[str, Loop]:
        """Return what must run for sessions to be served, for `supervise.run_term`."""
        return {"intake": self.kit.intake.run, "reception": self.run}

    def open(self, visitor: Visitor) -> None:
        """Note a new connection."""
        self._visitors.add(visitor)

    async def enter(self, visitor: Visitor) -> str:
        """Return the id of the node whose agent said hello, if it may have a session.

        Raises:
            UnauthorizedError: It may not.
            ConflictError: It is the older of two agents of one name.
        """
        now = self.kit.clock.now()
        node_id = (await self.kit.store.view(lambda tx: allowed(tx, visitor.serial, visitor.names, now))).id
        there = self._present.get(node_id)
        outdone = self._outdone.setdefault(node_id, set())
        if there is not None and visitor.incarnation in outdone:
            raise ConflictError(
                f"a newer agent than this one has a session as {node_id}: two machines have one name and key, as "
                "copied disks do. Have one of them join anew"
            )
        outdone.discard(visitor.incarnation)
        if there is not None and there.incarnation != visitor.incarnation:
            outdone.add(there.incarnation)
            event("error", "node.cloned", node=node_id, older=there.incarnation, newer=visitor.incarnation)
            there.end(f"another agent came as {node_id}: two machines have one name and key; the newest is served")
        elif there is not None:
            there.end("the same agent came again")
        self._present[node_id] = visitor
        return node_id

    def connect(self, visitor: Visitor, services: NodeServices) -> None:
        """Let *services* answer for the node of *visitor* from now on."""
        if self._present.get(visitor.node_id) is visitor:
            self._nodes.connect(visitor.node_id, services)
            self.kit.presence.arrive(visitor.node_id, local=False)
            event("info", "session.opened", node=visitor.node_id)

    def link_of(self, node_id: str) -> Asked:
        """Return the link to a node.

        Raises:
            NodeUnavailableError: It has no session over the network here.
        """
        services = self._nodes.of(node_id)
        if not isinstance(services, NodeStub):
            raise NodeUnavailableError(f"the node {node_id} is asked in the leader's own process only")
        return services.link

    def leave(self, visitor: Visitor, reason: str) -> None:
        """Note that a connection ended; what another session of the same node began stays."""
        self._visitors.discard(visitor)
        if self._present.get(visitor.node_id) is visitor:
            del self._present[visitor.node_id]
            self._nodes.disconnect(visitor.node_id)
            self.kit.presence.leave(visitor.node_id)
            event("info", "session.closed", node=visitor.node_id, reason=reason)

    def close(self, reason: str) -> None:
        """End every session."""
        for visitor in tuple(self._visitors):
            visitor.end(reason)

    async def run(self) -> None:
        """End the sessions that have to go, as soon as that is known, until cancelled."""
        self._commits.listen(self._note)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_around(), name="reception.look")
                while True:
                    await self._doubt.wait()
                    await self._end_the_revoked()
        finally:
            self._commits.ignore(self._note)
            self.close("this manager stops serving agents")

    def _note(self, commit: Commit | None) -> None:
        self.kit.calls.note(commit)
        found = () if commit is None else tuple(change.object for change in commit.changes)
        if commit is None or any(isinstance(obj, (Authority, Cluster, ManagerMember)) for obj in found):
            self._doubt_some(self._present)
        else:
            self._doubt_some(obj.id for obj in found if isinstance(obj, Node) and obj.id in self._present)

    def _doubt_some(self, node_ids: Iterable[str]) -> None:
        self._doubted.update(node_ids)
        if self._doubted:
            self._doubt.set()

    async def _end_the_revoked(self) -> None:
        doubted, self._doubted = self._doubted, set()
        self._doubt.clear()
        visitors = [self._present[node_id] for node_id in doubted if node_id in self._present]
        now = self.kit.clock.now()
        for visitor, reason in await self.kit.store.view(lambda tx: _not_allowed(tx, visitors, now)):
            event("warning", "session.revoked", node=visitor.node_id, reason=reason)
            visitor.end(reason)

    async def _look_around(self) -> None:
        """End what is silent, and doubt everybody from time to time: certificates end although nothing happens."""
        doubt_at = self.kit.clock.monotonic() + DOUBT_SECONDS
        while True:
            await self.kit.clock.sleep(ROUND_SECONDS)
            self._end_the_silent()
            if self.kit.clock.monotonic() >= doubt_at:
                doubt_at += DOUBT_SECONDS
                self._doubt_some(self._present)

    def _end_the_silent(self) -> None:
        now = self.kit.clock.monotonic()
        for visitor in tuple(self._visitors):
            silent = now - visitor.heard_at
            if silent > (SILENT_SECONDS if visitor.node_id else HELLO_SECONDS):
                visitor.end(f"nothing was heard on it for {silent:.0f} s")


def _not_allowed(tx: ReadTx, visitors: list[Visitor], now: float) -> list[tuple[Visitor, str]]:
    found: list[tuple[Visitor, str]] = []
    for visitor in visitors:
        try:
            allowed(tx, visitor.serial, visitor.names, now)
        except UnauthorizedError as error:
            found.append((visitor, str(error)))
    return found
