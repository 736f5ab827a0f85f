"""The whole control plane in one process under a clock that jumps, with a node whose containers do what a script says.

Nothing here sleeps. When every coroutine waits for time, the clock jumps to the next time somebody waits for; so ten
minutes of back-off cost as much as the decisions in them, and the same seed gives the same run.
"""

import asyncio
import contextlib
import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field

from msgspec.structs import replace

from pilothouse.control import Presence, run_control
from pilothouse.control.assignments import needs
from pilothouse.control.orchestrators.reaping import forget_gone
from pilothouse.ids import SeededIds
from pilothouse.model.node import Node
from pilothouse.model.objects import App, Ending, Health, ResolvedImage, Service, Task, TaskStatus
from pilothouse.model.release import Release, release_id
from pilothouse.model.rollout import Stage
from pilothouse.model.spec import AppSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.model.wire import ResourceReport
from pilothouse.server.views import app_view
from tests.control.world import node

QUIET_TURNS = 60
"""So many turns of the event loop without a commit mean that everybody waits; the longest chain needs about ten."""


class JumpingClock:
    """Keeps `clock.Clock`; time stands still until somebody jumps."""

    def __init__(self, start=1_000_000.0):
        self._now = start
        self._sleepers = []
        self._order = itertools.count()

    def now(self):
        return self._now

    def monotonic(self):
        return self._now

    def boottime(self):
        return self._now

    async def sleep(self, seconds):
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), waiter))
        await waiter

    def next_at(self):
        """The next time somebody waits for, or None."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def jump(self, to):
        self._now = max(self._now, to)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            waiter = heapq.heappop(self._sleepers)[2]
            if not waiter.done():
                waiter.set_result(None)


@dataclass(frozen=True)
class Behaviour:
    """What a container does: how long each part of its life takes, and how it ends; None is never."""

    prepare_seconds: float = 0.5
    ready_seconds: float | None = 0.2
    exits_after: float | None = None
    exit_code: int = 0
    stop_seconds: float = 0.3
    rejected: str = ""
    oom: bool = False
    unhealthy_after: float | None = None


@dataclass
class Container:
    """One container of the simulated node; it outlives every process of the platform."""

    task: Task
    behaviour: Behaviour
    prepared_at: float
    started_at: float | None = None
    stop_at: float | None = None

    def ends_at(self):
        ends = [] if self.stop_at is None else [self.stop_at]
        if self.started_at is not None:
            lasts = (self.behaviour.exits_after, self.behaviour.unhealthy_after)
            ends.extend(self.started_at + seconds for seconds in lasts if seconds is not None)
        return min(ends, default=None)

    def running(self, now):
        end = self.ends_at()
        return self.started_at is not None and (end is None or now < end)


@dataclass
class SimulatedNode:
    """An agent and its engine: takes assignments, keeps containers, reports what it sees."""

    store: object
    clock: JumpingClock
    script: object = lambda task: Behaviour()
    containers: dict = field(default_factory=dict)
    most: Counter = field(default_factory=Counter)
    starts: list = field(default_factory=list)
    stops: list = field(default_factory=list)
    steps: list = field(default_factory=list)

    async def run(self):
        """Act on every commit and whenever a container's time has come."""
        since = await self.store.view(lambda tx: tx.revision)
        woken = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(since, woken))
            while True:
                woken.clear()
                at = await self.act()
                async with asyncio.TaskGroup() as race:
                    racers = {race.create_task(woken.wait())}
                    if at is not None:
                        racers.add(race.create_task(self.clock.sleep(at - self.clock.now())))
                    await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
                    for racer in racers:
                        racer.cancel()

    async def _listen(self, since, woken):
        async for _ in self.store.watch(since):
            woken.set()

    async def act(self):
        now = self.clock.now()
        assignment = (await self.store.view(lambda tx: needs(tx, "node1"))).assignment
        reports, times = {}, []
        for task in assignment.tasks:
            if not task.state.terminal:
                seen = self._drive(task, now)
                if seen is not None and seen[0] >= task.state and seen != (task.state, task.status):
                    reports[task.id] = seen
                times += [t for t in self._times(self.containers.get(task.id)) if t > now]
        for gone in self.containers.keys() - {task.id for task in assignment.tasks}:
            del self.containers[gone]
        self._count(now)
        if reports:
            await self.store.update(Writer.AGENT, lambda tx: self._report(tx, reports))
        await self._resources(assignment)
        return min(times, default=None)

    def _drive(self, task, now):
        """What the agent sees of one task now, after doing what is wanted of it."""
        container = self.containers.get(task.id)
        stopping = task.desired_state is TaskState.SHUTDOWN
        if container is None:
            if stopping:
                return TaskState.SHUTDOWN, replace(task.status, since=now, finished_at=now, message="it never ran")
            behaviour = self.script(task)
            container = Container(task=task, behaviour=behaviour, prepared_at=now + behaviour.prepare_seconds)
            self.containers[task.id] = container
        container.task = task
        if container.started_at is None:
            return self._before_start(task, container, stopping, now)
        if stopping and container.stop_at is None and container.running(now):
            container.stop_at = now + container.behaviour.stop_seconds
            self.stops.append((task.service, task.slot, now))
        return self._after_start(task, container, now)

    def _before_start(self, task, container, stopping, now):
        if stopping:
            return TaskState.SHUTDOWN, replace(task.status, since=now, finished_at=now, message="it never ran")
        if now < container.prepared_at:
            return TaskState.PREPARING, replace(task.status, message="preparing")
        if container.behaviour.rejected:
            return TaskState.REJECTED, replace(task.status, since=now, message=container.behaviour.rejected)
        if task.desired_state is TaskState.READY:
            return TaskState.READY, replace(task.status, message="prepared")
        container.started_at = now
        if task.step < 0:
            self.starts.append((task.service, task.slot, now))
        else:
            self.steps.append((task.spec.container.image, *task.spec.container.command))
        return self._after_start(task, container, now)

    def _after_start(self, task, container, now):
        started, behaviour = container.started_at, container.behaviour
        end, takes = container.ends_at(), behaviour.ready_seconds
        ready_since = None if takes is None or started + takes > min(now, end or now) else started + takes
        if end is not None and now >= end:
            by_us = container.stop_at is not None and end == container.stop_at
            code = 143 if by_us else behaviour.exit_code
            state = TaskState.SHUTDOWN if by_us else TaskState.FAILED if code else TaskState.COMPLETE
            if behaviour.unhealthy_after is not None and end == started + behaviour.unhealthy_after:
                return TaskState.FAILED, TaskStatus(
                    message="its health check failed", since=end, started_at=started, finished_at=end,
                    health=Health.UNHEALTHY, ending=Ending(exit_code=143),
                )  # fmt: skip
            ending = Ending(exit_code=code, oom=behaviour.oom and not by_us, log_tail=(f"ended with {code}",))
            return state, TaskStatus(
                since=end, started_at=started, finished_at=end, ending=ending, ready_since=ready_since
            )
        ready = ready_since is not None
        checked = task.spec.container.healthcheck is not None
        health = (Health.HEALTHY if ready else Health.STARTING) if checked else Health.NONE
        return TaskState.RUNNING, TaskStatus(
            since=started, started_at=started, ready=ready, health=health, ready_since=ready_since
        )

    @staticmethod
    def _times(container):
        if container is None:
            return []
        ready = container.behaviour.ready_seconds
        started = container.started_at
        times = [container.prepared_at, container.ends_at()]
        times.append(None if started is None or ready is None else started + ready)
        return [at for at in times if at is not None]

    @staticmethod
    def _report(tx, reports):
        for task_id, (state, status) in reports.items():
            task = tx.get(Task, task_id)
            if task is not None and not task.state.terminal:
                tx.put(replace(task, state=state, status=status))

    async def _resources(self, assignment):
        networks = [ResourceReport(kind="network", id=obj.id) for obj in assignment.networks if obj.removing]
        volumes = [ResourceReport(kind="volume", id=obj.id) for obj in assignment.volumes if obj.removing]
        if networks or volumes:
            await self.store.update(Writer.REAPER, lambda tx: forget_gone(tx, [*networks, *volumes]))

    def _count(self, now):
        """Remember the most containers of one slot that ever ran at once."""
        running = Counter((c.task.service_id, c.task.slot) for c in self.containers.values() if c.running(now))
        for key, number in running.items():
            self.most[key] = max(self.most[key], number)

    def running(self):
        """What runs now, as (service, slot, image), sorted."""
        now = self.clock.now()
        every = [c for c in self.containers.values() if c.running(now)]
        return sorted((c.task.service, c.task.slot, c.task.spec.container.image) for c in every)


class Killed(BaseException):
    """The server process is gone, right after a commit became durable and before anybody learnt of it."""


class Door:
    """Everybody's way to the store: counts commits, knows when somebody waits for one, and kills who made the last.

    Attributes:
        commits: How many there were.
        pending: How many calls have not returned.
        kill_after: After how many more commits by the server the server dies, or None.
        kill_any: Also commits through the API are the server's own.
    """

    def __init__(self, store):
        self.inner = store
        self.commits = 0
        self.pending = 0
        self.kill_after = None
        self.kill_any = False
        self._open = asyncio.Event()
        self._open.set()

    async def view(self, fn):
        await self._open.wait()
        return await self.inner.view(fn)

    async def update(self, writer, fn):
        await self._open.wait()
        self.pending += 1
        try:
            before = await self.inner.view(lambda tx: tx.revision)
            result = await self.inner.update(writer, fn)
            changed = await self.inner.view(lambda tx: tx.revision) != before
        finally:
            self.pending -= 1
        self.commits += changed
        if changed and (writer is not Writer.API or self.kill_any) and self.kill_after is not None:
            self.kill_after -= 1
            if self.kill_after == 0:
                self.kill_after = None
                raise Killed
        return result

    def watch(self, since):
        return self.inner.watch(since)

    async def replace(self, reopen):
        """Let nobody in while the store is closed and opened again."""
        self.pending += 1
        self._open.clear()
        self.inner = await reopen(self.inner)
        self._open.set()
        self.pending -= 1


async def the_same(store):
    """Reopen a store that is only in memory."""
    return store


class Platform:
    """A store, a node's containers, and a server process (control plane and agent) that can be killed and started."""

    def __init__(self, store, clock, script=None, seed=0, reopen=the_same):
        self.store, self.clock = Door(store), clock
        self.ids = SeededIds(seed)
        self.node = SimulatedNode(store=self.store, clock=clock)
        if script is not None:
            self.node.script = script
        self.presence = Presence(clock)
        self.presence.arrive("node1", local=True)
        self.kills = 0
        self._reopen = reopen

    @contextlib.asynccontextmanager
    async def started(self):
        """Run everything until the block ends."""
        await self.store.update(Writer.AGENT, self._join)
        async with asyncio.TaskGroup() as group:
            server = group.create_task(self._server())
            yield self
            server.cancel()

    async def _server(self):
        """A killed process is started again with nothing but the store and the containers."""
        while True:
            try:
                async with asyncio.TaskGroup() as process:
                    process.create_task(self._manager())
                    process.create_task(self.node.run())
            except* Killed:
                self.kills += 1
            await self.store.replace(self._reopen)

    @staticmethod
    def _join(tx):
        if tx.get(Node, "node1") is None:
            tx.put(Node(id="node1", description=node().description))

    async def _manager(self):
        """Everything of the server but its agent."""
        await run_control(self.store, self.clock, self.ids, self.presence)

    async def release(self, *services, base=0, app="shop", **fields):
        """Deploy as a release of its own, which replaces the stable release *base*."""
        await self.deploy(*services, app=app, base=base, **fields)

    async def stage(self, service="web", app="shop", **fields):
        """The releaser lets the newest release go so far with *service*."""

        def write(tx):
            release = tx.get(Release, release_id(app, tx.get(App, app).revision))
            stage = Stage(since=self.clock.now(), **fields)
            tx.put(replace(release, stages={**release.stages, service: stage}))

        # Not a commit of the server's, so it is none that the server could be killed after.
        await self.store.inner.update(Writer.RELEASER, write)

    async def deploy(self, *services, app="shop", base=None, **fields):
        def write(tx):
            old = tx.get(App, app)
            spec = AppSpec(name=app, services=services)
            if old is None:
                tx.put(App(id=app, spec=spec, deployed_by="alice", deployed_at=self.clock.now()))
            else:
                tx.put(replace(old, spec=spec, revision=old.revision + 1))
            for each in services:
                was = tx.get(Service, f"{app}/{each.name}")
                image = ResolvedImage(ref=each.task.container.image, id=f"sha256:{each.task.container.image}")
                if was is None:
                    tx.put(Service(id=f"{app}/{each.name}", app=app, name=each.name, spec=each, image=image))
                else:
                    tx.put(replace(was, spec=each, image=image))
            for was in tx.find(Service, app=app):
                if was.name not in {each.name for each in services}:
                    tx.put(replace(was, removing=True))
            if base is not None:
                self._record(tx, app, spec, base, fields)

        await self.store.update(Writer.API, write)

    def _record(self, tx, app, spec, base, fields):
        number = tx.get(App, app).revision
        images = {service.name: service.image for service in tx.find(Service, app=app)}
        whole = {"spec": spec, "images": images, "base": base, "created_at": self.clock.now(), **fields}
        tx.put(Release(id=release_id(app, number), app=app, number=number, **whole))

    async def down(self, app="shop"):
        await self.store.update(Writer.API, lambda tx: tx.put(replace(tx.get(App, app), removing=True)))

    async def view(self, app="shop"):
        return await self.store.view(lambda tx: app_view(tx, app, self.clock.now()))

    async def service(self, name="web"):
        return await self.store.view(lambda tx: tx.get(Service, f"shop/{name}"))

    async def tasks(self, name="web"):
        found = await self.store.view(lambda tx: tx.find(Task, service_id=f"shop/{name}"))
        return sorted(found, key=lambda task: (task.created_at, task.slot, task.id))

    async def until(self, condition, limit_seconds=3600.0):
        """Let time pass until *condition* holds; fail after *limit_seconds* of simulated time."""
        end = self.clock.now() + limit_seconds
        while True:
            await self.quiet()
            if await condition():
                return
            at = self.clock.next_at()
            assert at is not None, "everybody waits, and nobody for a time"
            assert at <= end, f"not so after {limit_seconds} s"
            self.clock.jump(at)

    async def pass_time(self, seconds):
        """Let so much time pass, with everything that happens in it."""
        end = self.clock.now() + seconds
        await self.quiet()
        while (at := self.clock.next_at()) is not None and at <= end:
            self.clock.jump(at)
            await self.quiet()
        self.clock.jump(end)
        await self.quiet()

    async def settled(self):
        view = await self.view()
        return view is not None and view.converged

    async def gone(self):
        return await self.view() is None

    async def quiet(self):
        """Return once nobody has anything to do before time passes."""
        still, last = 0, None
        while still < QUIET_TURNS:
            await asyncio.sleep(0)
            busy = self.store.pending or self.store.commits != last
            still = 0 if busy else still + 1
            last = self.store.commits
