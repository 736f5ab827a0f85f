"""The agent on a real engine: what it saw in memory holds there too."""

import asyncio

import pytest

from pilothouse.agent.agent import Agent
from pilothouse.agent.proxy.fake import FakeIngress
from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.agent.runtime.specimens import SLEEPER
from pilothouse.clock import SystemClock
from pilothouse.ids import SystemIds
from pilothouse.model.container import FileGrant, Healthcheck
from pilothouse.model.objects import Health
from pilothouse.model.spec import Hook, Probe, ProbeKind, Probes
from pilothouse.model.states import TaskState
from pilothouse.model.wire import FileContent
from tests.agent.manager import Manager
from tests.agent.world import make_network, make_task
from tests.engine import ORDINARY_USER, WEB

S = TaskState
pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("nothing_left_behind")]


async def test_an_app_lives_on_a_real_engine(docker_host, tmp_path):
    check = Healthcheck(test=("CMD", "true"), interval_seconds=60.0)
    secret = FileGrant(source="password", target="/run/secrets/password")
    reads = Hook(command=("sh", "-c", 'test "$(cat /run/secrets/password)" = canary'))
    web = make_task(
        1,
        container={"image": WEB},
        spec={"probes": Probes(startup=Probe(kind=ProbeKind.HTTP, port=80))},
    )
    sleeper = make_task(2, service="sleeper", container={"image": SLEEPER, "healthcheck": check})
    user = make_task(
        3, service="user", container={"image": ORDINARY_USER, "secrets": (secret,)}, spec={"post_start": (reads,)}
    )
    once = Hook(command=("true",))
    hooked = make_task(4, service="hooked", container={"image": SLEEPER}, spec={"pre_start": (once,)})
    content = FileContent(id="shop/password", version="v1", content=b"canary")
    manager = Manager(web, sleeper, user, hooked, secrets=(content,))
    engine = DockerEngine(docker_host.url, SystemClock(), SystemIds())

    def agent():
        return Agent(
            manager, engine, FakeIngress(SystemClock()), SystemClock(), SystemIds(), tmp_path / "data", tmp_path / "run"
        )

    loop = asyncio.get_running_loop()
    with docker_host.inside():
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(agent().run())
            await manager.settles()
            await manager.until(lambda: manager.status(sleeper).health is Health.HEALTHY)
            assert manager.status(web).health is Health.HEALTHY
            serving.cancel()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(agent().run())
            before = manager.status(web).container_id
            state = await engine.inspect(f"ph.shop.web.1.{web.id}")
            assert state.id == before
            docker_host.request("POST", f"/containers/{before}/kill")
            begun = loop.time()
            await manager.reaches(web, S.FAILED)
            assert loop.time() - begun < 2.0
            assert manager.status(web).ending.exit_code == 137
            manager.want(S.SHUTDOWN)
            await manager.settles()
            manager.networks = [make_network(removing=True)]
            manager.touch()
            await manager.until(lambda: not manager.networks)
            manager.drop(*manager.tasks)
            async with asyncio.timeout(20.0):
                async for _ in engine.events():
                    if not await engine.status():
                        break
            serving.cancel()
    await engine.close()
