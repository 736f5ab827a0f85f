"""Rollouts over random policies, delays and faults: how they end, and what they may never cost."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.control.orchestrators.rollout import parallelism
from pilothouse.control.orchestrators.scene import is_ready
from pilothouse.model.container import ContainerSpec, Healthcheck
from pilothouse.model.objects import App, Health, Task
from pilothouse.model.release import ReleaseKind
from pilothouse.model.rollout import RolloutState
from pilothouse.model.spec import ReleasePolicy, UpdateOrder, UpdatePolicy
from pilothouse.model.states import TaskState
from tests.control.world import World, spec
from tests.examples import examples

CHECK = Healthcheck(test=("CMD", "true"))
STEPS = (TaskState.ACCEPTED, TaskState.PREPARING, TaskState.READY, TaskState.STARTING)
S = RolloutState


def service(image, replicas, update, settle):
    container = ContainerSpec(image=image, healthcheck=CHECK)
    return spec(
        container=container, replicas=replicas, update=update, rollback=update,
        release=ReleasePolicy(settle_seconds=settle),
    )  # fmt: skip


def stable(replicas, update, settle, seed):
    world = World(seed=seed)
    world.release(service("good:1", replicas, update, settle))
    world.rest()
    world.pass_time(60)
    assert world.service().rollout.state is S.DONE
    return world


def move(world, chance):
    """The node takes one task a step further; one of a bad image ends when it has run for a step."""
    tasks = [task for task in world.find(Task) if TaskState.ASSIGNED <= task.state <= TaskState.RUNNING]
    tasks = [task for task in tasks if not (is_ready(task) and task.desired_state is TaskState.RUNNING) or bad(task)]
    if not tasks:
        return
    task = chance.choice(tasks)
    if task.desired_state is TaskState.SHUTDOWN:
        world.report(task, TaskState.SHUTDOWN, ready=False, finished_at=world.now)
    elif task.state is TaskState.RUNNING and bad(task):
        world.fail(task)
    elif task.state is TaskState.RUNNING:
        world.run(task, ready=True, health=Health.HEALTHY)
    else:
        further = next((state for state in STEPS if state > task.state), TaskState.RUNNING)
        if further <= TaskState.READY or (task.desired_state is TaskState.RUNNING and task.not_before <= world.now):
            started = further is TaskState.RUNNING
            world.report(task, further, **({"started_at": world.now, "health": Health.STARTING} if started else {}))


def bad(task):
    return task.spec.container.image.startswith("bad")


def play(world, chance, replicas, width, order, turns=6000):
    """Let everybody act at random until the rollout has ended, with every promise kept on the way."""
    for _ in range(turns):
        chance.choice([world.orchestrate, world.prepare, lambda: move(world, chance), lambda: later(world, chance)])()
        live = world.live()
        assert len([task for task in live if task.desired_state is TaskState.RUNNING]) <= replicas + width
        ready = sum(is_ready(task) for task in live)
        if order is not None:
            assert ready >= (replicas if order is UpdateOrder.START_FIRST else replicas - width)
        if world.service().rollout.release == revision(world) and world.service().rollout.state in {S.DONE, S.FAILED}:
            world.orchestrate()
            assert world.settled(), "deciding twice decides nothing new"
            return world.service().rollout
    raise AssertionError("the rollout did not end")


def revision(world):
    return world.get(App, "shop").revision


def later(world, chance):
    world.now += chance.choice([0.1, 1, 3])


POLICIES = st.builds(
    UpdatePolicy,
    order=st.sampled_from(UpdateOrder),
    parallelism=st.sampled_from([None, 0, 1, 2, 5]),
    delay_seconds=st.sampled_from([None, 2.0]),
    monitor_seconds=st.sampled_from([None, 0.0, 4.0]),
    failure_action=st.sampled_from(["", "pause"]),
)
SETTLES = st.sampled_from([None, 0.0, 3.0])


@examples(12)
@given(st.integers(0, 2**32), st.integers(1, 8), POLICIES, SETTLES)
def test_a_good_release_always_ends_done_and_every_slot_has_one_task_of_it(seed, replicas, update, settle):
    chance = random.Random(seed)
    world = stable(replicas, update, settle, seed)
    world.release(service("good:2", replicas, update, settle))
    ended = play(world, chance, replicas, parallelism(world.service().spec, replicas), update.order)
    assert ended.state is S.DONE
    assert [task.spec.container.image for task in world.live()] == ["good:2"] * replicas


@examples(12)
@given(st.integers(0, 2**32), st.integers(1, 8), POLICIES, SETTLES)
def test_a_bad_release_ends_failed_with_enough_old_tasks_left_and_is_undone_by_a_rollback(
    seed, replicas, update, settle
):
    chance = random.Random(seed)
    world = stable(replicas, update, settle, seed)
    width = parallelism(world.service().spec, replicas)
    world.release(service("bad:2", replicas, update, settle))
    ended = play(world, chance, replicas, width, update.order)
    assert ended.state is S.FAILED
    assert ended.evidence.cause
    old = [task for task in world.live() if not bad(task) and is_ready(task)]
    assert len(old) >= (replicas if update.order is UpdateOrder.START_FIRST else replicas - width)
    kept = {task.id for task in old if task.desired_state is TaskState.RUNNING}
    world.now += 1
    world.release(service("good:1", replicas, update, settle), kind=ReleaseKind.ROLLBACK, undoes=2)
    ended = play(world, chance, replicas, width, None)
    assert ended.state is S.DONE
    assert [task.spec.container.image for task in world.live()] == ["good:1"] * replicas
    assert kept <= {task.id for task in world.live()}, "what runs and is wanted again is left alone"


@examples(12)
@given(st.integers(0, 2**32), st.integers(1, 6), POLICIES, SETTLES)
def test_a_release_that_overtakes_another_at_any_moment_ends_as_it_says(seed, replicas, update, settle):
    chance = random.Random(seed)
    world = stable(replicas, update, settle, seed)
    for image in ("good:2", "bad:3", "good:1", "good:4"):
        for _ in range(chance.randrange(60)):
            chance.choice(
                [world.orchestrate, world.prepare, lambda: move(world, chance), lambda: later(world, chance)]
            )()
        world.now += 0.1
        world.release(service(image, replicas, update, settle))
    for _ in range(8000):
        chance.choice([world.orchestrate, world.prepare, lambda: move(world, chance), lambda: later(world, chance)])()
        slots = Counter(task.slot for task in world.live() if task.desired_state is TaskState.RUNNING)
        assert max(slots.values(), default=0) <= 2
        if world.service().rollout.state is S.DONE and world.service().rollout.release == revision(world):
            break
    assert [task.spec.container.image for task in world.live()] == ["good:4"] * replicas
