"""Releases of every kind on a simulated platform, with the server killed after every single one of its commits."""

from collections import Counter

import pytest

from pilothouse.model.container import ContainerSpec, Healthcheck
from pilothouse.model.rollout import RolloutState
from pilothouse.model.spec import ReleasePolicy, Strategy, UpdateOrder, UpdatePolicy
from pilothouse.model.states import TaskState
from pilothouse.store.memory import MemoryStore
from tests.control.world import spec
from tests.scenarios.simulation import Behaviour, JumpingClock, Platform

CHECK = Healthcheck(test=("CMD", "true"))
REPLICAS = 3


def web(image, **fields):
    return spec(container=ContainerSpec(image=image, healthcheck=CHECK), replicas=REPLICAS, **fields)


def script(task):
    crashes = task.spec.container.image == "bad"
    return Behaviour(ready_seconds=0.2, exits_after=1.0 if crashes else None, exit_code=1)


async def rolling(it, order):
    update = UpdatePolicy(order=order, monitor_seconds=2)
    await it.release(web("good:1", update=update))
    await said(it, RolloutState.DONE)
    yield
    await it.release(web("good:2", update=update), base=1)
    await said(it, RolloutState.DONE)


async def failing(it, order):
    update = UpdatePolicy(order=order, failure_action="pause")
    await it.release(web("good:1", update=update))
    await said(it, RolloutState.DONE)
    yield
    await it.release(web("bad", update=update), base=1)
    await said(it, RolloutState.FAILED)


async def canary(it, order):
    fields = {"release": ReleasePolicy(strategy=Strategy.CANARY), "update": UpdatePolicy(order=order)}
    await it.release(web("good:1", **fields))
    await said(it, RolloutState.DONE)
    yield
    await it.release(web("good:2", **fields), base=1)
    await it.stage(tasks=1, weight=5)
    await said(it, RolloutState.HELD, held=1)
    await it.stage(tasks=2, weight=50, step=1)
    await said(it, RolloutState.HELD, held=2)
    await it.stage(tasks=2, weight=50, step=1, promoted=True)
    await said(it, RolloutState.DONE)


async def said(it, state, held=0):
    async def so():
        service = await it.service()
        found = service.rollout if service else None
        revision = (await it.view()).revision
        return found is not None and (found.release, found.state, found.held) == (revision, state, held)

    await it.until(so, 900)


async def tell(story, order, kill_after=None):
    """Tell *story*, with the server killed after so many of its commits in the second part; return what came of it."""
    clock = JumpingClock()
    it = Platform(MemoryStore(clock), clock, script)
    async with it.started():
        parts = story(it, order)
        await anext(parts)
        it.node.starts.clear()
        it.store.kill_after = kill_after
        async for _ in parts:
            raise AssertionError("a story has two parts")
        it.store.kill_after = None
        live = [task for task in await it.tasks() if not task.state.terminal]
        good = Counter(run[2] for run in it.node.running() if run[2] != "bad")
        wanted = [task.slot for task in live if task.desired_state is TaskState.RUNNING]
        service = await it.service()
        starts = Counter(slot for _, slot, _ in it.node.starts)
        end = (
            good,
            service.rollout.state,
            service.rollout.sentence.partition(" after ")[0],
            max(Counter(wanted).values()),
        )
        return it, end, (starts if story is not failing else None)


@pytest.mark.parametrize("order", UpdateOrder)
@pytest.mark.parametrize("story", [rolling, failing, canary])
async def test_a_server_killed_after_any_commit_of_a_rollout_ends_it_as_it_would_have(story, order):
    _, undisturbed, starts = await tell(story, order)
    kept = {rolling: {"good:2": REPLICAS}, canary: {"good:2": REPLICAS}}
    fewest = REPLICAS if order is UpdateOrder.START_FIRST else REPLICAS - 1
    assert undisturbed[0] == kept.get(story, {"good:1": fewest})
    kills = 0
    for after in range(1, 300):
        it, end, made = await tell(story, order, after)
        assert end == undisturbed, f"killed after commit {after}"
        assert made == starts, "none was started twice, none is missing"
        assert max(it.node.most.values()) <= 2
        if not it.kills:
            break
        kills += 1
    assert kills >= 10
