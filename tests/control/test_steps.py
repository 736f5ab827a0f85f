"""Once-per-release steps: a `pre_start` hook runs once for a fingerprint, before the tasks of that fingerprint."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.orchestrators.reaper import leftovers
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.control.orchestrators.steps import failed_step, waiting_step
from pilothouse.model.container import ContainerSpec
from pilothouse.model.objects import App, ResolvedImage, Service, Task
from pilothouse.model.spec import Condition, Hook, Mode, Resources, TaskSpec, UpdateOrder, UpdatePolicy
from pilothouse.model.states import TaskState, Writer
from tests.control.world import World, needs, node, spec
from tests.examples import examples

HOOKS = (Hook(command=("migrate",)), Hook(command=("warm",), per_replica=True), Hook(command=("seed",), image="seed:1"))


def web(image="web:1", hooks=HOOKS[:1], **fields):
    task = TaskSpec(container=ContainerSpec(image=image), pre_start=hooks, **fields.pop("task", {}))
    return spec(task=task, **fields)


def steps(world, service="web"):
    found = [task for task in world.tasks(service) if task.step >= 0]
    return sorted(found, key=lambda task: (task.created_at, task.version))


def in_slots(world, service="web"):
    return [task for task in world.live(service) if task.step < 0]


def running(world, service="web"):
    return [task for task in world.running(service) if task.step < 0]


def one_step(world):
    (task,) = [task for task in steps(world) if not task.state.terminal]
    return task


def scene(world, service="web"):
    return Scenes(world).scene(f"shop/{service}")


def resume(world):
    world.writer = Writer.API
    world.put(replace(world.get(App, "shop"), resumed_at=world.now))


def updated(**fields):
    """A world in which web:1 runs and web:2 was deployed 60 s later."""
    world = World(web(**fields)).rest()
    world.complete(one_step(world))
    world.pass_time(60)
    world.deploy(web("web:2", **fields))
    return world


def test_tasks_are_prepared_but_not_started_before_the_step_is_done():
    world = World(web(replicas=2)).rest()
    step = one_step(world)
    assert (step.step, step.slot, step.state) == (0, 0, TaskState.RUNNING)
    assert step.spec.container.command == ("migrate",)
    waits = "waits for its step 1 of 1 (migrate)"
    assert [(t.state, t.desired_reason) for t in in_slots(world)] == [(TaskState.READY, waits)] * 2
    world.complete(step)
    world.rest()
    assert len(running(world)) == 2
    assert len(steps(world)) == 1
    (record,) = world.service().steps
    assert (record.task_id, record.done, record.fingerprint) == (step.id, True, step.fingerprint)


def test_steps_run_in_the_order_in_which_they_are_written_and_hooks_of_each_replica_are_none():
    world = World(web(hooks=HOOKS)).rest()
    ran = []
    for _ in range(2):
        step = one_step(world)
        ran.append((step.step, step.image.ref))
        assert not running(world)
        world.complete(step)
        world.rest()
    assert ran == [(0, "web:1"), (2, "seed:1")]
    assert len(running(world)) == 1


def test_a_step_has_the_image_that_was_resolved_for_it():
    world = World(web(hooks=HOOKS[2:]))
    image = ResolvedImage(ref="seed:1", id="sha256:seed")
    world.force(replace(world.service(), step_images={"seed:1": image}))
    assert one_step(world.rest()).image == image


def test_the_record_is_written_in_the_look_that_sees_the_end_and_tasks_go_on_in_it():
    world = World(web()).rest()
    world.complete(one_step(world))
    world.orchestrate()
    assert world.service().steps[0].done
    assert in_slots(world)[0].desired_state is TaskState.RUNNING
    assert world.settled()


def test_a_failed_step_is_not_run_again_and_says_what_to_do():
    world = World(web()).rest()
    world.pass_time(5)
    world.fail(one_step(world), 3, log_tail=("table exists",))
    world.pass_time(3600)
    (step,) = steps(world)
    assert world.service().notice == (
        "web does not get on: its step 1 of 1 (migrate) exited with code 3 after 5 s, and is not run again by itself; "
        "correct the cause and deploy again, or run `pilothouse resume shop` to try it once more"
    )
    assert in_slots(world)[0].desired_reason == "waits for its step 1 of 1 (migrate), which failed"
    evidence = failed_step(scene(world))
    assert (evidence.task_id, evidence.task, evidence.log_tail) == (step.id, "web:pre_start.0", ("table exists",))
    assert evidence.cause == "its step 1 of 1 (migrate) exited with code 3 after 5 s"


@pytest.mark.parametrize("ask", [resume, lambda world: world.deploy(web(replicas=2))], ids=["resume", "deploy"])
def test_a_person_allows_one_more_try_of_a_failed_step(ask):
    world = World(web()).rest()
    world.fail(one_step(world))
    world.pass_time(10)
    app = world.get(App, "shop")
    ask(world)
    world.force(replace(world.get(App, "shop"), deployed_at=max(app.deployed_at, world.now)))
    world.rest()
    again = one_step(world)
    assert waiting_step(scene(world)) == "its step 1 of 1 (migrate)"
    assert failed_step(scene(world)) is None
    assert "once more" in again.reason
    world.pass_time(1)
    world.fail(again)
    world.pass_time(600)
    assert len(steps(world)) == 2, "one more, not two"
    assert [record.task_id for record in world.service().steps] == [task.id for task in steps(world)]


def test_nothing_old_is_stopped_for_a_step():
    for order in UpdateOrder:
        world = updated(replicas=2, update=UpdatePolicy(order=order))
        world.pass_time(300)
        assert [t.spec.container.image for t in running(world)] == ["web:1"] * 2
        world.complete(one_step(world))
        world.pass_time(300)
        assert [t.spec.container.image for t in running(world)] == ["web:2"] * 2


def test_nothing_old_is_stopped_for_a_step_that_failed():
    world = updated(replicas=2)
    world.rest()
    world.fail(one_step(world))
    world.pass_time(600)
    assert [t.spec.container.image for t in running(world)] == ["web:1"] * 2


@pytest.mark.parametrize("fails", [False, True])
def test_a_task_of_the_version_before_that_dies_while_a_step_runs_or_failed_is_made_anew_as_it_was(fails):
    world = updated(replicas=2)
    world.rest()
    if fails:
        world.fail(one_step(world))
        world.rest()
    world.fail(running(world)[0])
    world.pass_time(30)
    assert [t.spec.container.image for t in running(world)] == ["web:1"] * 2


def test_a_task_that_dies_later_is_replaced_without_the_step():
    world = World(web()).rest()
    world.complete(one_step(world))
    world.rest()
    world.fail(running(world)[0])
    world.pass_time(30)
    assert len(running(world)) == 1
    assert len(steps(world)) == 1


def test_going_back_to_what_ran_does_not_run_its_step_again():
    world = updated()
    world.rest()
    world.complete(one_step(world))
    world.pass_time(60)
    world.deploy(web("web:1"))
    world.pass_time(60)
    assert [t.spec.container.image for t in running(world)] == ["web:1"]
    assert len(steps(world)) == 2


def test_a_step_that_runs_when_it_is_overtaken_is_let_finish_and_the_next_one_waits_for_it():
    world = updated()
    world.rest()
    overtaken = one_step(world)
    world.deploy(web("web:3"))
    world.rest()
    second = next(task for task in steps(world) if task.fingerprint == scene(world).fingerprint)
    assert world.get(Task, overtaken.id).desired_state is TaskState.RUNNING
    assert (second.state, second.desired_reason) == (
        TaskState.READY,
        f"waits until web:pre_start.0 of an older version ({overtaken.id}) has ended",
    )
    world.complete(overtaken)
    world.rest()
    assert world.get(Task, second.id).state is TaskState.RUNNING


def test_tasks_whose_own_steps_are_done_do_not_wait_for_one_that_was_overtaken():
    world = updated()
    world.rest()
    overtaken = one_step(world)
    world.deploy(web("web:1", replicas=2))
    world.rest()
    assert [t.spec.container.image for t in running(world)] == ["web:1"] * 2
    assert world.get(Task, overtaken.id).desired_state is TaskState.RUNNING


def test_a_step_that_has_not_begun_when_it_is_overtaken_never_does():
    db = spec("db", "db:1")
    world = World(db, web(depends_on=(needs("db", Condition.HEALTHY),)))
    world.orchestrate()
    waiting = one_step(world)
    assert (waiting.desired_state, waiting.desired_reason) == (TaskState.READY, "waits for db to be healthy")
    world.deploy(db, web("web:2", depends_on=(needs("db", Condition.HEALTHY),)))
    world.rest()
    assert world.get(Task, waiting.id).state is TaskState.SHUTDOWN
    assert [record for record in world.service().steps if record.task_id == waiting.id] == []
    assert one_step(world).image.ref == "web:2"


def test_a_step_waits_for_dependencies_as_a_task_would():
    db = spec("db", "db:1")
    world = World(db, web(depends_on=(needs("db", Condition.COMPLETED),))).rest()
    assert one_step(world).state is TaskState.READY
    assert in_slots(world)[0].desired_reason == "waits for db to complete"
    world.complete(world.one("db"))
    world.rest()
    assert one_step(world).state is TaskState.RUNNING


def test_a_step_is_not_begun_while_the_app_is_paused():
    world = World(web())
    world.force(replace(world.get(App, "shop"), paused=True))
    assert one_step(world.rest()).desired_reason == "waits, because a person paused the app"
    world.force(replace(world.get(App, "shop"), paused=False))
    assert one_step(world.rest()).state is TaskState.RUNNING


def test_a_step_that_was_lost_with_its_node_counts_as_failed():
    world = World(web()).rest()
    step = one_step(world)
    world.writer = Writer.NODES
    world.put(replace(step, state=TaskState.ORPHANED))
    world.pass_time(600)
    (record,) = world.service().steps
    assert (record.done, record.message) == (False, "was lost with its node node1, and it is not known how far it came")
    assert len(steps(world)) == 1


def test_a_node_that_refuses_a_step_fails_it():
    world = World(web())
    world.orchestrate()
    world.prepare()
    world.report(one_step(world), TaskState.REJECTED, message="no such image")
    world.pass_time(60)
    assert "its step 1 of 1 (migrate) could not be started: no such image" in world.service().notice


@pytest.mark.parametrize("mode", list(Mode))
def test_a_step_runs_once_in_every_mode(mode):
    nodes = (node("node1"), node("node2"))
    world = World(web(mode=mode, replicas=2), nodes=nodes).rest()
    assert not running(world)
    world.complete(one_step(world))
    world.rest()
    assert len(running(world)) == 2
    for task in running(world):
        world.complete(task) if mode.job else world.fail(task)
    world.pass_time(60)
    assert len(steps(world)) == 1
    assert len(running(world)) == (0 if mode.job else 2)


def test_a_service_without_slots_runs_no_step_until_it_gets_one():
    world = World(web(replicas=0)).rest()
    assert steps(world) == []
    world.deploy(web(replicas=1))
    assert one_step(world.rest())


def test_what_an_earlier_version_of_the_platform_started_needs_no_step():
    world = World(web(replicas=2)).rest()
    for task in in_slots(world):
        world.force(replace(task, desired_state=TaskState.RUNNING))
        world.run(task)
    (step,) = steps(world)
    world.writer = Writer.REAPER
    world.delete(step)
    world.rest()
    world.fail(running(world)[0])
    world.pass_time(30)
    assert steps(world) == []
    assert len(running(world)) == 2


def test_taking_the_app_down_stops_a_step_and_coming_back_runs_it_anew():
    world = World(web()).rest()
    stopped = one_step(world)
    world.down()
    world.rest()
    assert world.get(Task, stopped.id).state is TaskState.SHUTDOWN
    world.deploy(web())
    world.rest()
    assert one_step(world).id != stopped.id


def test_a_service_that_leaves_waits_for_steps_of_those_that_depend_on_it():
    db = spec("db", "db:1")
    world = World(db, web(depends_on=(needs("db"),))).rest()
    step = one_step(world)
    world.down()
    world.orchestrate()
    world.orchestrate()
    assert world.one("db").desired_state is TaskState.RUNNING
    world.report(step, TaskState.SHUTDOWN)
    world.rest()
    assert world.live("db") == []


def test_the_reaper_keeps_five_steps_and_every_one_whose_end_is_not_remembered():
    world = World(web())
    for number in range(8):
        world.deploy(web(f"web:{number}"))
        world.rest()
        world.complete(one_step(world))
        if number < 7:
            world.rest()
        world.pass_time(60) if number < 7 else None
    unseen = steps(world)[-1]
    assert unseen.id not in {record.task_id for record in world.service().steps}
    world.force(replace(world.service(), steps=world.service().steps[2:]))
    gone = {obj.id for obj in leftovers(world, "shop", world.now) if isinstance(obj, Task) and obj.step >= 0}
    kept = [task for task in steps(world) if task.id not in gone]
    assert len(gone) == 1
    assert [task.id for task in kept[:2]] == [task.id for task in steps(world)[:2]], "not remembered, so kept"
    assert unseen in kept


def test_a_step_fits_where_the_tasks_fill_the_node():
    room = {"reservations": Resources(cpu_nano=3_000_000_000)}
    world = World(web(task=room)).rest()
    world.complete(one_step(world))
    world.pass_time(60)
    assert len(running(world)) == 1
    world.deploy(web("web:2", task=room))
    assert one_step(world.rest()).state is TaskState.RUNNING


@examples(50)
@given(st.integers(0, 10_000))
def test_no_step_ever_runs_twice_for_a_fingerprint_whatever_happens(seed):
    chance = random.Random(seed)
    hooks = HOOKS if chance.random() < 0.5 else HOOKS[:1]
    world = World(web(hooks=hooks, replicas=2), seed=seed)
    world.force(replace(world.get(App, "shop"), deployed_at=0.0))
    for _ in range(40):
        what = chance.random()
        live = [task for task in world.find(Task) if task.state is TaskState.RUNNING]
        if what < 0.15:
            world.deploy(web(f"web:{chance.randrange(3)}", hooks=hooks, replicas=chance.randrange(4)))
        elif what < 0.4 and live:
            chance.choice([world.fail, world.complete])(chance.choice(live))
        elif what < 0.7:
            world.turn()
        elif what < 0.8:
            world.reap()
        else:
            world.now += chance.choice([0.1, 5.0, 400.0])
            world.orchestrate()
        world.orchestrate()
        assert world.settled()
        _check(world)


def _check(world):
    service = world.get(Service, "shop/web")
    done = {(record.fingerprint, record.index) for record in service.steps if record.done}
    tried = [(task.fingerprint, task.step) for task in steps(world) if task.state is not TaskState.SHUTDOWN]
    assert len(tried) == len(set(tried)), "once for a fingerprint"
    assert sum(1 for task in steps(world) if task.state is TaskState.RUNNING) <= 1
    for task in in_slots(world):
        if task.desired_state is TaskState.RUNNING and task.fingerprint == scene(world).fingerprint:
            assert all((task.fingerprint, index) in done for index in _indexes(service))


def _indexes(service):
    return [index for index, hook in enumerate(service.spec.task.pre_start) if not hook.per_replica]
