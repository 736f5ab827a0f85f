"""What the orchestrator says of a rollout, and what it makes of each kind of good and bad release."""

import pytest

from pilothouse.control.orchestrators.scene import is_ready
from pilothouse.model.container import ContainerSpec, Healthcheck
from pilothouse.model.objects import Health, Service
from pilothouse.model.release import ReleaseKind
from pilothouse.model.rollout import RolloutState
from pilothouse.model.spec import (
    Condition,
    Mode,
    ReleasePolicy,
    RestartCondition,
    RestartPolicy,
    UpdateOrder,
    UpdatePolicy,
)
from pilothouse.model.states import TaskState
from tests.control.world import World, needs, spec

CHECK = Healthcheck(test=("CMD", "true"))
STOP_FIRST = UpdatePolicy(order=UpdateOrder.STOP_FIRST)
S = RolloutState


def checked(image="web:1", name="web", **fields):
    return spec(name, container=ContainerSpec(image=image, healthcheck=CHECK), **fields)


def stable(*services):
    """A shop whose first release has come to its end."""
    world = World()
    world.release(*services)
    world.rest()
    world.pass_time(60)
    assert {service.rollout.state for service in world.find(Service)} == {S.DONE}
    return world


def said(world, service="web"):
    found = world.service(service).rollout
    return found.release, found.state


def of(world, image):
    return [task for task in world.live() if task.spec.container.image == image]


def begun(world, image):
    return [task for task in of(world, image) if task.desired_state is TaskState.RUNNING]


def fail_new(world, image, **ending):
    for task in of(world, image):
        if task.state is TaskState.RUNNING:
            world.fail(task, 7, **ending)


def test_a_first_release_is_done_once_its_tasks_are_ready_and_have_run_for_a_moment():
    world = World()
    world.release(spec(replicas=2))
    world.orchestrate()
    assert said(world) == (1, S.ROLLING)
    world.rest()
    assert said(world) == (1, S.ROLLING)
    world.pass_time(0.5)
    assert said(world) == (1, S.DONE)


def test_a_good_release_rolls_settles_is_watched_and_is_done():
    world = stable(checked(replicas=4))
    world.release(checked("web:2", replicas=4))
    world.orchestrate()
    assert said(world) == (2, S.ROLLING)
    assert world.service().rollout.sentence == "replaces 1 task at a time; new tasks are ready before old ones stop"
    began = world.now
    world.pass_time(9)
    assert len(begun(world, "web:2")) == 1, "nothing goes on before it has settled"
    world.pass_time(32)
    assert (said(world), len(world.live())) == ((2, S.DONE), 4)
    assert began + 40 <= world.service().rollout.since <= began + 41
    assert len(begun(world, "web:2")) == 4


def test_a_long_monitor_gates_no_step_but_the_end():
    hurried = {"update": UpdatePolicy(monitor_seconds=30), "release": ReleasePolicy(settle_seconds=0)}
    world = stable(checked(replicas=4, **hurried))
    world.release(checked("web:2", replicas=4, **hurried))
    world.rest()
    assert len(begun(world, "web:2")) == 4
    assert said(world) == (2, S.MONITORING)
    world.pass_time(29)
    assert said(world) == (2, S.MONITORING)
    world.pass_time(2)
    assert said(world) == (2, S.DONE)


def test_every_service_answers_for_the_newest_release_also_one_that_it_leaves_alone():
    world = stable(checked(replicas=2), checked("db:1", "db"))
    world.release(checked(replicas=2), checked("db:2", "db"))
    world.orchestrate()
    assert said(world) == (2, S.DONE)
    assert said(world, "db") == (2, S.ROLLING)


def test_a_task_that_dies_soon_after_it_was_ready_stops_the_release_and_is_its_evidence():
    world = stable(checked(replicas=4))
    world.release(checked("web:2", replicas=4))
    world.pass_time(3)
    fail_new(world, "web:2", log_tail=("no table users",))
    world.rest()
    rollout = world.service().rollout
    assert rollout.state is S.FAILED
    assert (rollout.evidence.task, rollout.evidence.log_tail) == ("web.1", ("no table users",))
    assert rollout.sentence == "the new web.1 exited with code 7 after 3 s, 3 s after it had become ready"
    world.pass_time(3600)
    assert len([task for task in of(world, "web:1") if is_ready(task)]) == 4
    assert world.service().rollout == rollout, "it is said once"
    assert "what ran before is being restored" in world.service().notice


@pytest.mark.parametrize("order", UpdateOrder)
def test_a_task_that_its_node_refuses_fails_the_release_and_costs_no_old_one(order):
    update = UpdatePolicy(order=order)
    world = stable(checked(replicas=3, update=update))
    world.release(checked("web:2", replicas=3, update=update))
    world.orchestrate()
    world.prepare()
    world.report(of(world, "web:2")[0], TaskState.REJECTED, message="no such device")
    world.rest()
    assert said(world) == (2, S.FAILED)
    assert "could not be started: no such device" in world.service().rollout.sentence
    assert len([task for task in of(world, "web:1") if is_ready(task)]) == 3


def test_a_task_whose_checks_gave_it_up_before_it_was_ever_ready_fails_the_release_at_once():
    world = stable(checked())
    world.release(checked("web:2"))
    world.orchestrate()
    world.prepare()
    (new,) = of(world, "web:2")
    world.run(new, ready=False, health=Health.STARTING)
    world.now += 5
    world.report(
        new, TaskState.FAILED, health=Health.UNHEALTHY, message="its health check failed", finished_at=world.now
    )
    world.orchestrate()
    assert world.service().rollout.sentence == "the new web.1 never became ready: its health check failed"


def test_a_task_that_crashes_before_it_is_ready_gets_three_tries():
    world = stable(checked())
    world.release(checked("web:2"))
    for tries in range(1, 4):
        world.orchestrate()
        world.prepare()
        (new,) = of(world, "web:2")
        assert said(world) == (2, S.ROLLING), tries
        world.now = max(world.now, new.not_before)
        world.orchestrate()
        world.run(new, ready=False, health=Health.STARTING)
        world.fail(new)
    world.orchestrate()
    assert said(world) == (2, S.FAILED)
    assert len([task for task in of(world, "web:1") if is_ready(task)]) == 1


def test_a_task_that_is_not_ready_by_the_deadline_fails_the_release():
    release = ReleasePolicy(deadline_seconds=90)
    world = stable(checked(release=release))
    world.release(checked("web:2", release=release))
    world.orchestrate()
    world.prepare()
    world.run(of(world, "web:2")[0], ready=False, health=Health.STARTING)
    world.pass_time(89)
    assert said(world) == (2, S.ROLLING)
    world.pass_time(2)
    assert said(world) == (2, S.FAILED)
    assert "has not become ready in 90 s (its health check has not passed)" in world.service().rollout.sentence


def test_as_many_may_fail_as_the_ratio_says():
    update = UpdatePolicy(max_failure_ratio=0.25)
    world = stable(spec(replicas=4, update=update))
    world.release(spec(image="web:2", replicas=4, update=update))
    for _ in range(200):
        world.rest()
        for task in begun(world, "web:2"):
            if task.slot == 1 and task.state is TaskState.RUNNING:
                world.fail(task)
        if said(world)[1] is S.DONE:
            break
        world.pass_time(1)
    assert said(world) == (2, S.DONE)
    assert world.service().rollout.sentence == "web.1 failed, as many as may"
    assert {task.slot for task in of(world, "web:2") if is_ready(task)} == {2, 3, 4}


def test_continue_goes_on_whatever_fails():
    update = UpdatePolicy(failure_action="continue")
    world = stable(spec(replicas=3, update=update))
    world.release(spec(image="web:2", replicas=3, update=update))
    for _ in range(60):
        world.rest()
        fail_new(world, "web:2")
        world.pass_time(1)
        assert said(world)[1] is not S.FAILED
    assert {task.slot for task in of(world, "web:2")} == {1, 2, 3}


def test_a_person_who_resumes_forgives_what_failed_before():
    update = UpdatePolicy(failure_action="pause")
    world = stable(spec(replicas=2, update=update))
    world.release(spec(image="web:2", replicas=2, update=update))
    world.pass_time(2)
    fail_new(world, "web:2")
    world.rest()
    assert said(world) == (2, S.FAILED)
    assert "`pilothouse resume shop` to go on" in world.service().notice
    world.pass_time(300)
    assert said(world) == (2, S.FAILED), "it does not go on by itself"
    assert len(of(world, "web:1")) == 2
    world.resume()
    world.rest()
    assert said(world) == (2, S.ROLLING)
    world.pass_time(60)
    assert said(world) == (2, S.DONE)
    assert len(of(world, "web:2")) == 2


def test_a_failure_after_a_resume_stops_it_again():
    update = UpdatePolicy(failure_action="pause")
    world = stable(spec(replicas=2, update=update))
    world.release(spec(image="web:2", replicas=2, update=update))
    world.pass_time(2)
    fail_new(world, "web:2")
    world.rest()
    assert said(world) == (2, S.FAILED)
    since = world.service().rollout.since
    world.now += 1
    world.resume()
    world.rest()
    fail_new(world, "web:2")
    world.rest()
    assert said(world) == (2, S.ROLLING), "that one was made before"
    world.pass_time(2)
    fail_new(world, "web:2")
    world.rest()
    assert said(world) == (2, S.FAILED)
    assert world.service().rollout.since > since


def test_while_an_update_is_stopped_or_paused_what_is_old_comes_back_as_it_was():
    for hold in ("stop", "pause"):
        update = UpdatePolicy(failure_action="pause")
        world = stable(spec(replicas=4, update=update))
        world.release(spec(image="web:2", replicas=4, update=update))
        world.pass_time(2)
        if hold == "stop":
            fail_new(world, "web:2")
        else:
            world.pause()
        world.rest()
        for task in of(world, "web:1"):
            world.fail(task)
        world.pass_time(30)
        assert {task.slot for task in of(world, "web:1") if is_ready(task)} >= {2, 3, 4}, hold
        assert len(begun(world, "web:2")) <= 1, hold


def test_a_paused_rollout_begins_no_slot_and_stops_no_old_task_and_goes_on_when_resumed():
    world = stable(checked(replicas=3))
    world.release(checked("web:2", replicas=3))
    world.rest()
    world.pause()
    world.pass_time(100)
    assert said(world) == (2, S.PAUSED)
    assert (len(begun(world, "web:2")), len(of(world, "web:1"))) == (1, 3)
    world.resume()
    world.pass_time(60)
    assert said(world) == (2, S.DONE)


def test_a_rollback_restores_what_still_runs_without_touching_it_and_withdraws_the_rest():
    world = stable(checked(replicas=4))
    old = {task.id for task in of(world, "web:1")}
    world.release(checked("web:2", replicas=4))
    world.pass_time(3)
    fail_new(world, "web:2")
    world.rest()
    world.now += 1
    world.release(checked(replicas=4), kind=ReleaseKind.ROLLBACK, undoes=2)
    world.rest()
    assert {task.id for task in world.live()} == old
    assert said(world) == (3, S.DONE)
    assert world.service().notice == ""


def test_a_rollback_late_in_a_rollout_does_not_settle_again():
    hurried = {"update": UpdatePolicy(monitor_seconds=5), "release": ReleasePolicy(settle_seconds=0)}
    unhurried = UpdatePolicy(monitor_seconds=5)
    world = stable(checked(replicas=4, **hurried))
    world.release(checked("web:2", replicas=4, **hurried))
    world.rest()
    assert len(of(world, "web:2")) == 4
    world.now += 1
    world.release(checked(replicas=4, update=unhurried, rollback=unhurried), kind=ReleaseKind.ROLLBACK, undoes=2)
    world.rest()
    assert len(of(world, "web:1")) == 4
    assert said(world) == (3, S.MONITORING)


def test_without_a_stable_release_a_failing_one_is_tried_on_and_done_when_it_recovers():
    world = World()
    world.release(checked())
    for _ in range(3):
        world.rest()
        world.now = max(world.now, world.one().not_before)
        world.rest()
        world.fail(world.one())
        world.orchestrate()
    assert said(world) == (1, S.FAILED)
    world.pass_time(120)
    assert said(world) == (1, S.DONE)


def test_a_service_waits_for_what_it_depends_on_and_says_for_what():
    shop = (checked("db:1", "db"), checked(depends_on=(needs("db", Condition.HEALTHY),)))
    world = World()
    world.release(*shop)
    world.orchestrate()
    assert said(world) == (1, S.WAITING)
    assert world.service().rollout.sentence == "waits for db to be healthy"
    world.rest()
    world.pass_time(1)
    assert said(world) == (1, S.DONE)


def test_a_job_is_done_when_it_has_completed_and_failed_when_it_is_not_tried_again():
    once = RestartPolicy(condition=RestartCondition.NONE)
    world = World()
    world.release(spec(mode=Mode.REPLICATED_JOB), spec("bad", mode=Mode.REPLICATED_JOB, restart=once))
    world.rest()
    assert said(world) == (1, S.ROLLING)
    world.complete(world.one())
    world.fail(world.one("bad"), 3)
    world.rest()
    assert said(world) == (1, S.DONE)
    assert said(world, "bad") == (1, S.FAILED)
    assert world.service("bad").rollout.evidence.cause == "the job bad.1 exited with code 3 after 0.0 s"


def test_a_service_that_runs_to_its_end_is_done_when_it_has():
    world = World()
    world.release(spec(restart=RestartPolicy(condition=RestartCondition.ON_FAILURE)))
    world.rest()
    world.complete(world.one())
    world.rest()
    assert said(world) == (1, S.DONE)


def test_a_global_service_without_a_place_waits():
    world = World(nodes=())
    world.release(spec(mode=Mode.GLOBAL))
    world.rest()
    assert (said(world), world.service().rollout.sentence) == (
        (1, S.WAITING), "no node meets its placement constraints",
    )  # fmt: skip


def test_a_stop_first_update_prepares_the_next_slot_while_the_present_one_is_in_motion():
    update = UpdatePolicy(order=UpdateOrder.STOP_FIRST, monitor_seconds=0)
    world = stable(checked(replicas=3, update=update))
    world.release(checked("web:2", replicas=3, update=update))
    world.orchestrate()
    world.prepare()
    first, second = sorted(of(world, "web:2"), key=lambda task: task.slot)
    for task in (first, second):
        world.report(task, TaskState.READY)
    world.orchestrate()
    assert [task.slot for task in of(world, "web:1") if task.desired_state is TaskState.SHUTDOWN] == [1]
    world.obey()
    world.orchestrate()
    assert [task.slot for task in begun(world, "web:2")] == [1]
    world.run(first, ready=True, health=Health.HEALTHY)
    world.orchestrate()
    assert [task.slot for task in of(world, "web:1") if task.desired_state is TaskState.SHUTDOWN] == [2]
    assert {task.slot for task in of(world, "web:2")} == {1, 2, 3}


def test_a_start_first_update_begins_the_next_slot_when_the_old_task_was_told_to_stop():
    update = UpdatePolicy(monitor_seconds=0)
    world = stable(checked(replicas=3, update=update))
    world.release(checked("web:2", replicas=3, update=update))
    world.orchestrate()
    world.prepare()
    first, second = sorted(of(world, "web:2"), key=lambda task: task.slot)
    assert [task.desired_state for task in (first, second)] == [TaskState.RUNNING, TaskState.READY]
    world.run(first, ready=True, health=Health.HEALTHY)
    world.orchestrate()
    assert [task.slot for task in of(world, "web:1") if task.desired_state is TaskState.SHUTDOWN] == [1]
    assert [task.slot for task in begun(world, "web:2")] == [1, 2]


def test_what_is_not_tried_any_more_fails_the_next_release_too_until_a_person_has_it_go_on():
    once = RestartPolicy(condition=RestartCondition.NONE)
    bad = (spec("job", mode=Mode.REPLICATED_JOB, restart=once), checked("db:1", "db", restart=once))
    world = World()
    world.release(*bad)
    world.rest()
    world.fail(world.one("job"))
    world.run(world.one("db"), ready=False, health=Health.STARTING)
    world.fail(world.one("db"))
    world.rest()
    world.now += 100
    world.release(*bad, spec(), base=0)
    world.pass_time(10)
    assert (said(world, "job"), said(world, "db"), said(world)) == ((2, S.FAILED), (2, S.FAILED), (2, S.DONE))
    world.resume()
    world.rest()
    assert (said(world, "job"), said(world, "db")) == ((2, S.ROLLING), (2, S.ROLLING))
    world.complete(world.one("job"))
    world.pass_time(10)
    assert (said(world, "job"), said(world, "db")) == ((2, S.DONE), (2, S.DONE))


def test_a_failure_of_an_earlier_release_condemns_no_later_one_of_the_same_content_whatever_the_clock_said():
    world = stable(checked(update=STOP_FIRST))
    world.now += 3600
    world.fail(world.one(), 137)
    world.orchestrate()
    world.prepare()
    world.run(world.one())
    world.fail(world.one(), 137)
    world.now -= 3600
    world.release(checked("web:2", update=STOP_FIRST))
    world.turn()
    number = world.release(checked("web:1", update=STOP_FIRST)).number
    world.rest()
    world.pass_time(60)
    assert said(world) == (number, S.DONE), world.service().rollout


def test_what_was_prepared_for_an_undone_release_does_not_start_beside_the_present_task():
    both = {"update": STOP_FIRST, "rollback": STOP_FIRST}
    world = stable(checked("web:2", **both))
    world.release(checked("web:1", **both))
    world.rest()
    world.pass_time(3)
    world.release(checked("web:2", **both))
    while len(world.live()) == 1:
        world.orchestrate()
    (prepared,) = [task for task in world.live() if task.spec.container.image == "web:2"]
    assert prepared.desired_state is TaskState.READY
    world.release(checked("web:1", **both), kind=ReleaseKind.ROLLBACK)
    for _ in range(5):
        assert world.get(type(prepared), prepared.id).desired_state is not TaskState.RUNNING
        world.turn()
    world.pass_time(60)
    assert {task.spec.container.image for task in world.live()} == {"web:1"}
