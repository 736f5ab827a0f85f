"""A node whose engine hangs, or has lost what holds its containers, says so in time."""

import asyncio
import contextlib
import os
import pathlib
import signal
import time

import pytest

from pilothouse.agent.health import Health
from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.clock import SystemClock
from pilothouse.ids import SystemIds
from tests.engine import BASE

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
def running(docker_host, nothing_left_behind):
    """A container, so that there is something to ask for."""
    body = {"Image": BASE, "Cmd": ["sleep", "1000000"], "HostConfig": {"NetworkMode": "none"}}
    made = docker_host.request("POST", "/containers/create", body)[1]["Id"]
    docker_host.request("POST", f"/containers/{made}/start")
    yield docker_host
    docker_host.request("DELETE", f"/containers/{made}?force=1&v=1")


def containerd_of(host):
    """The pid of the containerd that a private dockerd started."""
    children = pathlib.Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
    lines = {int(pid): pathlib.Path(f"/proc/{pid}/cmdline").read_text() for pid in children}
    every = {
        int(entry.name): line
        for entry in pathlib.Path("/proc").iterdir()
        if entry.name.isdigit() and (line := _cmdline(entry)) and str(host.directory) in line
    }
    return next(pid for pid, line in {**lines, **every}.items() if line.startswith("containerd\0"))


def _cmdline(entry):
    with contextlib.suppress(OSError):
        return (entry / "cmdline").read_text()
    return ""


@pytest.mark.parametrize("whom", ["dockerd", "containerd"])
async def test_what_hangs_is_known_within_ten_seconds_and_forgotten_when_it_is_over(running, whom):
    engine = DockerEngine(running.url, SystemClock(), SystemIds())
    health, told = Health(engine, SystemClock()), asyncio.Queue()
    health.changed = lambda found: told.put_nowait(dict(found))
    closing = contextlib.AsyncExitStack()
    closing.push_async_callback(engine.close)
    pid = running.pid if whom == "dockerd" else containerd_of(running)
    async with closing, asyncio.TaskGroup() as group:
        assert (await health.ask_engine()).problem == ""
        watching = group.create_task(health.run())
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(15):
                found = await told.get()
            assert "engine" in found
            assert time.monotonic() - begun < 10
        finally:
            os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(15):
            while "engine" in await told.get():
                pass
        watching.cancel()
