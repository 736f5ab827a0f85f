"""Whole stories of one app on a simulated platform: deployed, crashed, updated, stopped, the server killed midway."""

import random
from collections import Counter

import pytest
from msgspec.structs import replace

from pilothouse.model.container import ContainerSpec, Healthcheck, Port, PortMode
from pilothouse.model.objects import Network, Service, Task
from pilothouse.model.spec import (
    Condition,
    Mode,
    NetworkSpec,
    RestartCondition,
    RestartPolicy,
    UpdateOrder,
    UpdatePolicy,
)
from pilothouse.model.states import Writer
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SQLiteStore
from tests.control.world import needs, spec
from tests.scenarios.simulation import Behaviour, JumpingClock, Platform

CHECK = Healthcheck(test=("CMD", "true"))
ON_FAILURE = RestartPolicy(condition=RestartCondition.ON_FAILURE)


def platform(script=None, seed=0):
    clock = JumpingClock()
    return Platform(MemoryStore(clock), clock, script, seed)


def checked(name="web", image="web:1", **fields):
    return spec(name, container=ContainerSpec(image=image, healthcheck=CHECK), **fields)


def shop(image="web:1"):
    return (
        checked("db", "db:1"),
        spec("migrate", "migrate:1", restart=ON_FAILURE, depends_on=(needs("db", Condition.HEALTHY),)),
        checked(
            "web", image, replicas=3,
            depends_on=(needs("db", Condition.HEALTHY), needs("migrate", Condition.COMPLETED)),
        ),
    )  # fmt: skip


def shop_script(task):
    if task.service == "migrate":
        return Behaviour(exits_after=2.0)
    return Behaviour(ready_seconds=1.0)


async def test_an_app_comes_up_in_the_order_of_its_dependencies():
    async with platform(shop_script).started() as it:
        await it.deploy(*shop())
        await it.until(it.settled, 60)
        first = {
            service: min(at for name, _, at in it.node.starts if name == service)
            for service in ("db", "migrate", "web")
        }
        assert first["db"] + 1.0 <= first["migrate"]
        assert first["migrate"] + 2.0 <= first["web"]
        assert it.node.running() == [("db", 1, "db:1"), *(("web", slot, "web:1") for slot in (1, 2, 3))]


async def test_waiting_tasks_are_prepared_meanwhile_so_that_they_start_at_once():
    async with platform(shop_script).started() as it:
        await it.deploy(*shop())
        await it.until(it.settled, 60)
        (migrated,) = [task.status.finished_at for task in await it.tasks("migrate")]
        assert {at for name, _, at in it.node.starts if name == "web"} == {migrated}


async def test_a_killed_task_is_replaced_at_once():
    dies = iter([3.0])
    async with platform(lambda task: Behaviour(exits_after=next(dies, None), exit_code=137)).started() as it:
        await it.deploy(spec())
        await it.until(it.settled, 10)
        await it.pass_time(10)
        assert await it.settled()
        (_, _, first), (_, _, second) = it.node.starts
        assert second - first == pytest.approx(3.0 + 0.5), "the only wait is the container's own preparation"


async def test_a_crash_loop_backs_off_and_is_parked_after_fifty_failures():
    async with platform(lambda task: Behaviour(exits_after=0.1, exit_code=1)).started() as it:
        await it.deploy(spec())

        async def parked():
            return "parked" in (await it.service()).notice

        await it.until(parked, 6 * 3600)
        assert len(it.node.starts) == 50
        gaps = [
            later - earlier for (_, _, earlier), (_, _, later) in zip(it.node.starts, it.node.starts[1:], strict=False)
        ]
        assert gaps[0] < 1
        assert all(0.8 * 300 <= gap <= 1.2 * 300 + 1 for gap in gaps[12:])
        assert (await it.view()).failed
        assert len(await it.tasks()) == 20, "what nobody needs any more is forgotten"


async def test_a_service_that_recovers_starts_its_back_off_anew():
    def script(task):
        return (
            Behaviour(exits_after=1.0, exit_code=1) if task.failures < 5 else Behaviour(exits_after=700.0, exit_code=1)
        )

    async with platform(script).started() as it:
        await it.deploy(spec())
        await it.pass_time(800)
        assert [task.failures for task in await it.tasks()] == [0, 1, 2, 3, 4, 5] * 2
        assert len(it.node.starts) == 12, "six, of which the last ran 700 s, and then six again"


async def test_a_changed_file_replaces_only_what_changed_a_part_at_a_time():
    async with platform(shop_script).started() as it:
        await it.deploy(*shop())
        await it.until(it.settled, 60)
        db = await it.tasks("db")
        await it.deploy(*shop("web:2"))
        await it.until(it.settled, 120)
        assert it.node.running() == [("db", 1, "db:1"), *(("web", slot, "web:2") for slot in (1, 2, 3))]
        assert await it.tasks("db") == db
        assert len(await it.tasks("migrate")) == 1
        assert it.node.most[("shop/web", 1)] == 2, "start-first: the old one ran until the new one was ready"


async def test_a_published_port_is_handed_over_from_the_old_task_to_the_new_one():
    def service(image):
        return spec(
            container=ContainerSpec(image=image, ports=(Port(target=80, published=(8080, 8080), mode=PortMode.HOST),))
        )

    async with platform().started() as it:
        await it.deploy(service("web:1"))
        await it.until(it.settled, 10)
        await it.deploy(service("web:2"))
        await it.until(it.settled, 60)
        assert it.node.most[("shop/web", 1)] == 1
        assert it.node.running() == [("web", 1, "web:2")]
        (_, _, stopped), (_, _, started) = it.node.stops[0], it.node.starts[1]
        assert started - stopped == pytest.approx(0.3), "down for no longer than the old one takes to stop"


async def test_an_update_that_never_becomes_healthy_leaves_the_old_version_and_says_so():
    def script(task):
        return Behaviour(ready_seconds=None if task.spec.container.image == "web:2" else 0.2)

    async with platform(script).started() as it:
        await it.deploy(checked(replicas=4))
        await it.until(it.settled, 30)
        await it.deploy(checked(replicas=4, image="web:2"))
        await it.pass_time(700)
        assert [image for _, _, image in it.node.running()].count("web:1") == 4
        assert "has not become ready in 10 min" in (await it.view()).sentence
        assert (await it.view()).failed
        await it.deploy(checked(replicas=4, image="web:3"))
        await it.until(it.settled, 120)
        assert [image for _, _, image in it.node.running()] == ["web:3"] * 4


async def test_an_update_that_crashes_stops_where_it_is():
    def script(task):
        return Behaviour(exits_after=1.0, exit_code=1) if task.spec.container.image == "web:2" else Behaviour()

    update = UpdatePolicy(order=UpdateOrder.STOP_FIRST)
    async with platform(script).started() as it:
        await it.deploy(spec(replicas=4, update=update))
        await it.until(it.settled, 30)
        await it.deploy(spec(image="web:2", replicas=4, update=update))
        await it.pass_time(3600)
        assert [image for _, _, image in it.node.running()].count("web:1") == 3
        assert "the update of web stopped" in (await it.service()).notice


async def test_jobs_complete_and_stay_completed():
    tries = Counter()

    def script(task):
        tries[task.slot] += 1
        return Behaviour(exits_after=1.0, exit_code=0 if tries[task.slot] > 1 or task.slot == 1 else 1)

    async with platform(script).started() as it:
        await it.deploy(spec(mode=Mode.REPLICATED_JOB, replicas=3), spec("every", mode=Mode.GLOBAL_JOB))
        await it.until(it.settled, 120)
        await it.pass_time(3600)
        assert await it.settled()
        assert tries == {1: 1, 2: 2, 3: 2, 0: 2}


async def test_an_app_goes_down_in_reverse_order_and_leaves_nothing():
    async with platform(shop_script).started() as it:
        net = Network(id="shop/front", app="shop", spec=NetworkSpec(key="front", name="shop_front"), removing=False)
        await it.store.update(Writer.API, lambda tx: tx.put(net))
        await it.deploy(*shop())
        await it.until(it.settled, 60)
        await it.down()
        await it.store.update(Writer.API, lambda tx: tx.put(_removing(tx, Network, "shop/front")))
        await it.until(it.gone, 60)
        when = {service: [at for name, _, at in it.node.stops if name == service] for service in ("web", "db")}
        assert max(when["web"]) + 0.3 <= min(when["db"])
        left = await it.store.view(lambda tx: [*tx.find(Service), *tx.find(Task), *tx.find(Network)])
        assert left == []
        assert it.node.running() == []
        await it.pass_time(1)
        assert it.node.containers == {}


def _removing(tx, kind, id):
    return replace(tx.get(kind, id), removing=True)


async def test_a_node_that_went_away_loses_no_task_and_gets_no_new_one():
    async with platform().started() as it:
        await it.deploy(spec(replicas=2))
        await it.until(it.settled, 10)
        it.presence.leave("node1")
        await it.deploy(spec(replicas=3))
        await it.pass_time(60)
        waiting = (await it.tasks())[-1]
        assert waiting.placement_message == (
            "no place: node1: is not ready (its agent is not connected; tasks on it are left as they are)"
        )
        assert len(it.node.running()) == 2
        it.presence.arrive("node1", local=True)
        await it.until(it.settled, 10)
        assert len(it.node.starts) == 3


STORY = (shop(), shop("web:2"), (*shop("web:2")[:2], checked(image="web:2")))
"""Deployed, updated, scaled down."""


async def _story(it, kill_after=None, kill_in=0):
    """Tell the story; kill the server after so many of its commits in one of the parts."""
    seen = []
    async with it.started():
        for part, services in enumerate(STORY):
            it.store.kill_after = kill_after if part == kill_in else None
            await it.deploy(*services)
            await it.until(it.settled, 300)
            await it.pass_time(10)
            seen.append((it.node.running(), len(await it.tasks("web")), len(await it.tasks("db")), dict(it.node.most)))
    return seen


@pytest.mark.parametrize(("part", "least"), [(0, 10), (1, 10), (2, 2)])
async def test_a_server_killed_after_any_commit_comes_back_to_the_same_end_with_no_task_too_many(part, least):
    undisturbed = await _story(platform(shop_script))
    kills = 0
    for after in range(1, 200):
        it = platform(shop_script)
        assert await _story(it, after, part) == undisturbed
        if not it.kills:
            break
        kills += 1
    assert kills >= least


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_server_killed_after_any_commit_reopens_its_file_and_goes_on(part, tmp_path):
    undisturbed = await _story(platform(shop_script))
    for after in range(1, 200):
        directory, clock = tmp_path / str(after), JumpingClock()
        directory.mkdir()

        async def reopen(store, directory=directory, clock=clock):
            await store.close()
            return await SQLiteStore.open(directory, clock)

        it = Platform(await SQLiteStore.open(directory, clock), clock, shop_script, reopen=reopen)
        try:
            assert await _story(it, after, part) == undisturbed
        finally:
            await it.store.inner.close()
        if not it.kills:
            break
    assert after > 2


def _chaos(chance):
    """A script of containers that end, refuse and hang by chance, until the dice are taken away."""
    calm = []

    def script(task):
        if calm:
            return Behaviour(ready_seconds=chance.random(), exits_after=2.0 if task.service == "migrate" else None)
        return Behaviour(
            prepare_seconds=chance.choice([0.1, 0.5, 20.0]),
            ready_seconds=chance.choice([0.1, 1.0, None]),
            exits_after=chance.choice([None, None, 0.0, 0.5, 5.0, 700.0]),
            exit_code=chance.choice([0, 1, 137]),
            stop_seconds=chance.choice([0.0, 0.3, 10.0]),
            rejected=chance.choice(["", "", "", "", "no such image"]),
        )

    return script, calm


@pytest.mark.parametrize("seed", range(12))
async def test_after_any_chaos_and_any_kills_a_calm_platform_brings_the_app_to_what_it_should_be(seed):
    chance = random.Random(seed)
    script, calm = _chaos(chance)
    async with platform(script, seed).started() as it:
        for image in ("web:1", "web:2", "web:3"):
            it.store.kill_after = chance.choice([None, *range(1, 30)])
            await it.deploy(*shop(image))
            await it.pass_time(chance.choice([0.1, 5, 60, 900]))
        calm.append(True)
        after_db = (needs("db", Condition.HEALTHY),)
        await it.deploy(
            checked("db", "db:calm", replicas=2), checked("web", "web:calm", replicas=2, depends_on=after_db)
        )
        await it.until(it.settled, 3600)
        assert it.node.running() == [(name, slot, f"{name}:calm") for name in ("db", "web") for slot in (1, 2)]
        assert max(it.node.most.values()) <= 2
