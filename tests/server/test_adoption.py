"""Containers of `docker compose` become tasks; none is started twice, none is lost, whatever happens in between."""

import asyncio
import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.control.nodes.liveness import Presence
from pilothouse.control.orchestrators.adoption import FOREIGN
from pilothouse.control.term import run_control
from pilothouse.errors import ConflictError
from pilothouse.model.api import AdoptRequest, AdoptResult, DeployRequest
from pilothouse.model.container import Port
from pilothouse.model.node import NodeDescription
from pilothouse.model.objects import App, AuditRecord, ResolvedImage, Service, Task, TaskStatus
from pilothouse.model.spec import Mode, Resources
from pilothouse.model.states import TaskState
from pilothouse.model.wire import TaskReport
from pilothouse.server.deploy.adoption import _home, match
from pilothouse.server.sessions.local import LocalSession
from tests.server.harness import SimulatedNode, World, foreign, service, shop
from tests.server.test_api import problem

IMAGES = {"web": ResolvedImage(ref="web:1", id="sha256:web:1"), "db": ResolvedImage(ref="db:1", id="sha256:db:1")}
DESCRIPTION = NodeDescription(engine="docker 24.0", capacity=Resources(cpu_nano=8 * 10**9, memory_bytes=2**33))


def container(name, service, number=1, image="sha256:web:1", **fields):
    given = {"running": True, "project": "shop", **fields}
    return foreign(
        f"id-{name}", name=name, image="x", image_id=image, service=service, number=number, **given
    )  # fmt: skip


WEB, WEB2 = container("shop-web-1", "web"), container("shop-web-2", "web", 2)
DB = container("shop-db-1", "db", image="sha256:db:1")


@pytest.mark.parametrize(
    ("found", "spec", "reason"),
    [
        (WEB, service("web", "web:1"), ""),
        (container("w", "web", image="sha256:old"), service("web", "web:1"), "another image"),
        (WEB2, service("web", "web:1"), "asks for 1 of it"),
        (WEB, service("web", "web:1", labels={"tier": "gold"}), "label tier differs"),
        (container("w", "web", labels={"tier": "gold"}), service("web", "web:1", labels={"tier": "gold"}), ""),
    ],
)
def test_a_container_goes_on_if_image_slot_and_labels_fit_and_is_replaced_in_order_if_not(found, spec, reason):
    matched = match(shop(spec), IMAGES, [found], frozenset(), "n1")
    (takeover,) = matched.takeovers
    assert takeover.current is not bool(reason)
    assert reason in "".join(matched.replaced)


@pytest.mark.parametrize(
    "found",
    [
        container("w", "web", project="blog"),
        container("w", "web", running=False),
        container("w", "web", one_off=True),
        container("w", "gone"),
        container("w", "job"),
    ],
)
def test_what_is_not_the_apps_or_will_end_by_itself_is_left_alone(found):
    spec = shop(service("web", "web:1"), service("job", "web:1", mode=Mode.REPLICATED_JOB))
    images = {**IMAGES, "job": IMAGES["web"]}
    assert match(spec, images, [found], frozenset(), "n1").takeovers == ()


@given(
    numbers=st.lists(st.integers(0, 5), max_size=6),
    replicas=st.integers(0, 5),
    taken=st.sets(st.integers(1, 5)),
)
def test_no_slot_is_given_twice(numbers, replicas, taken):
    found = [container(f"c{i}", "web", number) for i, number in enumerate(numbers)]
    used = frozenset(("web", slot) for slot in taken)
    matched = match(shop(service("web", "web:1", replicas=replicas)), IMAGES, found, used, "n1")
    slots = [takeover.slot for takeover in matched.takeovers]
    assert len(slots) == len(set(slots)) == len(numbers)
    assert not set(slots) & taken
    assert all(takeover.current is (takeover.slot <= replicas) for takeover in matched.takeovers)


class Engine:
    """What an agent and its engine do about containers: started ones, stopped ones, and the names they run under."""

    def __init__(self, world):
        self.world, self.started, self.stopped, self.running = world, [], [], {}
        self.stopping = asyncio.Event()

    async def obey(self, link):
        async for assignment in link.assignments():
            adopted = {task_id: container_id for container_id, task_id in self.world.node.adopted.items()}
            reports = []
            for task in assignment.tasks:
                if task.state.terminal:
                    continue
                if task.desired_state is TaskState.SHUTDOWN:
                    self.stopping.set()
                    self.stopped.append(adopted.get(task.id, task.id))
                    state = TaskState.SHUTDOWN
                else:
                    if task.id not in self.running and task.id not in adopted:
                        self.started.append(task.id)
                    self.running[task.id] = True
                    state = min(task.desired_state, TaskState.RUNNING)
                ready = state is TaskState.RUNNING
                began = self.world.context.clock.now() - 60
                status = TaskStatus(message="simulated", since=began, started_at=began, ready=ready)
                reports.append(TaskReport(task_id=task.id, state=state, status=status))
            await link.report(tuple(reports))


@contextlib.asynccontextmanager
async def platform(world):
    """Loops, a session and an obedient agent around *world*."""
    context, presence = world.context, Presence(world.clock)
    link = LocalSession(
        node_id="n1", store=world.store, vault=context.vault, commits=context.commits, nodes=context.nodes,
        presence=presence,
    )  # fmt: skip
    engine = Engine(world)
    async with asyncio.TaskGroup() as group:
        running = [
            group.create_task(run_control(world.store, world.clock, context.ids, presence)),
            group.create_task(context.commits.run(world.store)),
            group.create_task(engine.obey(link)),
        ]
        await link.open(world.node, DESCRIPTION)
        try:
            async with asyncio.timeout(10):
                yield engine
        finally:
            for task in running:
                task.cancel()


async def converged(world):
    waiter = world.context.commits.waiter()
    while not (await world.get("/v1/apps/shop")).json["converged"]:
        await waiter.changed()
    world.context.commits.forget(waiter)


def request(spec):
    return json.loads(msgspec.json.encode(AdoptRequest(deploy=DeployRequest(spec=spec))))


async def adopt(world, spec):
    answer = await world.call("POST", "/v1/adopt/shop", request(spec))
    assert answer.status == 200, answer
    return msgspec.json.decode(answer.body, type=AdoptResult)


async def test_containers_that_fit_go_on_without_a_restart():
    world = World()
    world.node.foreign = (WEB, WEB2, DB, container("blog-web-1", "web", project="blog"))
    async with platform(world) as engine:
        result = await adopt(world, shop(service("web", "web:1", replicas=2), service("db", "db:1")))
        await converged(world)
        assert (engine.started, engine.stopped) == ([], [])
    assert set(result.adopted) == {"shop-web-1 → web.1", "shop-web-2 → web.2", "shop-db-1 → db.1"}
    assert result.replaced == ()
    tasks = await world.store.view(lambda tx: tx.find(Task))
    assert {t.adopts: t.id for t in tasks} == world.node.adopted
    assert {r.action for r in await world.store.view(lambda tx: tx.find(AuditRecord))} == {"app.adopt"}


async def test_a_container_that_does_not_fit_is_stopped_and_replaced_like_an_outdated_task():
    world = World()
    world.node.foreign = (container("shop-web-1", "web", image="sha256:old"), DB)
    async with platform(world) as engine:
        result = await adopt(world, shop())
        await converged(world)
        assert engine.stopped == ["id-shop-web-1"]
        assert len(engine.started) == 1
    assert result.adopted == ("shop-db-1 → db.1",)
    assert "another image" in result.replaced[0]


PUBLISHED = (Port(target=80, published=(8080, 8080)),)


async def test_a_container_keeps_its_port_with_the_engine_until_it_is_replaced_and_is_stopped_first_then():
    world = World()
    world.node.foreign = (WEB, DB)
    async with platform(world) as engine:
        result = await adopt(world, shop(service("web", "web:1", ports=PUBLISHED), service("db", "db:1")))
        await converged(world)
        (old,) = await world.store.view(lambda tx: tx.find(Task, service_id="shop/web"))
        assert [(port.host_port, port.ingress) for port in old.ports] == [(8080, False)]
        assert (await world.call("POST", "/v1/apps/shop/services/web/restart")).status == 200
        await converged(world)
        new = next(t for t in await world.store.view(lambda tx: tx.find(Task)) if t.replaces == old.id)
        assert [(port.host_port, port.ingress) for port in new.ports] == [(8080, True)]
        assert engine.stopped == ["id-shop-web-1"]
    (said,) = [line for line in result.adopted if "web.1" in line]
    assert said == (
        "shop-web-1 → web.1 (its port 8080 stays with the engine until the container is replaced for the first time; "
        "it is then stopped first, and the proxy serves the port from there on)"
    )


async def test_one_container_with_a_port_is_not_taken_over_into_several_replicas_at_once():
    world = World()
    world.node.foreign = (WEB, DB)
    async with platform(world):
        spec = shop(service("web", "web:1", ports=PUBLISHED, replicas=3), service("db", "db:1"))
        answer = await world.call("POST", "/v1/adopt/shop", request(spec))
    assert answer.status == 422
    assert "adopt with 1, run `pilothouse restart shop web`, then ask for 3" in answer.body.decode()


async def test_one_container_too_many_is_stopped_and_nothing_is_started():
    world = World()
    world.node.foreign = (WEB, WEB2, DB)
    async with platform(world) as engine:
        await adopt(world, shop())
        await converged(world)
        await engine.stopping.wait()
        assert (engine.started, engine.stopped) == ([], ["id-shop-web-2"])


async def test_a_slot_without_a_container_gets_a_task_of_its_own():
    world = World()
    world.node.foreign = (DB,)
    async with platform(world) as engine:
        await adopt(world, shop())
        await converged(world)
        assert len(engine.started) == 1


async def test_a_crash_before_the_rename_makes_no_second_container(monkeypatch):
    world = World()
    world.node.foreign = (WEB, DB)
    with monkeypatch.context() as patch:
        patch.setattr("pilothouse.server.deploy.adoption.TAKEOVER_SECONDS", 0.05)
        found = problem(await world.call("POST", "/v1/adopt/shop", request(shop())))
    assert found.code == "PH204"
    assert world.node.adopted == {}  # no session was there that could have renamed them
    assert await world.store.view(lambda tx: tx.find(Service)) == []
    assert len((await world.get("/v1/tasks")).json["items"]) == 2
    async with platform(world) as engine:
        await adopt(world, shop())
        await converged(world)
        assert (engine.started, engine.stopped) == ([], [])
    assert set(world.node.adopted) == {WEB.id, DB.id}


async def test_a_crash_between_tasks_and_services_is_made_good_by_adopting_again(monkeypatch):
    world = World()
    world.node.foreign = (WEB, DB)

    async def crash(*_):
        raise RuntimeError("killed")

    async with platform(world) as engine:
        with monkeypatch.context() as patch:
            patch.setattr("pilothouse.server.deploy.adoption.commit", crash)
            assert problem(await world.call("POST", "/v1/adopt/shop", request(shop()))).code == "PH000"
        assert await world.store.view(lambda tx: tx.find(Service)) == []
        result = await adopt(world, shop())
        await converged(world)
        assert (engine.started, engine.stopped) == ([], [])
    assert result.deployed.created == ("web", "db")
    assert len(await world.store.view(lambda tx: tx.find(Task))) == 2


async def test_adopting_twice_changes_nothing_more():
    world = World()
    world.node.foreign = (WEB, DB)
    async with platform(world) as engine:
        await adopt(world, shop())
        await converged(world)
        again = await adopt(world, shop())
        assert again.adopted == ()
        assert set(again.deployed.unchanged) == {"web", "db"}
        assert (engine.started, engine.stopped) == ([], [])


async def test_what_policy_refuses_is_not_adopted():
    world = World()
    world.node.foreign = (WEB,)
    answer = await world.call("POST", "/v1/adopt/shop", request(shop(service("web", "web:1", network_mode="host"))))
    assert problem(answer).code == "PH103"
    for kind in (App, Task):
        assert await world.store.view(lambda tx, kind=kind: tx.find(kind)) == []


def test_a_foreign_fingerprint_is_nobodys():
    assert len(FOREIGN) != 16


async def test_containers_are_found_on_the_node_they_are_on_and_stay_there():
    world, there = World(), SimulatedNode()
    world.context.nodes.connect("n2", there)
    assert await _home(world.context, "shop") == ("n1", True)
    there.foreign = (WEB, container("w", "web", project="blog"))
    assert await _home(world.context, "shop") == ("n2", True)
    world.node.foreign = (DB,)
    with pytest.raises(ConflictError, match=r"run on several nodes \(n1, n2\)"):
        await _home(world.context, "shop")
    world.context.nodes.disconnect("n2")
    assert await _home(world.context, "shop") == ("n1", False)


def test_a_container_beside_other_nodes_is_bound_to_its_own():
    (alone,) = match(shop(service("web", "web:1")), IMAGES, [WEB], frozenset(), "n1").takeovers
    (bound,) = match(shop(service("web", "web:1")), IMAGES, [WEB], frozenset(), "n1", pinned=True).takeovers
    assert (alone.node_id, bound.node_id) == ("", "n1")
