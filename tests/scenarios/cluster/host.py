"""Machines of the simulated cluster: an engine that outlives its agents, and agents as they are shipped."""

import asyncio
import shutil

from msgspec.structs import replace

from pilothouse.agent.agent import Agent
from pilothouse.agent.beats import Signs
from pilothouse.agent.fence import Fence
from pilothouse.agent.guard.register import Register
from pilothouse.agent.lease import Lease
from pilothouse.agent.managers import Managers
from pilothouse.agent.proxy.fake import FakeIngress, FakeProxy
from pilothouse.agent.remote import RemoteLink
from pilothouse.agent.runtime.fake import FakeEngine, Killed
from pilothouse.agent.runtime.fakehost import FakeHost
from pilothouse.errors import NodeRemovedError
from pilothouse.model.names import task_id_of
from tests.scenarios.cluster.guard import SimGuard, SimKeeper
from tests.scenarios.cluster.processes import Process

RESTART_SECONDS = 1.0
LATENCY_SECONDS = 0.01


class WatchedHost(FakeHost):
    """An engine whose starts somebody looks at."""

    watcher = staticmethod(lambda container: None)

    def begin(self, container):
        super().begin(container)
        self.watcher(container)


class WatchedLink(RemoteLink):
    """A session whose assignments somebody looks at."""

    watcher = staticmethod(lambda assignment: None)

    async def assignments(self):
        async for assignment in super().assignments():
            self.watcher(assignment)
            yield assignment


class NamedEngine(FakeEngine):
    """An engine on a machine that has a name."""

    hostname = ""

    async def describe(self):
        return replace(await super().describe(), hostname=self.hostname)


class SimHost:
    """One machine.

    Attributes:
        engine: The containers, which no agent's death touches.
        on: It has power.
        crash_next: Kill the agent at so-manieth engine call from now, and whether before or after it; or None.
    """

    def __init__(self, node_id, clock, ids, directory, dial, images, managers, capacity=None):
        self.node_id = node_id
        self.clock = clock
        self.ids = ids
        self.directory = directory
        self.engine = WatchedHost(clock, *images, capacity=capacity)
        self.proxy = FakeProxy()
        self.guard = SimGuard(directory / "guard", self.engine)
        self.watcher = lambda node_id, assignment: None
        self.process = Process(node_id)
        self.guard_process = Process(f"{node_id}.guard")
        self._dial = dial
        self._managers = managers
        self.on = True
        self.crash_next = None
        self.deaths = 0
        self._driver = None
        self._agent = None
        self._power = asyncio.Event()
        self._power.set()

    async def run(self):
        """Have an agent running whenever there is power, as a service manager does, and a guard beside it."""
        guard = self.guard_process.spawn(self.guard.run(), f"{self.node_id}.guard")
        try:
            async with asyncio.TaskGroup() as machine:
                machine.create_task(_ended(guard), name=f"{self.node_id}.watch")
                await self._restart()
        finally:
            guard.cancel()

    async def _restart(self):
        while True:
            await self._power.wait()
            self._agent = self.process.spawn(self._serve(), f"{self.node_id}.agent")
            try:
                await asyncio.wait([self._agent])
            finally:
                self._agent.cancel()
            if not self._agent.cancelled() and (error := self._agent.exception()) is not None:
                raise error
            self.deaths += 1
            await asyncio.sleep(RESTART_SECONDS)

    async def _serve(self):
        self._driver = NamedEngine(self.engine, latency_seconds=LATENCY_SECONDS)
        self._driver.hostname = self.node_id
        if self.crash_next is not None:
            number, after = self.crash_next
            self._driver.crash_at(number, after=after)
            self.crash_next = None
        ingress = FakeIngress(self.clock, self.proxy)
        run, data = self.directory / "run", self.directory / "data"
        register = Register(self.directory / "guard")
        lease = Lease(self.clock, register.term)
        fence = Fence(lease, self.clock, register)
        fence._keeper = SimKeeper()
        signs = Signs(
            clock=self.clock,
            ids=self.ids,
            lease=lease,
            boottime=self.clock.boottime,
            pressure=dict,
            renewal_due=lambda: None,
        )
        managers = Managers(self._managers, lambda _known: None)
        link = WatchedLink(connect=self._connect, managers=managers, signs=signs, version="simulated")
        link.watcher = lambda assignment: self.watcher(self.node_id, assignment)
        agent = Agent(link, self._driver, ingress, self.clock, self.ids, data, run, fence)
        try:
            async with asyncio.TaskGroup() as process:
                process.create_task(link.run(agent.services), name=f"{self.node_id}.link")
                process.create_task(agent.run(), name=f"{self.node_id}.run")
        except* (Killed, NodeRemovedError):
            # Of a removed node nothing is let in; its service manager tries again, and it may be admitted again.
            pass

    async def _connect(self, address, handlers):
        return await self._dial(self.node_id, address, handlers)

    def kill_agent(self):
        """End the agent's process; its service manager starts it again."""
        if self._agent is None:
            return
        self._agent.cancel()
        if self.process.stopped:
            # Whatever it would have done yet, it does not do.
            self._driver.dead = True
            self.process.go_on()

    def crash_agent_at_call(self, number, *, after):
        """Kill the agent at an engine call soon: before the engine acts, or after it and before the answer."""
        if self._driver is not None and not self._driver.dead:
            self._driver.crash_at(len(self._driver.calls) + number, after=after)

    def power_off(self):
        """Pull the plug: agent, engine and containers end."""
        if not self.on:
            return
        self.on = False
        self._power.clear()
        self.kill_agent()
        self.engine.outage()
        for name in self.engine.running():
            self.engine.kill(name)

    def power_on(self):
        if self.on:
            return
        self.on = True
        # The guard's files are of another start of the machine.
        shutil.rmtree(self.directory / "guard", ignore_errors=True)
        self.engine.recover()
        self._power.set()

    def engine_down(self):
        if self.on:
            self.engine.outage()

    def engine_up(self):
        if self.on and self.engine.down:
            self.engine.recover()

    def set_clock_wrong(self, seconds):
        """Move the wall clock; what a container does next does not depend on it."""
        by = seconds - self.clock.wrong_by
        self.clock.wrong_by = seconds
        for container in self.engine.containers.values():
            container.due = [(at + by, act) for at, act in container.due]

    def live(self):
        """The containers of tasks whose processes live, by task."""
        return {task_id: c for name in self.engine.running() if (task_id := task_id_of(name)) for c in [name]}


async def _ended(guard):
    """Raise what the guard died of; nothing here ends it."""
    await asyncio.wait([guard])
    if not guard.cancelled():
        guard.result()
