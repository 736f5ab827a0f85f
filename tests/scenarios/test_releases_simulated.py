"""Releases of a whole simulated platform: every way in which one can fail ends as documented, wherever it is killed."""

import pytest

from pilothouse.model.container import ContainerSpec, Healthcheck
from pilothouse.model.release import ReleaseState
from pilothouse.model.spec import Hook, ReleasePolicy, TaskSpec, UpdateOrder, UpdatePolicy
from pilothouse.model.states import TaskState
from pilothouse.server.deploy.pause import resume
from tests.control.world import spec
from tests.scenarios.releasing import CALLER, Releases
from tests.scenarios.simulation import Behaviour

S = ReleaseState
REPLICAS = 3
DEADLINE = 30.0
BOUND = 20.0
"""Seconds from the moment a failure can be known until what was before runs alone: the monitor window and ten more."""

BROKEN = {
    "crash loop": Behaviour(ready_seconds=None, exits_after=0.5, exit_code=1),
    "never ready": Behaviour(ready_seconds=None),
    "unhealthy": Behaviour(ready_seconds=None, unhealthy_after=3.0),
    "dies in the window": Behaviour(ready_seconds=0.2, exits_after=4.0, exit_code=1),
    "refused": Behaviour(rejected="the node cannot run it"),
    "step fails": Behaviour(),
}
ORDERS = list(UpdateOrder)


def web(image, order, action="", **policy):
    container = ContainerSpec(image=image, healthcheck=Healthcheck(test=("CMD", "true")))
    return spec(
        task=TaskSpec(container=container, pre_start=(Hook(command=("migrate",)),)),
        replicas=REPLICAS,
        update=UpdatePolicy(order=order, failure_action=action, **policy),
        release=ReleasePolicy(deadline_seconds=DEADLINE),
    )


def script(kind):
    """What a container of web:2 does; one of any other image is well."""

    def behave(task):
        if task.step >= 0:
            fails = kind == "step fails" and task.spec.container.image == "web:2"
            return Behaviour(exits_after=2.0, exit_code=int(fails))
        return BROKEN.get(kind, Behaviour()) if task.spec.container.image == "web:2" else Behaviour()

    return behave


async def released(it, order, action, image="web:2"):
    """Have web:1 stable, then deploy *image*; return the number of that release."""
    first = await it.deploy(web("web:1", order, action))
    await it.reaches(first, S.STABLE)
    it.node.watch()
    return await it.deploy(web(image, order, action))


async def known_at(it, kind):
    """Return when a failure of web:2 could first be known, from what its tasks did."""
    tasks = [task for task in await it.tasks() if task.spec.container.image == "web:2"]
    if kind == "never ready":
        return min(task.status.started_at for task in tasks if task.status.started_at is not None) + DEADLINE
    ended = sorted(
        task.status.finished_at or task.status.since
        for task in tasks
        if task.state.terminal and task.state is not TaskState.SHUTDOWN and (kind != "step fails" or task.step >= 0)
    )
    return ended[2 if kind == "crash loop" else 0]


def images(it):
    return [image for name, _, image in it.node.running() if name == "web"]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_good_release_becomes_stable_and_its_service_is_never_short_of_more_than_one_task(order):
    async with Releases(script("good")).started() as it:
        number = await released(it, order, "")
        release = await it.reaches(number, *[state for state in S if state.over])
        assert release.state is S.STABLE
        assert images(it) == ["web:2"] * REPLICAS
        assert it.node.fewest["web"] >= REPLICAS - (order is UpdateOrder.STOP_FIRST)
        assert it.node.crowd["web"] <= REPLICAS + 1
        assert it.node.steps == [("web:1", "migrate"), ("web:2", "migrate")]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", BROKEN)
async def test_a_release_that_fails_is_rolled_back_in_time_and_what_ran_before_serves_all_along(kind, order):
    async with Releases(script(kind)).started() as it:
        number = await released(it, order, "rollback")
        release = await it.reaches(number, *[state for state in S if state.over])
        assert release.state is S.ROLLED_BACK

        async def restored():
            return images(it) == ["web:1"] * REPLICAS and all(task.status.ready for task in await it.live())

        await it.until(restored)
        assert it.clock.now() <= await known_at(it, kind) + BOUND
        again = await it.reaches(number + 1, S.STABLE)
        assert (again.copies, again.undoes) == (number - 1, number)
        assert release.evidence is not None
        assert release.evidence.cause in release.sentence
        assert images(it) == ["web:1"] * REPLICAS
        assert it.node.fewest["web"] >= REPLICAS - 1
        assert it.node.steps == [("web:1", "migrate"), ("web:2", "migrate")], "going back repeats no step"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", BROKEN)
async def test_a_release_that_fails_and_is_to_pause_leaves_what_is_left_of_the_one_before(kind, order):
    async with Releases(script(kind)).started() as it:
        number = await released(it, order, "pause")
        release = await it.reaches(number, *[state for state in S if state.over])
        assert release.state is S.FAILED
        await it.pass_time(120)
        assert (await it.release(number)).state is S.FAILED
        assert await it.release(number + 1) is None
        touched = order is UpdateOrder.STOP_FIRST and kind not in {"step fails", "refused"}
        assert images(it).count("web:1") == REPLICAS - touched
        assert it.node.fewest["web"] >= REPLICAS - 1


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", BROKEN)
async def test_a_release_that_fails_and_is_to_continue_goes_through_every_slot_but_not_past_a_step(kind, order):
    async with Releases(script(kind)).started() as it:
        number = await released(it, order, "continue")

        async def tried_everywhere():
            new = [task for task in await it.tasks() if task.spec.container.image == "web:2" and task.step < 0]
            begun = [task for task in new if task.status.started_at is not None or task.state is TaskState.REJECTED]
            return {task.slot for task in begun} == set(range(1, REPLICAS + 1))

        if kind == "step fails":
            await it.reaches(number, S.FAILED)
            await it.pass_time(120)
            assert images(it) == ["web:1"] * REPLICAS
        else:
            await it.until(tried_everywhere, 900)
        assert await it.release(number + 1) is None, "nothing is rolled back"


async def test_a_person_has_a_failed_step_run_once_more_and_the_release_goes_on():
    fails = {"web:2": 1}

    def behave(task):
        if task.step < 0:
            return Behaviour()
        left = fails.get(task.spec.container.image, 0)
        fails[task.spec.container.image] = left - 1
        return Behaviour(exits_after=2.0, exit_code=int(left > 0))

    async with Releases(behave).started() as it:
        number = await released(it, None, "pause")
        await it.pass_time(1)
        assert (await it.service()).rollout.sentence == "waits for its step 1 of 1 (migrate)"
        failed = await it.reaches(number, S.FAILED)
        assert failed.evidence.task == "web:pre_start.0"
        assert failed.evidence.cause == "its step 1 of 1 (migrate) exited with code 1 after 2 s"
        await it.pass_time(60)
        await resume(it.context, CALLER, "shop")
        await it.reaches(number, S.STABLE)
        assert images(it) == ["web:2"] * REPLICAS
        assert it.node.steps == [("web:1", "migrate"), ("web:2", "migrate"), ("web:2", "migrate")]


async def end_of(kind, order, kill_after=None):
    """Play an update of a kind; return how it ended and whether the server was killed."""
    async with Releases(script(kind)).started() as it:
        number = await released(it, order, "rollback")
        it.store.kill_after = kill_after
        last = number if kind == "good" else number + 1
        await it.reaches(last, S.STABLE)
        await it.pass_time(60)
        states = [(await it.release(each)).state for each in range(1, last + 1)]
        beyond = await it.release(last + 1)
        live = sorted((task.slot, task.spec.container.image) for task in await it.live())
        return (states, beyond, live, images(it), it.node.steps), it.kills


@pytest.mark.parametrize(
    ("kind", "order", "stride"),
    [
        ("good", UpdateOrder.START_FIRST, 11),
        ("dies in the window", UpdateOrder.STOP_FIRST, 11),
        *(pytest.param(kind, order, 1, marks=pytest.mark.slow) for kind in ("good", *BROKEN) for order in ORDERS),
    ],
)
async def test_a_server_killed_at_any_commit_of_an_update_ends_where_it_would_have(kind, order, stride):
    expected, _ = await end_of(kind, order)
    assert expected[2] == [(slot, "web:2" if kind == "good" else "web:1") for slot in range(1, REPLICAS + 1)]
    number, kills = 1, 1
    while kills:
        found, kills = await end_of(kind, order, number)
        assert found == expected, f"killed after commit {number}"
        number += stride
    assert number > 10, "as many commits at least"
