"""The answer to any one call is lost after the engine has done it: doing everything again ends where it should."""

import asyncio
import contextlib
import itertools

import pytest

from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.agent.runtime.interface import EndpointPlan, NetworkPlan, PlannedMount
from pilothouse.agent.runtime.specimens import plan
from pilothouse.clock import SystemClock
from pilothouse.errors import RuntimeUnavailableError
from pilothouse.ids import SystemIds
from pilothouse.model.spec import NetworkSpec

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("nothing_left_behind")]
NETWORKS = ("check_front", "check_back")
WANTED = plan(
    "lost",
    endpoints=tuple(EndpointPlan(network=name, key=name) for name in NETWORKS),
    mounts=(PlannedMount(kind="volume", source="check_data", target="/data"),),
)


class Forgetter:
    """A socket before the engine's that carries every request there and loses the answer to one of them."""

    def __init__(self, engine, lose):
        self.asked = 0
        self._engine = engine
        self._lose = lose

    async def carry(self, reader, writer):
        with contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().lower().split("\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
            body = await reader.readexactly(length)
            self.asked += 1
            lost = self.asked == self._lose
            answers, requests = await asyncio.open_unix_connection(str(self._engine))
            with contextlib.closing(requests):
                requests.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + body)
                answer = await answers.read()
            if not lost:
                writer.write(answer)
                await writer.drain()


@contextlib.asynccontextmanager
async def forgetting(host, socket, lose):
    """Have a driver that loses the answer to its call number *lose*."""
    forgetter = Forgetter(host.socket, lose)
    server = await asyncio.start_unix_server(forgetter.carry, str(socket))
    engine = DockerEngine(str(socket), SystemClock(), SystemIds())
    async with server:
        yield engine, forgetter
        await engine.close()


async def bring_up(engine):
    for name in NETWORKS:
        await engine.ensure_network(name, NetworkPlan(app="check", spec=NetworkSpec(key=name, name=name)))
    await engine.ensure_volume("check_data", "check", "", {})
    await engine.prepare(WANTED)
    await engine.start(WANTED.name)


async def take_down(engine):
    await engine.stop(WANTED.name, 10.0)
    await engine.remove(WANTED.name)
    for name in NETWORKS:
        await engine.remove_network(name)
    await engine.remove_volume("check_data")


async def forgetfully(host, socket, lose, script):
    """Run *script* with the answer to its call number *lose* lost; return whether it had so many calls."""
    async with forgetting(host, socket, lose) as (engine, forgetter):
        with contextlib.suppress(RuntimeUnavailableError):
            await script(engine)
    return forgetter.asked >= lose


async def test_nothing_is_doubled_or_left_when_any_answer_is_lost(docker_host, tmp_path):
    whole = DockerEngine(docker_host.url, SystemClock(), SystemIds())
    lost = {bring_up: 0, take_down: 0}
    for lose in itertools.count(1):
        lost[bring_up] += await forgetfully(docker_host, tmp_path / "up.sock", lose, bring_up)
        await bring_up(whole)
        (state,) = await whole.status()
        assert (state.name, state.phase, set(state.addresses)) == (WANTED.name, "running", set(NETWORKS))
        lost[take_down] += await forgetfully(docker_host, tmp_path / "down.sock", lose, take_down)
        await take_down(whole)
        assert docker_host.inventory() == set()
        if lose > max(lost.values()):
            break
    await whole.close()
    assert lost[bring_up] >= 12, "networks, volume, image, create, connect, start, and looking before each"
    assert lost[take_down] >= 8, "stop, remove, networks, volume, and looking before each"
