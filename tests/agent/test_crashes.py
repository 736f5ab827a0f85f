"""The agent is killed between any two calls to the engine, and the outcome is the same, with nothing left over.

What the proxy is told is part of the outcome: who runs gets traffic, and nobody else.
"""

import asyncio

import pytest

from pilothouse.agent.runtime.fake import FakeEngine
from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.model.container import Mount, MountKind, Port
from pilothouse.model.names import container_name
from pilothouse.model.objects import PortBinding
from pilothouse.model.spec import Hook
from pilothouse.model.states import TaskState
from tests.agent.manager import DEADLINE_SECONDS, Manager, Node, eventually
from tests.agent.world import IMAGE, make_network, make_task, make_volume

S = TaskState
MOUNT = Mount(kind=MountKind.VOLUME, source="data", target="/data")
HOOKS = {
    "pre_start": (
        Hook(command=("migrate",), image="tool:1"),
        Hook(command=("seed",), image="tool:1", per_replica=True),
    ),
    "post_start": (Hook(command=("warm-up",)),),
    "pre_stop": (Hook(command=("drain",)),),
}


def images():
    return (
        FakeImage(ref=IMAGE),
        FakeImage(ref="tool:1", exit_after_seconds=0.005),
        FakeImage(ref="job:1", exit_after_seconds=0.01, logs=((0.0, "done"),)),
        FakeImage(ref="broken:1", exit_after_seconds=0.01, exit_code=3),
    )


async def live(manager, node):
    """Bring everything up, then down, then have it all forgotten; return how each task ended."""
    await manager.settles()
    states = {task.id: task.state for task in manager.tasks.values()}
    reached = {task.id for task in manager.tasks.values() if task.ports and task.state is S.RUNNING}
    await eventually(lambda: set(node.proxy.shares(8080)) == reached)
    manager.want(S.SHUTDOWN)
    await manager.settles()
    ends = {
        task.id: (task.state, task.status.ending and task.status.ending.exit_code) for task in manager.tasks.values()
    }
    await eventually(lambda: node.proxy.wanted.backends == ())
    manager.networks = [make_network(removing=True)]
    manager.volumes = [make_volume(removing=True)] * len(manager.volumes)
    manager.touch()
    await manager.until(lambda: not manager.networks and not manager.volumes, "networks and volumes are gone")
    manager.drop(*manager.tasks)
    await node.until(lambda: node.host.leftovers() == (), "nothing is left")
    await eventually(lambda: not list((node.directory / "data" / "logs").glob("*")))
    return states, ends


async def play(directory, tasks, engine_of):
    """Play the whole life with an engine that may kill the agent; return its outcome and the calls of that engine."""
    directory.mkdir()
    node = Node(directory, *images())
    manager = Manager(*tasks, volumes=(make_volume(),) if any(t.spec.container.mounts for t in tasks) else ())
    manager.commit_seconds = 0.02
    engine = engine_of(node.host)
    async with asyncio.timeout(2 * DEADLINE_SECONDS), asyncio.TaskGroup() as group:
        serving = group.create_task(node.serve_through_a_crash(manager, engine))
        outcome = await live(manager, node)
        serving.cancel()
    started = [name for name in node.host.changes if name == container_name(tasks[0])]
    assert started
    return outcome, len(engine.calls)


def crashing(number, after):
    def make(host):
        engine = FakeEngine(host)
        engine.crash_at(number, after=after)
        return engine

    return make


async def every_crash(tmp_path, *tasks, step=1):
    expected, calls = await play(tmp_path / "whole", tasks, FakeEngine)
    assert calls > 10
    for number in range(1, calls + 1, step):
        for after in (False, True):
            outcome, _ = await play(tmp_path / f"{number}-{after}", tasks, crashing(number, after))
            assert outcome == expected, f"killed {'after' if after else 'before'} call {number}"
    return expected


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
async def test_a_task_behind_the_proxy_survives_a_crash_at_every_call(tmp_path, step):
    port = PortBinding(target=80, host_port=8080, ingress=True)
    web = make_task(1, container={"ports": (Port(target=80, published=(8080, 8080)),)}, ports=(port,))
    states, ends = await every_crash(tmp_path, web, step=step)
    assert states == {web.id: S.RUNNING}
    assert ends == {web.id: (S.SHUTDOWN, 143)}


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
async def test_a_plain_task_survives_a_crash_at_every_call(tmp_path, step):
    task = make_task()
    states, ends = await every_crash(tmp_path, task, step=step)
    assert states == {task.id: S.RUNNING}
    assert ends == {task.id: (S.SHUTDOWN, 143)}


@pytest.mark.slow
async def test_tasks_with_hooks_volumes_and_ends_of_their_own_survive_a_crash_at_every_call(tmp_path):
    web = make_task(1, spec=HOOKS, container={"mounts": (MOUNT,)})
    job = make_task(2, service="job", container={"image": "job:1"})
    broken = make_task(3, service="broken", container={"image": "broken:1"})
    states, ends = await every_crash(tmp_path, web, job, broken)
    assert states == {web.id: S.RUNNING, job.id: S.COMPLETE, broken.id: S.FAILED}
    assert ends == {web.id: (S.SHUTDOWN, 143), job.id: (S.COMPLETE, 0), broken.id: (S.FAILED, 3)}
