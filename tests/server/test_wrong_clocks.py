"""What a node's clock says is believed as far as it can be true: others count from it."""

import msgspec
import pytest

from pilothouse.model.objects import Task, TaskStatus
from pilothouse.model.states import TaskState, Writer
from pilothouse.model.wire import TaskReport
from pilothouse.server.sessions.records import write_reports
from tests.server.harness import NOW, World, service, shop
from tests.server.test_sessions import assigned

replace = msgspec.structs.replace
HOUR = 3600.0


async def reported(world, task, *, at, **status):
    report = TaskReport(task_id=task.id, state=TaskState.RUNNING, status=TaskStatus(**status))
    await world.store.update(Writer.AGENT, lambda tx: write_reports(tx, "n1", (report,), at))
    return (await world.store.view(lambda tx: tx.get(Task, task.id))).status


async def made(world):
    return await assigned(world, shop(service("web", "web:1")))


@pytest.mark.parametrize("wrong", [HOUR, -HOUR, 365 * 24 * HOUR])
async def test_a_task_became_ready_when_that_was_heard_if_its_nodes_clock_is_wrong(wrong):
    world = World()
    task = await made(world)
    at = task.created_at + 20
    wrong_at = task.created_at + wrong
    found = await reported(world, task, at=at, message="runs", since=wrong_at, ready=True, ready_since=wrong_at)
    assert (found.ready_since, found.since) == (at, at)


async def test_a_report_that_is_repeated_moves_no_time():
    world = World()
    task = await made(world)
    says = {"message": "runs", "since": NOW + HOUR, "ready": True, "ready_since": NOW + HOUR}
    first = await reported(world, task, at=task.created_at + 20, **says)
    assert await reported(world, task, at=task.created_at + 25, **says) == first


async def test_a_clock_that_is_right_is_believed():
    world = World()
    task = await made(world)
    then = task.created_at + 7
    says = {"message": "runs", "since": then, "ready": True, "ready_since": then, "started_at": then - 1}
    assert await reported(world, task, at=task.created_at + 20, **says) == TaskStatus(**says)


async def test_what_was_adopted_was_ready_before_its_task_was_made():
    world = World()
    task = await made(world)
    # Nobody but the orchestrator makes tasks, and none of its fields is written again.
    other = replace(
        task, id="adopted", version=0, state=TaskState.NEW, node_id="", slot=2, adopts="c0ffee", created_at=NOW
    )
    await world.store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(other))
    await world.store.update(
        Writer.RESOURCES, lambda tx: tx.put(replace(tx.get(Task, "adopted"), state=TaskState.PENDING))
    )
    await world.store.update(
        Writer.SCHEDULER,
        lambda tx: tx.put(replace(tx.get(Task, "adopted"), state=TaskState.ASSIGNED, node_id="n1")),
    )
    long_ago = NOW - HOUR
    found = await reported(world, other, at=NOW + 1, since=long_ago, ready=True, ready_since=long_ago)
    assert (found.since, found.ready_since) == (long_ago, long_ago)
