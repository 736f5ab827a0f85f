"""The whole platform with many nodes in one process: store, managers, network, machines, and people.

Keeps `interface.Cluster`. Everything runs as it is shipped but what stands for the outside world: engines, proxies,
the network, time.
"""

import asyncio
import contextlib
import pathlib

import msgspec
from msgspec.structs import replace

from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.errors import ServerUnavailableError, SessionLostError
from pilothouse.ids import SeededIds
from pilothouse.model.api import DeployRequest
from pilothouse.model.certificate import Certificate
from pilothouse.model.cluster import CLUSTER_ID, Authority, AuthorityState, Cluster, Disruption
from pilothouse.model.names import task_id_of
from pilothouse.model.node import Availability, Maintenance, Node
from pilothouse.model.objects import Task
from pilothouse.model.spec import Resources
from pilothouse.model.states import Writer
from pilothouse.store.memory import MemoryStore
from tests.scenarios.cluster.host import SimHost
from tests.scenarios.cluster.invariants import Promises
from tests.scenarios.cluster.loop import SimClock
from tests.scenarios.cluster.manager import CLUSTER, SimManager
from tests.scenarios.cluster.net import Net
from tests.server.harness import call

ELECTION_SECONDS = 2.0
CAPACITY = Resources(cpu_nano=4_000_000_000, memory_bytes=4 << 30, pids=32_768)


class Snapshot(msgspec.Struct, frozen=True):
    """Keeps `interface.Seen`."""

    tasks: tuple
    nodes: dict
    requests: tuple
    copies: dict


class WatchedStore:
    """The store everybody shares, with somebody who looks at each commit before it is acknowledged."""

    def __init__(self, inner, promises):
        self._inner = inner
        self._promises = promises

    async def view(self, fn):
        return await self._inner.view(fn)

    async def update(self, writer, fn):
        since = await self._inner.view(lambda tx: tx.revision)
        result = await self._inner.update(writer, fn)
        for commit in await self._inner.history(since, 1):
            await self._inner.view(lambda tx, commit=commit: self._promises.committed(tx, commit.changes))
        return result

    def watch(self, since):
        return self._inner.watch(since)

    async def history(self, since, limit):
        return await self._inner.history(since, limit)


class SimCluster:
    """Keeps `interface.Cluster`.

    Attributes:
        leader: The manager that leads, or None between two terms.
        terms: How many there were.
    """

    def __init__(self, directory, nodes=3, seed=0, images=(), capacity=CAPACITY):
        self.ids = SeededIds(seed)
        self.clock = SimClock()
        self.net = Net(SeededIds(seed + 1))
        self.leader = None
        self.terms = 0
        self.hosts = {}
        self.promises = Promises(self.hosts)
        self.memory = MemoryStore(self.clock)
        self.store = WatchedStore(self.memory, self.promises)
        self._changed = asyncio.Event()
        pictures = images or [FakeImage(ref=ref) for ref in ("web:1", "web:2", "web:3", "db:1", "job:1")]
        for number in range(1, nodes + 1):
            node_id = f"n{number}"
            place = pathlib.Path(directory) / node_id
            host = SimHost(node_id, SimClock(), SeededIds(seed * 1000 + number), place, self._dial, pictures, capacity)
            host.engine.watcher = lambda container, host=host: self.promises.started(host, container)
            self.hosts[node_id] = host
        self.nodes = tuple(self.hosts)

    @contextlib.asynccontextmanager
    async def started(self):
        """Run everything until the block ends."""
        await self.memory.update(Writer.API, self._found)
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(self._lead(), name="managers")]
            running += [group.create_task(host.run(), name=host.node_id) for host in self.hosts.values()]
            await self.until(lambda seen: len(seen.nodes) == len(self.hosts) and all_ready(seen), 60)
            yield self
            self.promises.check()
            for task in running:
                task.cancel()

    def _found(self, tx):
        """Make the cluster, and let every machine in; a certificate's serial is its node's id."""
        now = self.clock.now()
        tx.put(Cluster(id=CLUSTER_ID, cluster=CLUSTER, created_at=now))
        authority = Authority(
            id="1", certificate="", sealed_key=b"", state=AuthorityState.ACTIVE, created_at=now, not_after=2 * now
        )
        tx.put(authority)
        for node_id in self.hosts:
            shown = Certificate(serial=node_id, not_before=0.0, not_after=2 * now, authority="1")
            tx.put(Node(id=node_id, role="agent", joined_at=now, certificates=(shown,)))

    async def _dial(self, node_id, handlers):
        there, back = await self.net.dial(node_id)
        if self.leader is None:
            raise SessionLostError("no manager leads")
        return self.leader.let_in(node_id, handlers, there, back)

    async def _lead(self):
        """One manager after the other."""
        while True:
            self.terms += 1
            manager = SimManager(self.store, self.clock, self.ids, self.terms)
            term = asyncio.get_running_loop().create_task(manager.run(), name=f"term {self.terms}")
            try:
                await asyncio.wait([asyncio.ensure_future(manager.started.wait()), term], return_when="FIRST_COMPLETED")
                self.leader = manager
                await asyncio.wait([term])
            finally:
                self.leader = None
                term.cancel()
            if not term.cancelled() and (error := term.exception()) is not None:
                raise error
            await asyncio.sleep(ELECTION_SECONDS)

    # what people do

    async def up(self, spec):
        body = msgspec.json.encode(DeployRequest(spec=spec))
        await self._ask("PUT", f"/v1/apps/{spec.name}", body)

    async def down(self, app):
        await self._ask("DELETE", f"/v1/apps/{app}?volumes=true", None)

    async def _ask(self, method, path, body):
        """Ask the API until it answers; a person tries again when nobody does."""
        while True:
            try:
                reply = await self._leader().serve(lambda: call(self.leader.manager.api, method, path, raw=body))
            except ServerUnavailableError:
                await asyncio.sleep(1)
                continue
            if reply.status < 400:
                return reply
            if reply.status < 500 and reply.status != 409:
                raise AssertionError(f"{method} {path}: {reply}")
            await asyncio.sleep(1)

    def _leader(self):
        if self.leader is None:
            raise ServerUnavailableError("no manager leads")
        return self.leader

    async def _specify(self, node_id, **changes):
        def write(tx):
            node = tx.get(Node, node_id)
            tx.put(replace(node, spec=replace(node.spec, **changes)))

        await self.store.update(Writer.API, write)

    async def drain(self, node_id, *, until=None, deadline=None, reason=""):
        now = self.clock.now()
        maintenance = Maintenance(
            reason=reason,
            requested_at=now,
            until=None if until is None else now + until,
            deadline=None if deadline is None else now + deadline,
        )
        await self._specify(node_id, availability=Availability.DRAIN, maintenance=maintenance)

    async def activate(self, node_id):
        await self._specify(node_id, availability=Availability.ACTIVE, maintenance=None)

    # what happens

    async def kill_host(self, node_id):
        if self.hosts[node_id].on:
            self.net.unplug(node_id)
            self.hosts[node_id].power_off()

    async def start_host(self, node_id):
        self.hosts[node_id].power_on()

    async def kill_agent(self, node_id):
        self.hosts[node_id].kill_agent()

    async def kill_leader(self):
        if self.leader is not None:
            self.leader.kill()

    async def cut(self, node_id, *, up=True, down=True):
        if up:
            self.net.up(node_id).cut()
        if down:
            self.net.down(node_id).cut()

    async def heal(self, node_id):
        for way in (self.net.up(node_id), self.net.down(node_id)):
            way.mend()
            way.loss = 0.0

    # what there is

    async def look(self):
        def read(tx):
            return tx.find(Task), {node.id: node for node in tx.find(Node)}, tx.find(Disruption)

        self.promises.check()
        tasks, nodes, requests = await self.memory.view(read)
        return Snapshot(tuple(tasks), nodes, tuple(requests), self.copies())

    def copies(self):
        """Every live container, by what it is a copy of."""
        found = {}
        for host in self.hosts.values():
            for name in host.engine.running():
                if task_id_of(name):
                    _, app, rest = name.split(".", 2)
                    service, slot, _ = rest.rsplit(".", 2)
                    found.setdefault(f"{app}/{service}" + (f".{slot}" if slot != "0" else ""), []).append(host.node_id)
        return {key: tuple(sorted(found[key])) for key in sorted(found)}

    async def passes(self, seconds):
        await asyncio.sleep(seconds)

    async def until(self, holds, limit_seconds=600.0):
        """Return what is seen once it *holds*."""
        end = asyncio.get_running_loop().time() + limit_seconds
        while True:
            seen = await self.look()
            if holds(seen):
                return seen
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(f"not so after {limit_seconds:g} s: {told(seen)}")
            await asyncio.sleep(0.25)


def all_ready(seen):
    return all(node.ready for node in seen.nodes.values())


def told(seen):
    """What is seen, in few words."""
    live = [
        f"{task.service_id}.{task.slot} {task.id} {task.state.name}>{task.desired_state.name} on {task.node_id or '-'}"
        f" ({task.desired_reason}; {task.resource_message or task.placement_message or task.status.message})"
        for task in seen.tasks
        if not task.state.terminal
    ]
    nodes = [f"{n.id}: {n.spec.availability.value}, {n.message}" for n in seen.nodes.values()]
    return "\n  ".join(["", *nodes, *live, *(f"to go: {r.id} ({r.reason})" for r in seen.requests)])
