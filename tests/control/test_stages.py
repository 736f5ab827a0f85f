"""Canary and blue/green: new tasks beside the old ones, as far as the stage says, until promoted or taken back."""

from pilothouse.control.orchestrators.scene import is_ready
from pilothouse.model.release import ReleaseKind
from pilothouse.model.rollout import RolloutState
from pilothouse.model.spec import Mode, ReleasePolicy, Strategy
from pilothouse.model.states import TaskState
from tests.control.test_rollouts import begun, checked, fail_new, of, said, stable
from tests.control.world import World

S = RolloutState
CANARY = ReleasePolicy(strategy=Strategy.CANARY)
BLUE_GREEN = ReleasePolicy(strategy=Strategy.BLUE_GREEN)


def canary(image="web:1", replicas=4, release=CANARY, **fields):
    return checked(image, replicas=replicas, release=release, **fields)


def staged(tasks=1, release=CANARY):
    """A second release is beside the first one as far as its first stage says."""
    world = stable(canary(release=release))
    world.release(canary("web:2", release=release))
    world.rest()
    world.stage(tasks=tasks)
    world.pass_time(11)
    return world


def test_nothing_begins_before_the_first_stage_is_decided():
    world = stable(canary())
    world.release(canary("web:2"))
    world.pass_time(100)
    assert of(world, "web:2") == []
    assert said(world) == (2, S.HELD)
    assert world.service().rollout.held == 0


def test_the_first_slots_have_a_new_task_beside_the_old_one_and_are_held_once_settled():
    world = stable(canary())
    world.release(canary("web:2"))
    world.rest()
    world.stage(tasks=2)
    world.pass_time(9)
    assert said(world) == (2, S.ROLLING)
    world.pass_time(2)
    assert said(world) == (2, S.HELD)
    assert world.service().rollout.held == 2
    assert [task.slot for task in of(world, "web:2")] == [1, 2]
    assert len(of(world, "web:1")) == 4
    world.pass_time(3600)
    assert (said(world), len(world.live())) == ((2, S.HELD), 6)


def test_a_wider_stage_adds_new_tasks_and_says_for_how_many_it_holds():
    world = staged(tasks=1)
    world.stage(tasks=3, step=1, weight=25)
    world.orchestrate()
    assert said(world) == (2, S.ROLLING)
    world.pass_time(11)
    assert (said(world), world.service().rollout.held) == ((2, S.HELD), 3)


def test_a_promoted_canary_goes_on_slot_by_slot():
    world = staged(tasks=1)
    world.stage(tasks=1, promoted=True)
    world.orchestrate()
    assert [task.slot for task in of(world, "web:1") if task.desired_state is TaskState.SHUTDOWN] == [1]
    assert len(begun(world, "web:2")) == 2, "one at a time"
    world.pass_time(60)
    assert said(world) == (2, S.DONE)
    assert (len(of(world, "web:1")), len(of(world, "web:2"))) == (0, 4)


def test_blue_green_has_every_new_task_beside_and_once_promoted_stops_every_old_one():
    world = staged(tasks=4, release=BLUE_GREEN)
    assert said(world) == (2, S.HELD)
    assert (len(of(world, "web:1")), len(of(world, "web:2"))) == (4, 4)
    world.stage(tasks=4, weight=100, promoted=True)
    world.orchestrate()
    assert len([task for task in of(world, "web:1") if task.desired_state is TaskState.SHUTDOWN]) == 4
    world.rest()
    assert said(world)[1] in {S.MONITORING, S.DONE}
    assert len(of(world, "web:2")) == 4


def test_a_canary_that_dies_stops_the_release_and_leaves_every_old_task():
    world = staged(tasks=2)
    world.stage(tasks=3, step=1)
    world.rest()
    old = {task.id for task in of(world, "web:1")}
    fail_new(world, "web:2")
    world.rest()
    assert said(world) == (2, S.FAILED)
    world.now += 1
    world.release(canary(), kind=ReleaseKind.ROLLBACK, undoes=2)
    world.rest()
    assert {task.id for task in world.live()} == old, "no old task was stopped"
    assert said(world) == (3, S.DONE)


def test_an_old_task_that_dies_in_a_stage_is_made_again_as_it_was_also_beside_a_new_one():
    world = staged(tasks=2)
    for task in of(world, "web:1"):
        world.fail(task)
    world.pass_time(30)
    assert [task.slot for task in of(world, "web:1") if is_ready(task)] == [1, 2, 3, 4]
    assert [task.slot for task in of(world, "web:2")] == [1, 2]
    assert said(world) == (2, S.HELD)


def test_a_service_that_a_release_leaves_as_it_was_has_no_stage():
    world = stable(canary(), checked("db:1", "db"))
    world.release(canary(), checked("db:2", "db"))
    world.pass_time(60)
    assert (said(world), said(world, "db")) == ((2, S.DONE), (2, S.DONE))


def test_what_was_taken_back_by_a_deployment_needs_no_stage():
    world = staged(tasks=2)
    world.release(canary())
    world.rest()
    assert {task.spec.container.image for task in world.live()} == {"web:1"}
    assert said(world) == (3, S.DONE)


def test_a_job_is_run_at_once_whatever_strategy_it_names():
    job = checked("web:1", mode=Mode.REPLICATED_JOB, release=CANARY)
    world = stable_job(job)
    world.release(checked("web:2", mode=Mode.REPLICATED_JOB, release=CANARY))
    world.rest()
    assert len(of(world, "web:2")) == 1


def stable_job(job):
    world = World()
    world.release(job)
    world.rest()
    world.complete(world.one())
    return world.rest()


def test_a_paused_stage_makes_no_further_new_task():
    world = staged(tasks=1)
    world.pause()
    world.stage(tasks=3)
    world.pass_time(60)
    assert [task.slot for task in of(world, "web:2")] == [1]
    assert said(world) == (2, S.PAUSED)
