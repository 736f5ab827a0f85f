"""A task that runs a once-per-release step is started at most once, whatever becomes of its container."""

import contextlib

import msgspec
import pytest

from pilothouse.agent.runtime.fake import FakeEngine, Killed
from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.model.names import container_name
from pilothouse.model.spec import Hook
from pilothouse.model.states import TaskState
from pilothouse.model.steps import hook_spec
from tests.agent.manager import Manager, Node
from tests.agent.world import make_task

S = TaskState
STEP = FakeImage(ref="step:1", exit_after_seconds=0.02, logs=((0.0, "migrated"),))


def make_step():
    whole = make_task(spec={"pre_start": (Hook(command=("migrate",), image="step:1"),)})
    return msgspec.structs.replace(
        whole,
        slot=0,
        step=0,
        spec=hook_spec(whole.spec, 0),
        image=msgspec.structs.replace(whole.image, ref="step:1"),
    )


async def test_a_step_is_run_like_any_task_and_its_output_is_kept(tmp_path):
    node, task = Node(tmp_path, STEP), make_step()
    manager = Manager(task)
    async with node.agent(manager) as agent:
        await manager.reaches(task, S.COMPLETE)
        assert manager.status(task).ending.log_tail == ("migrated",)
        await node.until(lambda: not node.host.containers)
        kept = agent._kit.archive
        assert kept.has(task.id)
    assert node.host.begun == [container_name(task)]


async def test_that_a_step_was_to_start_is_durable_before_it_does(tmp_path):
    node, task = Node(tmp_path, STEP), make_step()
    manager = Manager(task)
    manager.commit_seconds = 0.05
    async with node.agent(manager):
        await node.until(lambda: node.host.begun)
        assert manager.state(task) is S.STARTING


@pytest.mark.parametrize("after", [False, True])
async def test_a_step_whose_container_is_gone_when_the_agent_comes_back_has_failed_if_it_may_have_begun(
    tmp_path, after
):
    node, task = Node(tmp_path, STEP), make_step()
    manager, name = Manager(task), container_name(task)
    engine = FakeEngine(node.host)
    starting = await _call_of_start(tmp_path)
    engine.crash_at(starting, after=after)
    with contextlib.suppress(Killed, BaseExceptionGroup):
        async with node.agent(manager, engine=engine):
            await node.until(lambda: engine.dead)
            await manager.reaches(task, S.COMPLETE)
    node.host.delete(name)
    async with node.agent(manager):
        await manager.reaches(task, S.FAILED)
    assert node.host.begun == [name] * after


async def _call_of_start(directory):
    node, task = Node(directory / "rehearsal", STEP), make_step()
    (directory / "rehearsal").mkdir()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.COMPLETE)
        return next(call.number for call in node.engine.calls if call.verb == "start")
