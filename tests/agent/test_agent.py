"""The agent on a fake engine: tasks go through their lives, whatever happens to engine, manager or agent."""

import asyncio
import os
import pathlib

import msgspec
import pytest

from pilothouse.agent.runtime.fake import FakeEngine
from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.agent.volumes.files import in_memory
from pilothouse.errors import TemporaryError
from pilothouse.model.container import FileGrant, Healthcheck, Mount, MountKind
from pilothouse.model.names import container_name
from pilothouse.model.objects import Health
from pilothouse.model.spec import Hook
from pilothouse.model.states import TaskState
from pilothouse.model.wire import FileContent, ForeignContainer, LogQuery
from tests.agent.manager import Manager, Node, eventually
from tests.agent.world import IMAGE, make_network, make_task, make_volume

S = TaskState


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


async def test_a_task_runs_and_the_manager_hears_of_it(node):
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        status = manager.status(task)
        assert (status.health, status.ready, status.message) == (Health.NONE, True, "running")
        assert status.addresses == {"default": status.addresses["default"]}
        assert status.container_id
        assert status.started_at
        assert manager.description.hostname == "fake"
    assert node.host.running() == (container_name(task),), "a stopped agent leaves containers alone"


async def test_starting_a_task_costs_four_calls_and_idling_none(node):
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        about = [call.verb for call in node.engine.calls if call.subject in {container_name(task), "shop_default"}]
        assert about[:4] == ["ensure_network", "prepare", "start", "inspect"]
        await asyncio.sleep(0.1)
        before = len(node.engine.calls)
        await asyncio.sleep(0.2)
        assert len(node.engine.calls) == before


async def test_the_death_of_a_container_is_told_with_its_cause_and_last_words(node):
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        node.host.write(container_name(task), "out of cheese")
        begun = asyncio.get_running_loop().time()
        node.host.kill(container_name(task), 137, oom=True)
        await manager.reaches(task, S.FAILED)
        assert asyncio.get_running_loop().time() - begun < 0.25
        ending = manager.status(task).ending
        assert (ending.exit_code, ending.signal, ending.oom, ending.log_tail) == (
            137,
            "SIGKILL",
            True,
            ("out of cheese",),
        )
        await node.until(lambda: not node.host.running() and not node.host.containers)


async def test_what_a_dead_task_wrote_stays_readable_until_the_task_is_forgotten(node):
    node.host.images[IMAGE] = FakeImage(ref=IMAGE, logs=((0.0, "one"), (0.0, "two")), exit_after_seconds=0.05)
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager) as agent:
        await manager.reaches(task, S.COMPLETE)
        await node.until(lambda: not node.host.containers)
        lines = [line.text async for line in agent.services.logs(LogQuery(task_id=task.id))]
        assert lines == ["one", "two"]
        assert [line.text async for line in agent.services.logs(LogQuery(task_id=task.id, tail=1))] == ["two"]
        manager.drop(task.id)
        await asyncio.sleep(0.05)
        assert [line async for line in agent.services.logs(LogQuery(task_id=task.id))] == []


async def test_logs_are_followed_from_before_the_start_to_the_end(node):
    node.host.images[IMAGE] = FakeImage(ref=IMAGE, logs=((0.01, "one"), (0.05, "two")), exit_after_seconds=0.1)
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager) as agent:
        manager.put(task)
        await manager.until(lambda: task.id in agent._workers)
        lines = [line.text async for line in agent.services.logs(LogQuery(task_id=task.id, follow=True))]
        assert lines == ["one", "two"]


async def test_a_task_that_waits_is_prepared_and_starts_when_it_may(node):
    task = make_task(desired_state=S.READY, desired_reason="waits for db")
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.READY)
        assert manager.status(task).message == "prepared; waits for db"
        assert node.host.running() == ()
        manager.want(S.RUNNING)
        await manager.reaches(task, S.RUNNING)


async def test_a_task_is_shut_down_with_its_grace_and_nothing_is_left(node):
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        manager.want(S.SHUTDOWN, reason="scaled down")
        await manager.reaches(task, S.SHUTDOWN)
        assert manager.status(task).message == "stopped: scaled down"
        assert manager.status(task).ending.exit_code == 143
        await node.until(lambda: not node.host.containers)


async def test_an_image_that_is_absent_rejects_the_task(node):
    task = make_task(container={"image": "absent:1"})
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.REJECTED)
        assert "absent:1" in manager.status(task).message


async def test_a_command_that_cannot_start_fails_the_task_and_leaves_no_container(node):
    node.host.images[IMAGE] = FakeImage(ref=IMAGE, start_error="no such command: serve")
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.FAILED)
        assert manager.status(task).message == "no such command: serve"
        await node.until(lambda: not node.host.containers)


async def test_a_temporary_error_is_said_and_tried_again(node):
    task = make_task()
    manager = Manager(task)
    engine = FakeEngine(node.host)
    calls_before_prepare = 5
    for number in range(3, 3 + calls_before_prepare):
        engine.fail_at(number, TemporaryError("the disk is busy", 0.01))
    async with node.agent(manager, engine=engine):
        await manager.reaches(task, S.RUNNING)


async def test_an_unhealthy_container_is_stopped_and_has_failed(node):
    node.host.images[IMAGE] = FakeImage(ref=IMAGE, health=((0.05, "healthy"), (0.15, "unhealthy")))
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.until(lambda: manager.status(task).health is Health.HEALTHY)
        await manager.reaches(task, S.FAILED)
        assert "health check failed" in manager.status(task).message
        await node.until(lambda: not node.host.containers)


async def test_a_compose_health_check_is_asked_long_before_the_engine_asks_it(node):
    node.host.images[IMAGE] = FakeImage(
        ref=IMAGE, health=((600.0, "healthy"),), commands={("check", "me"): (0, "", 0.0)}
    )
    task = make_task(container={"healthcheck": Healthcheck(test=("CMD", "check", "me"), interval_seconds=600.0)})
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        await manager.until(lambda: manager.status(task).health is Health.HEALTHY)
        asked = [call for call in node.engine.calls if call.verb == "exec"]
        await asyncio.sleep(0.2)
        assert [call for call in node.engine.calls if call.verb == "exec"] == asked, "once it passed the engine asks"


async def test_an_adopted_container_keeps_running_untouched(node):
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
    told = manager.status(task)
    async with node.agent(manager):
        await asyncio.sleep(0.1)
        verbs = {call.verb for call in node.engine.calls}
        assert verbs <= {"describe", "status", "list_networks", "list_volumes"}
        assert manager.status(task) == told
    assert node.host.find(container_name(task)).state.phase == "running"


async def test_a_container_that_died_while_the_agent_was_away_is_reported_when_it_is_back(node):
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
    node.host.kill(container_name(task), 3)
    async with node.agent(manager):
        await manager.reaches(task, S.FAILED)
        assert manager.status(task).ending.exit_code == 3


async def test_a_container_nobody_assigned_is_removed_and_others_are_left(node):
    task, orphan = make_task(1), make_task(2)
    manager = Manager(task, orphan)
    async with node.agent(manager):
        await manager.settles()
    del manager.tasks[orphan.id]
    node.host.foreign.append(ForeignContainer(id="f" * 64, name="other", image="x", image_id="", running=True))
    async with node.agent(manager):
        await node.until(lambda: container_name(orphan) not in node.host.containers)
    assert node.host.running() == (container_name(task),)
    assert len(node.host.foreign) == 1


async def test_while_the_manager_is_gone_tasks_run_on_and_their_ends_are_told_later(node):
    stays, dies = make_task(1), make_task(2, slot=2)
    manager = Manager(stays, dies)
    async with node.agent(manager):
        await manager.settles()
        manager.down = True
        manager.touch()
        node.host.kill(container_name(dies), 9)
        await eventually(lambda: "logs" in {call.verb for call in node.engine.calls})
        assert manager.state(dies) is S.RUNNING
        assert container_name(dies) in node.host.containers, "the only witness of the task's end stays"
        manager.down = False
        await manager.reaches(dies, S.FAILED)
        await node.until(lambda: container_name(dies) not in node.host.containers)
        assert manager.state(stays) is S.RUNNING


async def test_an_engine_that_restarts_without_live_restore_is_noticed(node):
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        node.host.outage()
        await asyncio.sleep(0.05)
        assert manager.state(task) is S.RUNNING
        node.host.recover(live_restore=False)
        await manager.reaches(task, S.FAILED)


async def test_networks_and_volumes_exist_before_the_container_and_go_when_they_must(node):
    mount = Mount(kind=MountKind.VOLUME, source="data", target="/data")
    task = make_task(container={"mounts": (mount,)})
    manager = Manager(task, volumes=(make_volume(),))
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        assert set(node.host.networks) == {"shop_default"}
        assert set(node.host.volumes) == {"shop_data"}
        manager.networks = [make_network(removing=True)]
        manager.volumes = [make_volume(removing=True)]
        manager.want(S.SHUTDOWN)
        await manager.until(lambda: not manager.networks and not manager.volumes)
        assert node.host.leftovers() == ()
        assert sorted(manager.gone) == [("network", "shop/default"), ("volume", "shop/data")]


async def test_a_network_that_somebody_removed_is_made_again(node):
    first, second = make_task(1), make_task(2, slot=2)
    manager = Manager(first)
    async with node.agent(manager):
        await manager.reaches(first, S.RUNNING)
        node.host.networks.clear()
        manager.put(second)
        await manager.reaches(second, S.RUNNING)


def _content_mode_owner(path):
    found = path.stat()
    return path.read_bytes(), found.st_mode & 0o777, found.st_uid, found.st_gid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_secrets_are_files_in_memory_while_the_task_lives(node):
    grant = FileGrant(source="password", target="/run/secrets/password")
    task = make_task(container={"secrets": (grant,), "user": "7:8"}, secret_versions={"password": "v1"})
    content = FileContent(id="shop/password", version="v1", content=b"canary")
    manager = Manager(task, secrets=(content,))
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        (mount,) = node.host.find(container_name(task)).plan.mounts
        path = pathlib.Path(mount.source)
        assert _content_mode_owner(path) == (b"canary", 0o400, 7, 8)
        assert in_memory(path)
        manager.want(S.SHUTDOWN)
        await node.until(lambda: not node.host.containers)
        await manager.until(lambda: not os.path.lexists(mount.source))


async def test_hooks_run_around_the_container_but_for_those_that_are_steps(node):
    spec = {
        "post_start": (Hook(command=("warm-up",)),),
        "pre_stop": (Hook(command=("drain",)),),
    }
    node.host.images["tool:1"] = FakeImage(ref="tool:1", exit_after_seconds=0.02)
    once, each = Hook(command=("migrate",), image="tool:1"), Hook(command=("seed",), image="tool:1", per_replica=True)
    spec["pre_start"] = (once, each)
    one, two = make_task(1, spec=spec), make_task(2, slot=2, spec=spec)
    manager = Manager(one, two)
    async with node.agent(manager):
        await manager.settles()
        manager.want(S.SHUTDOWN)
        await manager.settles()
    verbs = [(call.verb, call.subject.split(" ")[-1]) for call in node.engine.calls if call.verb in {"exec", "prepare"}]
    assert sorted(v for v in verbs if "pre-start" in v[1]) == [
        ("prepare", "ph.shop.web.pre-start-1.1.t00000000001"),
        ("prepare", "ph.shop.web.pre-start-1.2.t00000000002"),
    ]
    assert verbs.count(("exec", "warm-up")) == 2
    assert verbs.count(("exec", "drain")) == 2


async def test_a_pre_start_hook_that_fails_fails_the_task_with_its_words(node):
    node.host.images["tool:1"] = FakeImage(
        ref="tool:1", logs=((0.0, "table exists"),), exit_after_seconds=0.02, exit_code=4
    )
    task = make_task(spec={"pre_start": (Hook(command=("migrate",), image="tool:1", per_replica=True),)})
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.FAILED)
        status = manager.status(task)
        assert status.message == "its pre_start hook 1 ended with exit code 4: table exists"
        assert (status.ending.exit_code, status.ending.log_tail) == (4, ("table exists",))
        await node.until(lambda: not node.host.containers)


async def test_a_post_start_hook_that_fails_stops_the_container(node):
    node.host.images[IMAGE] = FakeImage(ref=IMAGE, commands={("warm-up",): (3, "no", 0.0)})
    task = make_task(spec={"post_start": (Hook(command=("warm-up",)),)})
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.FAILED)
        assert manager.status(task).message == "its post_start hook 1 ended with exit code 3: no"
        assert S.RUNNING not in manager.history[task.id]


async def test_a_long_hook_does_not_hold_up_a_shutdown(node):
    node.host.images[IMAGE] = FakeImage(ref=IMAGE, commands={("warm-up",): (0, "", 500.0)})
    task = make_task(spec={"post_start": (Hook(command=("warm-up",)),)})
    manager = Manager(task)
    async with node.agent(manager):
        await manager.until(lambda: "post_start" in manager.status(task).message)
        manager.want(S.SHUTDOWN)
        await manager.reaches(task, S.SHUTDOWN)


async def test_a_container_of_somebody_else_is_adopted_without_a_restart(node):
    node.host.foreign.append(ForeignContainer(id="f" * 64, name="shop-web-1", image=IMAGE, image_id="", running=True))
    manager = Manager()
    task = make_task()
    async with node.agent(manager) as agent:
        await agent.services.adopt("f" * 64, task)
        agent._sweep_now.set()
        await asyncio.sleep(0.05)
        manager.put(task)
        await manager.reaches(task, S.RUNNING)
        assert manager.status(task).container_id == "f" * 64
        assert "start" not in {call.verb for call in node.engine.calls}


async def test_a_namespace_is_shared_once_the_neighbour_runs(node):
    db = make_task(1, service="db", desired_state=S.READY)
    side = make_task(2, service="side", container={"network_mode": "service:db", "networks": ()})
    manager = Manager(db, side)
    async with node.agent(manager):
        await manager.until(lambda: "waits for a container of db" in manager.status(side).message)
        manager.want(S.RUNNING, db.id)
        await manager.reaches(side, S.RUNNING)
        db_container = node.host.find(container_name(db))
        assert node.host.find(container_name(side)).plan.network_mode == f"container:{db_container.id}"


async def test_many_tasks_start_together_and_their_reports_are_few(node):
    tasks = [make_task(number, slot=number) for number in range(1, 51)]
    manager = Manager(*tasks)
    async with node.agent(manager):
        await manager.settles()
        assert len(manager.batches) <= 50
        assert sum(call.verb == "ensure_network" for call in node.engine.calls) == 1


async def test_a_task_the_manager_gave_up_is_stopped(node):
    task = make_task()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        manager.put(msgspec.structs.replace(manager.tasks[task.id], state=S.ORPHANED))
        await node.until(lambda: not node.host.containers)
