"""A real agent with a real engine, cut off in every way: what must be single is dead in time, and said why."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from pilothouse.agent.guard import guard
from tests.engine import BASE, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

LEASE = 6.0
AGENT = """
import asyncio, json, pathlib, sys

from pilothouse.agent.agent import Agent
from pilothouse.agent.fence import fence_of
from pilothouse.agent.proxy.fake import FakeIngress, FakeProxy
from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.clock import SystemClock
from pilothouse.ids import SystemIds
from pilothouse.model.cut_off import FENCE
from tests.agent.manager import Manager
from tests.agent.world import make_task

url, directory, lease_seconds = sys.argv[1], pathlib.Path(sys.argv[2]), float(sys.argv[3])


async def main():
    clock, ids = SystemClock(), SystemIds()
    task = make_task(int(sys.argv[4]), container={"image": sys.argv[5], "networks": (), "network_mode": "none"})
    manager = Manager(task, networks=())
    manager.cut_offs = {"shop/web": FENCE}
    fence = fence_of(directory / "run", clock)
    engine = DockerEngine(url, clock, ids)
    agent = Agent(
        manager, engine, FakeIngress(clock, FakeProxy()), clock, ids, directory / "data", directory / "run", fence
    )
    cut = asyncio.Event()

    async def beat():
        fence.lease.begin()
        while not cut.is_set():
            fence.lease.acknowledged(clock.boottime(), lease_seconds)
            await asyncio.sleep(0.5)

    async def tell():
        said = None
        while True:
            now = manager.tasks[task.id]
            if (now.state.name, now.status.message) != said:
                said = (now.state.name, now.status.message)
                print(json.dumps([*said, now.status.container_id]), flush=True)
            changed = manager._changed
            await changed.wait()

    async def hear():
        await asyncio.to_thread(sys.stdin.readline)
        cut.set()

    async with asyncio.TaskGroup() as group:
        for each in (beat(), tell(), hear(), agent.run()):
            group.create_task(each)


asyncio.run(main())
"""


class AgentProcess:
    """An agent in a process of its own, with a manager in it that answers beats until it is told to stop."""

    def __init__(self, host, directory, number):
        self.said = []
        command = [sys.executable, "-c", AGENT, host.url, str(directory), str(LEASE), str(number), BASE]
        root = pathlib.Path(__file__).parents[3]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    @property
    def state(self):
        return self.said[-1] if self.said else ["", "", ""]

    def reaches(self, state, seconds=30.0):
        until(lambda: self.state[0] == state, f"the task is {state}: {self.said}", seconds)
        return self.state

    def cut(self):
        self.process.stdin.write("cut\n")
        self.process.stdin.flush()

    def signal(self, what):
        os.kill(self.process.pid, what)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start(docker_host, nothing_left_behind, tmp_path):
    agents = []

    def begin(number):
        agents.append(AgentProcess(docker_host, tmp_path, number))
        return agents[-1]

    yield begin
    for each in agents:
        each.close()
    with contextlib.suppress(OSError, ValueError, ProcessLookupError):
        os.kill(json.loads((tmp_path / "run" / "guard" / "process.json").read_text())["pid"], signal.SIGKILL)

    def cleared():
        docker_host.clear()
        return not docker_host.inventory()

    until(cleared, "the containers are gone")


def alive(container_id):
    roots = guard.hierarchies(pathlib.Path("/proc/self/mounts").read_text())
    return [pid for path, _ in guard.groups(roots, [container_id])[container_id] for pid in guard.members(path)]


def dies(container_id, since):
    until(lambda: not alive(container_id), "it is dead", LEASE + 6)
    return time.monotonic() - since


def test_an_agent_that_is_cut_off_kills_it_and_says_why(start):
    agent = start(1)
    container = agent.reaches("RUNNING")[2]
    assert alive(container)
    agent.cut()
    assert LEASE - 1 < dies(container, time.monotonic()) < LEASE + 1
    assert "for so long that another may be started" in agent.reaches("SHUTDOWN")[1]


def test_while_the_agent_is_stopped_the_guard_kills_it_and_the_agent_says_so_when_it_goes_on(start):
    agent = start(2)
    container = agent.reaches("RUNNING")[2]
    agent.signal(signal.SIGSTOP)
    assert LEASE - 1 < dies(container, time.monotonic()) < LEASE + 1
    agent.signal(signal.SIGCONT)
    assert "for so long that another may be started" in agent.reaches("SHUTDOWN")[1]


def test_an_agent_that_was_killed_leaves_it_to_the_guard_and_the_next_one_learns_of_it(start, docker_host):
    first = start(3)
    container = first.reaches("RUNNING")[2]
    first.signal(signal.SIGKILL)
    assert LEASE - 1 < dies(container, time.monotonic()) < LEASE + 1
    second = start(3)
    assert "the node's guard killed it" in second.reaches("SHUTDOWN")[1]


def test_an_agent_that_is_started_again_in_time_goes_on_with_it(start):
    first = start(4)
    container = first.reaches("RUNNING")[2]
    first.signal(signal.SIGKILL)
    second = start(4)
    assert second.reaches("RUNNING")[2] == container
    end = time.monotonic() + LEASE + 2
    until(lambda: time.monotonic() > end, "the first lease is over", LEASE + 3)
    assert alive(container)


def test_a_hung_engine_saves_nobody(start, docker_host):
    agent = start(5)
    container = agent.reaches("RUNNING")[2]
    os.kill(docker_host.pid, signal.SIGSTOP)
    try:
        agent.cut()
        assert LEASE - 1 < dies(container, time.monotonic()) < LEASE + 1
    finally:
        os.kill(docker_host.pid, signal.SIGCONT)
    assert "for so long that another may be started" in agent.reaches("SHUTDOWN")[1]
