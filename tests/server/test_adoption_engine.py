"""Adoption against a real engine: containers that `docker compose` made become tasks while their processes run on."""

import asyncio
import json

import msgspec
import pytest

from pilothouse.agent.agent import Agent
from pilothouse.agent.proxy.fake import FakeIngress
from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.clock import SystemClock
from pilothouse.governance.secrets.seal import load_vault
from pilothouse.ids import SystemIds
from pilothouse.model.api import AdoptRequest, AdoptResult, DeployRequest
from pilothouse.model.names import task_id_of
from pilothouse.model.objects import App
from pilothouse.server.manager import Manager
from pilothouse.store.memory import MemoryStore
from pilothouse.supervise import run_term
from tests.engine import until as patiently
from tests.server.harness import call, service, shop

IMAGES = {"web:1": {"Cmd": ["sleep", "1000"]}, "web:2": {"Cmd": ["sleep", "2000"]}}
DEADLINE_SECONDS = 90


def composed(host, name, image, number):
    """Make and start a container as `docker compose` labels it, and return its id."""
    labels = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": name,
        "com.docker.compose.container-number": str(number),
        "com.docker.compose.oneoff": "False",
    }
    path = f"/containers/create?name=shop-{name}-{number}"
    status, made = host.request("POST", path, {"Image": image, "Labels": labels, "StopSignal": "SIGKILL"})
    assert status == 201, made
    assert host.request("POST", f"/containers/{made['Id']}/start")[0] == 204
    return made["Id"]


@pytest.mark.engine
async def test_containers_go_on_under_their_new_names_and_one_of_an_old_image_is_replaced(
    docker_host,
    nothing_left_behind,
    tmp_path,
):
    docker_host.build(IMAGES)
    web = composed(docker_host, "web", "web:2", 1)
    old = composed(docker_host, "old", "web:1", 1)
    before = docker_host.request("GET", f"/containers/{web}/json")[1]["State"]["Pid"]
    engine = DockerEngine(docker_host.url, SystemClock(), SystemIds())
    store = MemoryStore()
    manager = Manager(store=store, clock=SystemClock(), ids=SystemIds(), vault=load_vault(tmp_path / "data"))
    session = manager.session("n1")
    agent = Agent(
        session, engine, FakeIngress(SystemClock()), SystemClock(), SystemIds(), tmp_path / "data", tmp_path / "run"
    )
    fast = {"stop_signal": "SIGKILL", "stop_grace_seconds": 1.0, "network_mode": "none"}
    spec = shop(service("web", "web:2", **fast), service("old", "web:2", **fast))
    try:
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as group:
            term = group.create_task(run_term({**manager.loops(), "agent": agent.run}))
            await session.open(agent.services)
            body = json.loads(msgspec.json.encode(AdoptRequest(deploy=DeployRequest(spec=spec))))
            answer = await call(manager.api, "POST", "/v1/adopt/shop", body)
            assert answer.status == 200, answer
            result = msgspec.json.decode(answer.body, type=AdoptResult)
            assert result.adopted == ("shop-web-1 → web.1",)
            await until(store, manager.api, lambda view: view["converged"])
            found = docker_host.request("GET", f"/containers/{web}/json")[1]
            assert (found["State"]["Running"], found["State"]["Pid"]) == (True, before)
            assert task_id_of(found["Name"])
            names = [c["Names"][0] for c in docker_host.request("GET", "/containers/json")[1]]
            assert len(names) == 2
            assert all(name.startswith("/ph.shop.") for name in names)
            assert docker_host.request("GET", f"/containers/{old}/json")[0] in {200, 404}
            assert old not in {c["Id"] for c in docker_host.request("GET", "/containers/json")[1]}
            assert (await call(manager.api, "DELETE", "/v1/apps/shop")).status == 202
            await gone(store)
            left = "/containers/json?all=1"
            await asyncio.to_thread(patiently, lambda: not docker_host.request("GET", left)[1], "nothing is left")
            term.cancel()
    finally:
        await engine.close()


async def until(store, api, condition):
    """Wait until the app is as *condition* says."""
    since = 0
    while not condition((await call(api, "GET", "/v1/apps/shop")).json):
        async for commit in store.watch(since):
            since = commit.revision
            break


async def gone(store):
    """Wait until the app has left the store."""
    since = await store.view(lambda tx: tx.revision)
    if await store.view(lambda tx: tx.get(App, "shop")) is None:
        return
    async for _ in store.watch(since):
        if await store.view(lambda tx: tx.get(App, "shop")) is None:
            return
