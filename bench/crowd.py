"""Simulated agents in one process: real sessions, real reports, and containers that start at once. Not a bench itself.

    bench/crowd.py DIRECTORY ADDRESS AGENTS

DIRECTORY has a directory with a key and a certificate for each agent (`node00000` …). Each agent dials ADDRESS, says
it has 64 processors, reports every task it is assigned as running and ready, and stops what has to stop. Ends with its
standard input. Prints a line of JSON whenever the number of sessions changes by more than nothing in a second.
"""

import asyncio
import json
import pathlib
import sys
import time

import uvloop

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "src"))

from pilothouse import log
from pilothouse.agent.beats import Signs
from pilothouse.agent.managers import Managers
from pilothouse.agent.remote import RemoteLink, dialler
from pilothouse.agent.reports import Reports
from pilothouse.clock import SystemClock
from pilothouse.errors import PilothouseError
from pilothouse.ids import SystemIds
from pilothouse.link.credentials import Credentials
from pilothouse.link.tls import client_context
from pilothouse.model.node import NodeDescription
from pilothouse.model.objects import TaskStatus
from pilothouse.model.spec import Resources
from pilothouse.model.states import TaskState
from pilothouse.model.wire import ImageProgress, ResourceReport, TaskReport


class Lease:
    """Takes every answer for good."""

    def begin(self):
        pass

    def remaining(self):
        return float("inf")

    def acknowledged(self, sent_at, seconds):
        return True


class Services:
    """A node that has every image."""

    async def ensure_image(self, ref, policy, platform=""):
        yield ImageProgress(ref=ref, phase="resolved", id=f"sha256:{ref}")

    async def logs(self, query):
        return
        yield

    async def stats(self):
        return ()

    async def list_foreign(self):
        return ()

    async def adopt(self, container_id, task):
        raise NotImplementedError


class Agent:
    """One simulated agent."""

    def __init__(self, name, directory, address, clock, ids):
        credentials = Credentials(directory / name)
        context = client_context(credentials)
        signs = Signs(
            clock=clock,
            ids=ids,
            lease=Lease(),
            boottime=clock.monotonic,
            pressure=dict,
            renewal_due=lambda: None,
        )
        self.name = name
        self.link = RemoteLink(
            connect=dialler(clock, lambda: context),
            managers=Managers((address,), lambda _: None),
            signs=signs,
            version="bench",
        )
        self.reports = Reports(self.link, clock, ids)
        self.told = {}
        self._clock = clock

    async def run(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.link.run(Services()))
            group.create_task(self.reports.run())
            group.create_task(self._follow())

    async def _follow(self):
        about = NodeDescription(
            hostname=self.name,
            os="linux",
            arch="x86_64",
            capacity=Resources(cpu_nano=64_000_000_000, memory_bytes=256 << 30),
        )
        while True:
            try:
                await self.link.describe(about)
                async for assignment in self.link.assignments():
                    for task in assignment.tasks:
                        self._drive(task)
                    for network in assignment.networks:
                        if network.removing:
                            self.reports.gone(ResourceReport(kind="network", id=network.id))
            except PilothouseError:
                await self._clock.sleep(0.1)
            self.told.clear()

    def _drive(self, task):
        if task.state.terminal:
            return
        wanted = {TaskState.READY: TaskState.READY, TaskState.SHUTDOWN: TaskState.SHUTDOWN}.get(
            task.desired_state, TaskState.RUNNING
        )
        if self.told.get(task.id) == wanted:
            return
        self.told[task.id] = wanted
        now = self._clock.now()
        running = wanted is TaskState.RUNNING
        status = TaskStatus(
            message="simulated",
            since=task.status.since or now,
            started_at=task.status.started_at or now,
            container_id=f"c{task.id}",
            ready=running,
            ready_since=(task.status.ready_since or now) if running else None,
        )
        self.reports.add(TaskReport(task_id=task.id, state=wanted, status=status), urgent=True)


async def main(directory, address, count):
    clock, ids = SystemClock(), SystemIds()
    agents = [Agent(f"node{number:05}", directory, address, clock, ids) for number in range(count)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(agent.run()) for agent in agents]
        tasks.append(group.create_task(_tell(agents)))
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()


async def _tell(agents):
    before = None
    while True:
        connected = sum(agent.link.connected for agent in agents)
        if connected != before:
            before = connected
            print(json.dumps({"at": time.monotonic(), "connected": connected}), flush=True)
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    log.set_level("error")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
