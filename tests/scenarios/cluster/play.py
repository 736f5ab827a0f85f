"""Plays one script on a simulated cluster, with every promise checked on the way and at the end."""

import asyncio
import contextlib
import tempfile

import msgspec

from pilothouse import log
from pilothouse.model.node import Availability, Node
from pilothouse.model.placement import Taint, TaintEffect
from pilothouse.model.spec import Mode
from pilothouse.model.states import TaskState
from tests.scenarios.cluster import apps
from tests.scenarios.cluster.faults import script
from tests.scenarios.cluster.invariants import leftovers
from tests.scenarios.cluster.loop import simulate
from tests.scenarios.cluster.world import SimCluster, told

QUIET_SECONDS = 30.0
EVENTUALLY_SECONDS = 3600.0
PATIENT = {"up", "canary", "batch", "remove"}
"""What people ask of the API, and wait for while other things happen."""
MANAGERS = ("m1", "m2", "m3")


class Played(msgspec.Struct, frozen=True):
    """What one run was.

    Attributes:
        commits: How many were checked.
        starts: How many containers were started.
        seconds: How many were simulated.
        settled_after: How many of them the end took.
        terms: How many there were.
        refused: How many commits of a manager that believed to lead, and did not, were refused.
    """

    commits: int
    starts: int
    seconds: float
    settled_after: float
    terms: int
    refused: int


class FailedError(AssertionError):
    """A promise was broken; the message has the script that shows it."""


def play(seed, nodes=4, events=None):
    """Play the script of *seed*, or *events*.

    Raises:
        FailedError: With the seed, the script and the promise.
    """
    names = tuple(f"n{number}" for number in range(1, nodes + 1))
    acts = script(seed, names, MANAGERS) if events is None else events
    try:
        with log_muted(), tempfile.TemporaryDirectory(dir="/dev/shm", prefix="simulated-") as directory:
            return simulate(_play(directory, seed, nodes, acts))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        lines = "\n".join(f"    {act!r}," for act in acts)
        raise FailedError(f"seed {seed} with {nodes} nodes:\n{why(error)}\nSCRIPT = [\n{lines}\n]") from error


@contextlib.contextmanager
def log_muted():
    """Write no events: what goes wrong here goes wrong on purpose."""
    before, log._threshold = log._threshold, 1_000
    try:
        yield
    finally:
        log._threshold = before


def why(error):
    """The innermost causes of an error, each once."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(dict.fromkeys(why(each) for each in error.exceptions))
    return f"{type(error).__name__}: {error}"


async def _play(directory, seed, nodes, acts):
    cluster = SimCluster(directory, nodes=nodes, seed=seed, images=apps.IMAGES)
    async with cluster.started():
        player = Player(cluster)
        await player.up("web:1", 3, "db:1")
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as people:
            for at, what, *arguments in acts:
                await cluster.passes(max(0.0, began + at - asyncio.get_running_loop().time()))
                doing = getattr(player, what)(*arguments)
                if what in PATIENT:
                    people.create_task(doing)
                else:
                    await doing
            await player.mend()
        mended = asyncio.get_running_loop().time()
        await player.up("web:3", 4, "db:1")
        await cluster.until(player.as_it_should, EVENTUALLY_SECONDS)
        settled = asyncio.get_running_loop().time()
        await cluster.passes(QUIET_SECONDS)
        seen = await cluster.look()
        assert player.as_it_should(seen), f"it did not last: {told(seen)}"
        left = await cluster.memory.view(lambda tx: leftovers(tx, cluster.hosts))
        assert not left, f"left over {QUIET_SECONDS:g} s after all was quiet: {left}"
        cluster.promises.check()
        return Played(
            commits=cluster.promises.steps,
            starts=cluster.promises.starts,
            seconds=round(asyncio.get_running_loop().time() - began, 3),
            settled_after=round(settled - mended, 3),
            terms=cluster.terms,
            refused=cluster.quorum.refused,
        )


class Player:
    """Does what a script says."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.wanted = {}
        self._turn = asyncio.Lock()

    async def canary(self, image, replicas, database):
        await self.up(image, replicas, database, **apps.canary())

    async def up(self, image, replicas, database, **release):
        async with self._turn:
            spec = apps.shop(image, replicas, database, **release)
            await self.cluster.up(spec)
            self.wanted["shop"] = spec

    async def batch(self, jobs):
        async with self._turn:
            spec = apps.batch(jobs)
            await self.cluster.up(spec)
            self.wanted["batch"] = spec

    async def drain(self, node, deadline, until):
        await self.cluster.drain(node, deadline=deadline, until=until)

    async def activate(self, node):
        await self.cluster._specify(node, availability=Availability.ACTIVE, maintenance=None, taints=())

    async def confirm(self):
        await self.cluster.confirm()

    async def remove(self, node):
        async with self._turn:
            if await self.cluster.memory.view(lambda tx: tx.get(Node, node)):
                await self.cluster.remove(node)

    async def admit(self, node):
        await self.cluster.admit(node)

    async def taint(self, node):
        await self.cluster._specify(node, taints=(Taint(key="flaky", effect=TaintEffect.EVICT),))

    async def kill_agent(self, node):
        await self.cluster.kill_agent(node)

    async def crash_agent(self, node, calls, after):
        self.cluster.hosts[node].crash_agent_at_call(calls, after=after)

    async def engine_down(self, node):
        self.cluster.hosts[node].engine_down()

    async def engine_up(self, node):
        self.cluster.hosts[node].engine_up()

    async def power_off(self, node):
        await self.cluster.kill_host(node)

    async def power_on(self, node):
        await self.cluster.start_host(node)

    async def cut(self, node, up, down):
        await self.cluster.cut(node, up=up, down=down)

    async def heal(self, node):
        await self.cluster.heal(node)

    async def loss(self, node, share):
        for way in self.cluster.net.ways(node):
            way.loss = share

    async def kill_leader(self):
        await self.cluster.kill_leader()

    async def kill_manager(self, name):
        self.cluster.managers[name].kill()

    async def crash_leader(self, commits):
        if self.cluster.leader is not None:
            self.cluster.leader.reach.kill_after = commits

    async def store(self, slow, lose):
        """Make the store slow, or lose answers, for whoever leads; a store that is well is well for everybody."""
        leader = self.cluster.leader
        for each in self.cluster.managers.values() if not slow and not lose else [leader] if leader else []:
            each.reach.slow_seconds = slow
            each.reach.lose_every = lose

    async def cut_store(self, name):
        for manager in self._managers(name):
            manager.reach.cut = True

    async def heal_store(self, name):
        for manager in self._managers(name, all_if_leader=True):
            manager.reach.cut = False

    def _managers(self, name, *, all_if_leader=False):
        """Return the manager of that name; of who leads now only itself, or all of which one may have led before."""
        if name != "leader":
            return [self.cluster.managers[name]]
        found = self.cluster.managers.values() if all_if_leader else [self.cluster.leader]
        return [manager for manager in found if manager is not None]

    async def part(self, node, manager, up, down):
        await self.cluster.cut(node, up=up, down=down, manager=manager)

    async def join(self, node, manager):
        await self.cluster.heal(node, manager)

    async def pause(self, name):
        for process in self._processes(name):
            process.stop()

    async def go_on(self, name):
        for process in self._processes(name, all_if_leader=True):
            process.go_on()

    def _processes(self, name, *, all_if_leader=False):
        node, _, guard = name.partition(".")
        if node in self.cluster.hosts:
            host = self.cluster.hosts[node]
            return [host.guard_process if guard else host.process]
        return [manager.process for manager in self._managers(name, all_if_leader=all_if_leader)]

    async def clock(self, node, wrong_by):
        if node in self.cluster.hosts:
            self.cluster.hosts[node].set_clock_wrong(wrong_by)
        elif node:
            self.cluster.promises.clocks_were_wrong()
            self.cluster.managers[node].clock.wrong_by = wrong_by
        else:
            self.cluster.promises.clocks_were_wrong()
            for clock in (self.cluster.clock, *(each.clock for each in self.cluster.managers.values())):
                clock.wrong_by = wrong_by

    async def kill_container(self, number):
        found = [(host, name) for host in self.cluster.hosts.values() for name in host.engine.running()]
        if found:
            host, name = found[number % len(found)]
            host.engine.kill(name)

    async def mend(self):
        """Everything works again, and everybody is let in."""
        self.cluster.net.mend_all()
        await self.clock("", 0)
        await self.store(0.0, 0)
        for manager in self.cluster.managers.values():
            manager.reach.cut = False
            manager.process.go_on()
        for node, host in self.cluster.hosts.items():
            host.process.go_on()
            host.guard_process.go_on()
            host.power_on()
            host.engine_up()
            host.set_clock_wrong(0)
            await self.admit(node)
            await self.activate(node)

    def as_it_should(self, seen):
        """Whether exactly what people asked for lives on the machines, and nobody is asked to go."""
        if seen.requests or not all(node.ready for node in seen.nodes.values()):
            return False
        wanted = {}
        for name, spec in self.wanted.items():
            for service in spec.services:
                if service.mode is Mode.REPLICATED:
                    wanted |= {f"{name}/{service.name}.{slot}": 1 for slot in range(1, service.replicas + 1)}
                elif service.mode is Mode.GLOBAL:
                    wanted[f"{name}/{service.name}"] = len(seen.nodes)
        if {key: len(places) for key, places in seen.copies.items()} != wanted:
            return False
        live = [task for task in seen.tasks if not task.state.terminal]
        images = {(name, s.name): s.task.container.image for name, spec in self.wanted.items() for s in spec.services}
        return all(
            task.state is TaskState.RUNNING
            and task.desired_state is TaskState.RUNNING
            and task.spec.container.image == images[task.app, task.service]
            for task in live
        )
