"""A plan, and then the whole platform: what was planned is what happens, whatever the update goes through."""

import random

import pytest
from msgspec.structs import replace

from pilothouse.model.container import ContainerSpec, Healthcheck, Mount, MountKind, NetworkAttachment, Port, PortMode
from pilothouse.model.objects import ResolvedImage, Service, Task
from pilothouse.model.release_api import PlannedAction
from pilothouse.model.spec import AppSpec, NetworkSpec, UpdateOrder, UpdatePolicy, VolumeSpec
from pilothouse.model.states import Writer
from pilothouse.server.deploy.foresee import foresee
from pilothouse.server.deploy.pipeline import load
from pilothouse.server.deploy.plan import Asked, plan
from pilothouse.store.memory import MemoryStore
from tests.control.world import needs, spec
from tests.scenarios.simulation import JumpingClock, Platform

CHECK = Healthcheck(test=("CMD", "true"))
NAMES = ("cache", "db", "web")


def deployment(chance, now):
    """One app out of many: some of three services, in one of two versions each."""
    names = sorted(chance.sample(NAMES, chance.randint(1, 3)))
    services = tuple(_service(chance, name, [other for other in names if other < name]) for name in names)
    return Asked(
        spec=AppSpec(name="shop", services=services),
        images={s.name: _image(s) for s in services},
        secrets={},
        configs={},
        keep_orphans=False,
        principal="uid:0(root)",
        now=now,
    )  # fmt: skip


def _service(chance, name, others):
    container = ContainerSpec(image=f"{name}:{chance.randint(1, 2)}", healthcheck=chance.choice((CHECK, None)))
    made = spec(
        name,
        container=container,
        replicas=chance.randint(1, 4),
        depends_on=tuple(needs(other, restart=chance.random() < 0.5) for other in others if chance.random() < 0.5),
        update=UpdatePolicy(order=chance.choice((None, *UpdateOrder)), parallelism=chance.choice((None, 0, 1, 2))),
    )
    return replace(made, labels={"team": chance.choice("ab")})


def _image(service):
    ref = service.task.container.image
    return ResolvedImage(ref=ref, id=f"sha256:{ref}")


async def deploy(it, asked):
    def write(tx):
        for obj in plan(load(tx, "shop"), asked).writes:
            tx.put(obj)

    await it.store.update(Writer.API, write)


async def live(it):
    found = await it.store.view(lambda tx: tx.find(Task, app="shop"))
    return {task.id: task for task in found if not task.state.terminal}


@pytest.mark.parametrize("seed", range(12))
async def test_the_tasks_that_a_plan_names_are_those_that_an_update_replaces(seed):
    chance, clock = random.Random(seed), JumpingClock()
    async with Platform(MemoryStore(clock), clock, seed=seed).started() as it:
        await deploy(it, deployment(chance, clock.now()))
        await it.until(it.settled, 300)
        before = await live(it)
        asked = deployment(chance, clock.now())
        view = await it.store.view(lambda tx: foresee(tx, load(tx, "shop"), asked))
        await deploy(it, asked)
        await it.until(it.settled, 1200)
        after = await live(it)
        named = {task_id for service in view.services for task_id in service.stops}
        assert named == before.keys() - after.keys()
        tasks = {s.name: s.tasks for s in view.services}
        for name, (had, gets) in tasks.items():
            assert had == sum(task.service == name for task in before.values())
            assert gets == sum(task.service == name for task in after.values())
        kept = {s.name for s in view.services if s.action in {PlannedAction.KEEP, PlannedAction.ADJUST}}
        assert {t.id for t in before.values() if t.service in kept} <= after.keys()
        left = {s.name for s in await it.store.view(lambda tx: tx.find(Service, app="shop"))}
        assert left == {s.name for s in view.services if s.action is not PlannedAction.REMOVE}


VARIANTS = {
    "nothing": {},
    "a port of the proxy": {"ports": (Port(target=80, published=(8080, 8080)),)},
    "a port of the engine": {"ports": (Port(target=80, published=(8080, 8080), mode=PortMode.HOST),)},
    "udp": {"ports": (Port(target=53, published=(5353, 5353), protocol="udp"),)},
    "a name": {"container_name": "the-web"},
    "an address": {"networks": (NetworkAttachment(network="net", ipv4_address="10.9.0.2"),)},
    "the host's network": {"network_mode": "host"},
    "a volume": {"mounts": (Mount(kind=MountKind.VOLUME, source="data", target="/d"),)},
    "a volume to read": {"mounts": (Mount(kind=MountKind.VOLUME, source="data", target="/d", read_only=True),)},
    "a host path": {"mounts": (Mount(kind=MountKind.BIND, source="/srv", target="/d"),)},
    "a tmpfs": {"mounts": (Mount(kind=MountKind.TMPFS, target="/d"),)},
}


CASES = [
    *((name, order, 1, None) for name in VARIANTS for order in (None, UpdateOrder.START_FIRST)),
    *((name, UpdateOrder.STOP_FIRST, 1, None) for name in ("nothing", "a volume")),
    *((name, None, 2, at_once) for name in ("nothing", "a volume", "an address") for at_once in (None, 0)),
]


@pytest.mark.parametrize(("name", "order", "replicas", "at_once"), CASES)
async def test_a_plan_tells_of_a_gap_if_and_only_if_nobody_answers_for_a_moment(name, order, replicas, at_once):
    def asked(image):
        container = ContainerSpec(image=image, healthcheck=CHECK, **VARIANTS[name])
        policy = UpdatePolicy(order=order, parallelism=at_once)
        web = spec("web", container=container, replicas=replicas, update=policy)
        return Asked(
            spec=AppSpec(
                name="shop", services=(web,), networks=(NetworkSpec(key="net", name="shop_net"),),
                volumes=(VolumeSpec(key="data", name="shop_data"),),
            ),
            images={"web": _image(web)}, secrets={}, configs={}, keep_orphans=False, principal="uid:0(root)",
            now=clock.now(),
        )  # fmt: skip

    clock = JumpingClock()
    async with Platform(MemoryStore(clock), clock).started() as it:
        await deploy(it, asked("web:1"))
        await it.until(it.settled, 60)
        view = await it.store.view(lambda tx: foresee(tx, load(tx, "shop"), asked("web:2")))
        fewest = replicas
        await deploy(it, asked("web:2"))

        async def updated():
            nonlocal fewest
            fewest = min(fewest, answering(it))
            return await it.settled()

        await it.until(updated, 300)
        (service,) = view.services
        assert any(risk.startswith("a gap") for risk in service.risks) is (fewest == 0)


def answering(it):
    """How many containers run and are ready at this moment."""
    now = it.clock.now()
    every = it.node.containers.values()
    return sum(c.running(now) and now >= c.started_at + c.behaviour.ready_seconds for c in every)
