"""A changed spec is rolled out step by step, and stops where the new version keeps failing."""

import pytest
from msgspec.structs import replace

from pilothouse.control.orchestrators.rollout import update_order
from pilothouse.model.container import ContainerSpec, FileGrant, Healthcheck, Port, PortMode
from pilothouse.model.objects import Health, Secret
from pilothouse.model.spec import CutOff, CutOffAction, FileSpec, UpdateOrder, UpdatePolicy
from pilothouse.model.states import TaskState
from tests.control.world import World, spec

STOP_FIRST = UpdateOrder.STOP_FIRST
CHECK = Healthcheck(test=("CMD", "true"))


def checked(image="web:1", **fields):
    return spec(container=ContainerSpec(image=image, healthcheck=CHECK), **fields)


def published(image="web:1", **fields):
    return spec(
        container=ContainerSpec(image=image, ports=(Port(target=80, published=(80, 80), mode=PortMode.HOST),)), **fields
    )


def _new(world):
    return [task for task in world.live() if task.spec == world.service().spec.task]


def _old(world):
    return [task for task in world.live() if task.spec != world.service().spec.task]


def _may_run(task):
    """Neither one that was only prepared ahead of its turn nor one that was told to stop."""
    return task.desired_state is TaskState.RUNNING


def test_start_first_keeps_the_old_task_until_the_new_one_is_ready():
    world = World(checked()).rest()
    (old,) = world.live()
    world.deploy(checked("web:2"))
    world.orchestrate()
    world.prepare()
    (new,) = _new(world)
    assert new.desired_state is TaskState.RUNNING
    world.run(new, ready=False, health=Health.STARTING)
    world.rest()
    assert old in world.live()
    world.run(new, ready=True, health=Health.HEALTHY)
    world.rest()
    assert [task.id for task in world.live()] == [new.id]
    assert world.get(type(old), old.id).desired_reason.startswith(f"replaced by {new.id}, which is ready")


def test_stop_first_prepares_the_new_task_before_it_stops_the_old_one():
    world = World(published()).rest()
    (old,) = world.live()
    world.deploy(published("web:2"))
    world.orchestrate()
    world.prepare()
    (new,) = _new(world)
    assert (new.desired_state, new.state) == (TaskState.READY, TaskState.ASSIGNED)
    assert new.ports == old.ports
    world.orchestrate()
    assert world.get(type(old), old.id).desired_state is TaskState.RUNNING, "nothing is touched before it is prepared"
    world.report(new, TaskState.READY)
    world.orchestrate()
    assert world.get(type(old), old.id).desired_state is TaskState.SHUTDOWN
    assert _new(world)[0].desired_state is TaskState.READY
    world.rest()
    assert [(task.id, task.state) for task in world.live()] == [(new.id, TaskState.RUNNING)]


def test_a_new_image_that_cannot_be_prepared_never_costs_the_old_task():
    world = World(published()).rest()
    (old,) = world.live()
    world.deploy(published("web:2"))
    for _ in range(3):
        world.orchestrate()
        world.prepare()
        (new,) = _new(world)
        world.now = max(world.now, new.not_before)
        world.report(new, TaskState.REJECTED, message="no such image: web:2")
    world.orchestrate()
    assert old in world.live()
    assert "the update of web stopped: the new web.1 keeps failing" in world.service().notice
    assert "no such image: web:2" in world.service().notice


def test_an_update_works_on_a_quarter_at_a_time_and_waits_until_each_is_ready():
    world = World(checked(replicas=8)).rest()
    world.deploy(checked("web:2", replicas=8))
    seen = []
    for _ in range(40):
        world.orchestrate()
        world.prepare()
        seen.append((len([task for task in world.live() if _may_run(task)]), len(world.running())))
        world.obey()
    assert max(live for live, _ in seen) <= 10
    assert min(running for _, running in seen) >= 8
    assert len(_new(world)) == 8
    assert _old(world) == []


def test_a_new_version_that_keeps_failing_stops_the_update_and_leaves_the_rest_of_the_old_one():
    world = World(spec(replicas=4, update=UpdatePolicy(order=STOP_FIRST))).rest()
    world.deploy(spec(image="web:2", replicas=4, update=UpdatePolicy(order=STOP_FIRST)))
    for _ in range(10):
        world.rest()
        for task in _new(world):
            if task.state is TaskState.RUNNING:
                world.fail(task, 7)
        world.pass_time(1)
    assert len(_old(world)) == 3
    assert all(task.state is TaskState.RUNNING for task in _old(world))
    assert (
        "the update of web stopped: the new web.1 keeps failing (last it exited with code 7" in world.service().notice
    )
    assert "its other tasks stay on the version before" in world.service().notice


def test_while_an_update_has_stopped_a_task_of_the_version_before_comes_back_as_it_was():
    world = World(spec(replicas=4, update=UpdatePolicy(order=STOP_FIRST))).rest()
    world.deploy(spec(image="web:2", replicas=4, update=UpdatePolicy(order=STOP_FIRST)))
    for _ in range(10):
        world.rest()
        for task in _new(world):
            if task.state is TaskState.RUNNING:
                world.fail(task, 7)
        world.pass_time(1)
    world.fail(_old(world)[0], 9)
    world.rest()
    assert len(_old(world)) == 3
    assert all(task.state is TaskState.RUNNING for task in _old(world))


def test_a_task_that_comes_back_as_it_was_gets_the_contents_it_was_made_for():
    container = ContainerSpec(image="web:1", secrets=(FileGrant(source="key", target="/k"),))
    policy = UpdatePolicy(order=STOP_FIRST)
    world = World()
    world.force(Secret(id="shop/key", app="shop", spec=FileSpec(key="key", name="k"), content_version="v1"))
    world.deploy(spec(replicas=4, container=container, update=policy))
    world.pass_time(120)
    world.force(replace(world.get(Secret, "shop/key"), content_version="v2"))
    world.deploy(spec(replicas=4, container=replace(container, image="web:2"), update=policy))
    for _ in range(10):
        world.rest()
        for task in _new(world):
            if task.state is TaskState.RUNNING:
                world.fail(task, 7)
        world.pass_time(1)
    dead = _old(world)[0]
    world.fail(dead, 9)
    world.rest()
    (again,) = [task for task in _old(world) if task.replaces == dead.id]
    assert (again.fingerprint, again.secret_versions) == (dead.fingerprint, {"key": "v1"})


def test_a_corrected_version_ends_a_stopped_update():
    world = World(spec(replicas=3)).rest()
    world.deploy(spec(image="bad", replicas=3))
    for _ in range(5):
        world.rest()
        for task in _new(world):
            if task.state is TaskState.RUNNING:
                world.fail(task)
        world.pass_time(5)
    assert world.service().notice
    world.deploy(spec(image="good", replicas=3))
    world.pass_time(60)
    assert [task.spec.container.image for task in world.running()] == ["good"] * 3
    assert world.service().notice == ""


def test_a_version_that_never_becomes_ready_leaves_the_old_one_and_says_so_after_ten_minutes():
    world = World(checked()).rest()
    (old,) = world.live()
    world.deploy(checked("web:2"))
    world.orchestrate()
    world.prepare()
    world.run(_new(world)[0], ready=False, health=Health.UNHEALTHY)
    world.pass_time(599)
    assert world.service().notice == ""
    world.pass_time(2)
    assert (
        "the update of web stopped: the new web.1 has not become ready in 10 min (its health check has not passed)"
        in world.service().notice
    )
    assert old in world.live()


def test_a_task_nobody_checks_must_run_five_seconds_before_the_old_one_goes():
    world = World(spec()).rest()
    world.deploy(spec(image="web:2"))
    world.rest()
    assert len(world.running()) == 2
    world.pass_time(4.9)
    assert len(world.running()) == 2
    world.pass_time(0.2)
    assert [task.spec.container.image for task in world.running()] == ["web:2"]


def test_a_written_delay_passes_between_two_slots():
    update = UpdatePolicy(delay_seconds=30, parallelism=1)
    world = World(checked(replicas=2, update=update)).rest()
    world.deploy(checked("web:2", replicas=2, update=update))
    world.pass_time(29)
    assert [task.desired_state for task in _new(world)] == [TaskState.RUNNING, TaskState.READY]
    world.pass_time(2)
    assert [task.desired_state for task in _new(world)] == [TaskState.RUNNING] * 2


def test_an_unchanged_service_is_not_touched():
    world = World(checked(replicas=3)).rest()
    before = world.live()
    world.deploy(checked(replicas=3))
    world.pass_time(100)
    assert world.live() == before


def test_the_same_spec_with_another_image_behind_the_name_is_a_change():
    world = World(checked()).rest()
    (old,) = world.live()
    service = world.service()
    world.force(replace(service, image=replace(service.image, id="sha256:other")))
    world.rest()
    assert [task.replaces for task in world.live()] == [old.id]


@pytest.mark.parametrize("order", [None, *UpdateOrder])
def test_a_service_that_says_it_must_be_fenced_never_has_two_copies_in_an_update(order):
    fenced = CutOff(action=CutOffAction.FENCE)
    assert update_order(spec(update=UpdatePolicy(order=order), cut_off=fenced)) is UpdateOrder.STOP_FIRST
