"""A manager for one node, in memory: it keeps the contract of `agent.session.ManagerLink`, and its laws.

It is no mock: reports go through the same table of arrows as in the store, and an assignment is always whole.
"""

import asyncio
import contextlib
import itertools

import msgspec

from pilothouse.agent.agent import Agent
from pilothouse.agent.proxy.fake import FakeIngress, FakeProxy
from pilothouse.agent.runtime.fake import FakeEngine, Killed
from pilothouse.agent.runtime.fakehost import FakeHost, FakeImage
from pilothouse.clock import SystemClock
from pilothouse.errors import ServerUnavailableError
from pilothouse.ids import SeededIds
from pilothouse.model.states import TaskState, Writer, check_transition
from tests.agent.world import IMAGE, make_network

DEADLINE_SECONDS = 20.0


class Manager:
    """What the agent talks to, and what a test changes and looks at."""

    def __init__(self, *tasks, networks=None, volumes=(), secrets=(), configs=()):
        self.tasks = {task.id: task for task in tasks}
        self.networks = list((make_network(),) if networks is None else networks)
        self.volumes = list(volumes)
        self.secrets = list(secrets)
        self.configs = list(configs)
        self.description = None
        self.batches = []
        self.history = {}
        self.gone = []
        self.down = False
        self.commit_seconds = 0.0
        self.splits = ()
        self.cut_offs = {}
        self.needed = []
        self.counted = []
        self.revision = 1
        self._changed = asyncio.Event()

    def assignment(self):
        from pilothouse.model.wire import Assignment

        return Assignment(
            revision=self.revision,
            tasks=tuple(self.tasks.values()),
            networks=tuple(self.networks),
            volumes=tuple(self.volumes),
            secrets=tuple(self.secrets),
            configs=tuple(self.configs),
            splits=self.splits,
            cut_offs=self.cut_offs,
        )

    async def assignments(self):
        sent = None
        while True:
            if self.down:
                raise ServerUnavailableError("the manager is down")
            changed = self._changed
            if self.revision != sent:
                sent = self.revision
                yield self.assignment()
                continue
            await changed.wait()

    async def report(self, tasks, resources=()):
        if self.down:
            raise ServerUnavailableError("the manager is down")
        # A commit takes its time, and the agent may be killed meanwhile.
        await asyncio.sleep(self.commit_seconds)
        self.batches.append(tasks)
        for told in tasks:
            task = self.tasks.get(told.task_id)
            if task is None or told.state < task.state:
                continue
            if told.state is not task.state:
                check_transition(Writer.AGENT, task.state, told.state)
                self.history.setdefault(task.id, []).append(told.state)
            self.tasks[task.id] = msgspec.structs.replace(task, state=told.state, status=told.status)
        self.gone += [(r.kind, r.id) for r in resources]
        self.networks = [n for n in self.networks if ("network", n.id) not in self.gone]
        self.volumes = [v for v in self.volumes if ("volume", v.id) not in self.gone]
        self.touch()

    async def needed_images(self):
        if self.down:
            raise ServerUnavailableError("the manager is down")
        return tuple(self.needed)

    async def traffic(self, reports):
        if self.down:
            raise ServerUnavailableError("the manager is down")
        self.counted.append(reports)
        self.touch()

    async def describe(self, description):
        if self.down:
            raise ServerUnavailableError("the manager is down")
        self.description = description

    def touch(self):
        self.revision += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def put(self, *tasks):
        self.tasks.update({task.id: task for task in tasks})
        self.touch()

    def want(self, state, task_id=None, reason=""):
        for found in [t for t in self.tasks.values() if task_id in {None, t.id}]:
            self.tasks[found.id] = msgspec.structs.replace(found, desired_state=state, desired_reason=reason)
        self.touch()

    def drop(self, *task_ids):
        for task_id in task_ids:
            del self.tasks[task_id]
        self.touch()

    def state(self, task):
        return self.tasks[task.id].state

    def status(self, task):
        return self.tasks[task.id].status

    async def until(self, true, what="it happens"):
        """Wait for a condition on what the manager knows."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not true():
                    await self._changed.wait()
        except TimeoutError:
            states = {t.id: (t.state.name, t.status.message) for t in self.tasks.values()}
            raise AssertionError(f"waited {DEADLINE_SECONDS} s until {what}: {states}") from None

    async def reaches(self, task, state):
        await self.until(lambda: self.state(task) >= state, f"{task.id} is {state.name}")
        assert self.state(task) is state, self.status(task)

    async def settles(self):
        """Wait until every task is where it should be."""

        def settled(task):
            if task.desired_state is TaskState.READY:
                return task.state is TaskState.READY
            return task.state.terminal or (
                task.desired_state is TaskState.RUNNING and task.state is TaskState.RUNNING and task.status.ready
            )

        await self.until(lambda: all(map(settled, self.tasks.values())), "everything settles")


class Node:
    """A machine with a fake engine on which agents come and go."""

    def __init__(self, directory, *images, host=None, seed=0):
        self.host = host or FakeHost(SystemClock(), *(images or (FakeImage(ref=IMAGE),)))
        self.seed = seed
        self.directory = directory
        self.engine = None
        self.proxy = FakeProxy()
        self.fence = None

    @property
    def installation(self):
        """The id of the agents that come here."""
        return (self.directory / "data" / "installation-id").read_text().strip()

    def _make(self, manager, engine):
        clock, home = SystemClock(), self.directory
        ingress = FakeIngress(clock, self.proxy)
        fence = self.fence() if self.fence else None
        return Agent(manager, engine, ingress, clock, SeededIds(self.seed), home / "data", home / "run", fence)

    @contextlib.asynccontextmanager
    async def agent(self, manager, *, engine=None):
        """Have an agent running; its death is raised at the end."""
        self.engine = engine or FakeEngine(self.host)
        made = self._make(manager, self.engine)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(made.run())
            try:
                yield made
            finally:
                running.cancel()

    async def serve_through_a_crash(self, manager, engine):
        """Run an agent on *engine*, which may kill it, and when it is dead a second one, for ever."""
        for each in (engine, FakeEngine(self.host)):
            made = self._make(manager, each)
            try:
                await made.run()
            except BaseExceptionGroup as group:
                if group.split(Killed)[1] is not None:
                    raise
            except Killed:
                pass
            if asyncio.current_task().cancelling():
                raise asyncio.CancelledError

    async def until(self, true, what="it happens"):
        """Wait for a condition on the machine."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self.host.until(true)
        except TimeoutError:
            raise AssertionError(f"waited {DEADLINE_SECONDS} s until {what}: {self.host.leftovers()}") from None


async def eventually(true):
    """Wait for a condition that nobody announces."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        for wait in itertools.repeat(0.002):
            if true():
                return
            await asyncio.sleep(wait)
