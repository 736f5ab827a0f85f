"""Agents that dial a manager's reception over a link in memory, as over the network but for the socket."""

import asyncio
import contextlib

import msgspec

from pilothouse.agent.beats import Signs
from pilothouse.agent.managers import Managers
from pilothouse.agent.remote import RemoteLink
from pilothouse.control.nodes.presence import Presence
from pilothouse.errors import SessionLostError
from pilothouse.ids import SeededIds
from pilothouse.link.interface import Offer
from pilothouse.link.memory import pair
from pilothouse.model.certificate import Certificate
from pilothouse.model.cluster import Authority, AuthorityState, Cluster, ManagerMember, Role
from pilothouse.model.identity import Identity, names_of
from pilothouse.model.node import Node
from pilothouse.model.session import PROTOCOL, Changes, Hello, Method, Welcome
from pilothouse.model.skew import Codec
from pilothouse.model.states import Writer
from pilothouse.server.sessions.reception import Reception
from pilothouse.server.sessions.remote import RemoteSession
from tests.pki import CLUSTER
from tests.server.harness import NOW, SimulatedNode, World

replace = msgspec.structs.replace
CHANGES = Codec(Changes)


def names(node_id, role=Role.AGENT):
    return names_of(Identity(cluster=CLUSTER, node_id=node_id, role=role))


class Lease:
    """Remembers what it was told; *holds* is what it answers."""

    def __init__(self):
        self.begun = 0
        self.answered = []
        self.holds = True

    def begin(self):
        self.begun += 1

    def remaining(self):
        return float("inf")

    def acknowledged(self, sent_at, seconds):
        self.answered.append((sent_at, seconds))
        return self.holds


class Office:
    """A manager that leads: a store, its commits, and a reception."""

    def __init__(self, *nodes, epoch=1, world=None, managers=()):
        self.world = world or World()
        self.presence = Presence(self.world.clock)
        self.epoch = epoch
        self.nodes = nodes or ("n1", "n2")
        self.managers = managers
        self.links = []
        context = self.world.context
        self.reception = Reception(
            store=self.world.store,
            vault=context.vault,
            clock=self.world.clock,
            commits=context.commits,
            nodes=context.nodes,
            presence=self.presence,
            epoch=epoch,
        )

    async def found(self):
        """Have a cluster with its nodes, each with a certificate whose serial is its own id."""

        def write(tx):
            if tx.find(Cluster):
                return
            tx.put(Cluster(id="cluster", cluster=CLUSTER, created_at=NOW))
            tx.put(
                Authority(
                    id="1",
                    certificate="",
                    sealed_key=b"",
                    state=AuthorityState.ACTIVE,
                    created_at=NOW,
                    not_after=2 * NOW,
                )
            )
            tx.put(ManagerMember(id="m1", api="m1:7443", sessions="m1:7444", approved_at=NOW))
            for node_id in self.managers:
                member = ManagerMember(id=node_id, api=f"{node_id}:7443", sessions=f"{node_id}:7444", approved_at=NOW)
                tx.put(member)
            for node_id in (*self.nodes, *self.managers):
                shown = Certificate(serial=node_id, not_before=NOW - 1, not_after=NOW + 86_400, authority="1")
                role = Role.MANAGER if node_id in self.managers else Role.AGENT
                tx.put(Node(id=node_id, role=role.value, certificates=(shown,)))

        await self.world.store.update(Writer.API, write)

    @contextlib.asynccontextmanager
    async def running(self):
        """Run the reception's loops meanwhile; sessions are served in the same group."""
        await self.found()
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            self.group = group
            tasks = [group.create_task(self.world.context.commits.run(self.world.store))]
            tasks += [group.create_task(loop()) for loop in self.reception.loops().values()]
            try:
                yield self
            finally:
                self.reception.close("the test is over")
                for each in tasks:
                    each.cancel()

    def join(self, handlers, node_id="n1", serial=None, **paths):
        """Return the dialling end of a link to a session that is served."""
        first = None
        role = Role.MANAGER if node_id in self.managers else Role.AGENT
        shown = (names(node_id, role), serial or node_id)
        session = RemoteSession(self.reception, *shown)
        first, second = pair(handlers, session.offer, self.world.clock, names=((), ()), serials=("", ""), **paths)
        self.links.append(second)
        self.group.create_task(self._serve(session, second))
        return first

    @staticmethod
    async def _serve(session, link):
        with contextlib.suppress(SessionLostError):
            await session.run(link)

    @contextlib.asynccontextmanager
    async def raw(self, node_id="n1", *, hello=True, services=None, **options):
        """Have a link on which a test says what it likes."""
        from pilothouse.agent.offering import offer

        link = self.join(offer(services or SimulatedNode()), node_id, **options)
        serving = self.group.create_task(lost(link))
        if hello:
            await say_hello(link, node_id)
        try:
            yield link
        finally:
            link.close("the test is over")
            await serving

    @contextlib.asynccontextmanager
    async def agent(self, node_id="n1", seed=0, services=None, pressure=dict, paths=dict):
        """Have an agent's end that finds its way by itself."""

        async def connect(address, handlers):
            made.addresses.append(address)
            if made.down:
                raise SessionLostError(f"nobody answers at {address}")
            link = self.join(handlers, node_id, **paths())
            made.links.append(link)
            return link

        signs = Signs(
            clock=self.world.clock,
            ids=SeededIds(seed),
            lease=Lease(),
            boottime=self.world.clock.monotonic,
            pressure=pressure,
            renewal_due=lambda: None,
        )
        remembered = []
        made = RemoteLink(
            connect=connect, managers=Managers(("a:1", "b:2"), remembered.append), signs=signs, version="1"
        )
        made.addresses, made.links, made.down = [], [], False
        made.lease, made.remembered = signs.lease, remembered
        made.running = asyncio.ensure_future(made.run(services or SimulatedNode()))
        try:
            yield made
        finally:
            made.running.cancel()
            await asyncio.wait([made.running])


async def say_hello(link, incarnation, epoch=0, protocol=PROTOCOL, **fields):
    """Say hello and return what the manager answers."""
    hello = Hello(protocol=protocol, version="1", incarnation=incarnation, epoch=epoch, **fields)
    return Codec(Welcome).decode(await link.ask(Method.HELLO.value, msgspec.msgpack.encode(hello)))


async def lost(link):
    """Serve a link to its end and return why it ended."""
    try:
        await link.serve()
    except SessionLostError as error:
        return str(error)


async def changes(link):
    """Yield what comes of the assignment on a raw link."""
    async with contextlib.aclosing(link.stream(Method.ASSIGNMENTS.value)) as items:
        async for item in items:
            yield CHANGES.decode(item)


async def until(true, what="it happens"):
    """Wait for a condition."""
    try:
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110 - what it waits for has no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited in vain until {what}") from None


__all__ = ["Offer", "Office", "changes", "lost", "names", "say_hello", "until"]
