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
from pilothouse.errors import ServerUnavailableError
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
from tests.scenarios.cluster.election import Quorum
from tests.scenarios.cluster.host import SimHost
from tests.scenarios.cluster.invariants import Promises
from tests.scenarios.cluster.loop import SimClock
from tests.scenarios.cluster.manager import CLUSTER, SimManager
from tests.scenarios.cluster.net import Net
from tests.server.harness import call

PATIENCE_SECONDS = 20.0
CAPACITY = Resources(cpu_nano=4_000_000_000, memory_bytes=4 << 30, pids=32_768)


class Snapshot(msgspec.Struct, frozen=True):
    """Keeps `interface.Seen`."""

    tasks: tuple
    nodes: dict
    requests: tuple
    copies: dict


class WatchedStore:
    """The store everybody shares, with somebody who looks at each commit before it is acknowledged."""

    def __init__(self, inner, promises, quorum):
        self._inner = inner
        self._quorum = quorum
        self._promises = promises

    async def view(self, fn):
        return await self._inner.view(fn)

    async def update(self, writer, fn):
        since = await self._inner.view(lambda tx: tx.revision)
        self._quorum.shown = None
        result = await self._inner.update(writer, fn)
        for commit in await self._inner.history(since, 1):
            self._promises.led(commit, self._quorum)
            await self._inner.view(lambda tx, commit=commit: self._promises.committed(tx, commit.changes))
        return result

    def watch(self, since):
        return self._inner.watch(since)

    async def history(self, since, limit):
        return await self._inner.history(since, limit)


class SimCluster:
    """Keeps `interface.Cluster`.

    Attributes:
        managers: By name.
    """

    def __init__(self, directory, nodes=3, seed=0, images=(), capacity=CAPACITY, managers=3):
        self.ids = SeededIds(seed)
        self.clock = SimClock()
        names = tuple(f"m{number}" for number in range(1, managers + 1))
        self.net = Net(SeededIds(seed + 1), names)
        self.quorum = Quorum()
        self.hosts = {}
        self.promises = Promises(self.hosts)
        self.memory = MemoryStore(self.clock)
        self.store = WatchedStore(self.memory, self.promises, self.quorum)
        self.managers = {
            name: SimManager(name, self.store, self.quorum, SimClock(), SeededIds(seed * 1000 + 900 + number))
            for number, name in enumerate(names)
        }
        pictures = images or [FakeImage(ref=ref) for ref in ("web:1", "web:2", "web:3", "db:1", "job:1")]
        for number in range(1, nodes + 1):
            node_id = f"n{number}"
            place = pathlib.Path(directory) / node_id
            ids = SeededIds(seed * 1000 + number)
            host = SimHost(node_id, SimClock(), ids, place, self._dial, pictures, names, capacity)
            host.engine.watcher = lambda container, host=host: self.promises.started(host, container)
            host.watcher = self.promises.assigned
            self.hosts[node_id] = host
        self.nodes = tuple(self.hosts)

    @contextlib.asynccontextmanager
    async def started(self):
        """Run everything until the block ends."""
        await self.memory.update(Writer.API, self._found)
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(each.run(), name=each.name) for each in self.managers.values()]
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
            self._admit(tx, node_id)

    def _admit(self, tx, node_id):
        if tx.get(Node, node_id) is None:
            now = self.clock.now()
            shown = Certificate(serial=node_id, not_before=0.0, not_after=2 * now, authority="1")
            tx.put(Node(id=node_id, role="agent", joined_at=now, certificates=(shown,)))

    async def _dial(self, node_id, address, handlers):
        there, back = await self.net.dial(node_id, address)
        back.context = self.hosts[node_id].process.context
        return self.managers[address].let_in(node_id, handlers, there, back)

    @property
    def leader(self):
        """The manager of the newest term, or None between two terms."""
        return next((each for each in self.believers() if each.leadership.epoch == self.quorum.epoch), None)

    def believers(self):
        """The managers that believe to lead."""
        return [each for each in self.managers.values() if each.alive and each.leadership is not None]

    @property
    def terms(self):
        """How many terms there were."""
        return self.quorum.epoch

    # what people do

    async def up(self, spec):
        contents = {each.key: f"content of {spec.name}/{each.key}".encode() for each in spec.secrets}
        body = msgspec.json.encode(DeployRequest(spec=spec, secrets=contents))
        await self.ask("PUT", f"/v1/apps/{spec.name}", body)

    async def down(self, app):
        await self.ask("DELETE", f"/v1/apps/{app}?volumes=true")

    async def ask(self, method, path, body=None):
        """Ask a manager that says it leads until one answers; a person tries again when nobody does."""
        while True:
            believers = self.believers()
            if not believers:
                await asyncio.sleep(1)
                continue
            asked = believers[int(self.ids.fraction() * len(believers))]
            try:
                reply = await asked.serve(
                    lambda asked=asked: call(asked.manager.api, method, path, raw=body), PATIENCE_SECONDS
                )
            except ServerUnavailableError:
                await asyncio.sleep(1)
                continue
            # Who deletes twice, because the first answer was lost, finds nothing left.
            if reply.status < 400 or (method == "DELETE" and reply.status == 404):
                return reply
            if reply.status < 500 and reply.status != 409:
                raise AssertionError(f"{method} {path}: {reply}")
            await asyncio.sleep(1)

    async def _specify(self, node_id, **changes):
        def write(tx):
            node = tx.get(Node, node_id)
            if node is not None:
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

    async def confirm(self):
        """Say that the nodes that fell silent at once are lost."""

        def write(tx):
            tx.put(replace(tx.get(Cluster, CLUSTER_ID), evictions_confirmed_at=self.clock.now()))

        await self.store.update(Writer.API, write)

    async def remove(self, node_id):
        """Remove a node for good, whatever runs on it."""
        await self.ask("DELETE", f"/v1/nodes/{node_id}?force=true")

    async def admit(self, node_id):
        """Let a node in again that was removed; nothing if it was not."""
        await self.memory.update(Writer.API, lambda tx: self._admit(tx, node_id))

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

    async def cut(self, node_id, *, up=True, down=True, manager=""):
        for way in self.net.ways(node_id, manager, up=up, down=down):
            way.cut()

    async def heal(self, node_id, manager=""):
        for way in self.net.ways(node_id, manager):
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
