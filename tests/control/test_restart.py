"""A dead task is followed by another: at once, later and later, or not at all, as its history says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.backoff import delay_seconds
from pilothouse.control.orchestrators.restart import Next, after
from pilothouse.model.spec import RestartCondition, RestartPolicy
from pilothouse.model.states import TaskState
from tests.control.world import World, spec


def _crash(world, code=1, after_seconds=1.0):
    task = world.one()
    world.now = max(world.now, task.not_before)
    world.rest()
    world.now += after_seconds
    return world.fail(task, code)


def test_the_first_crash_is_repaired_at_once_in_the_same_slot():
    world = World(spec()).rest()
    dead = _crash(world)
    world.orchestrate()
    new = world.one()
    assert (new.slot, new.failures, new.not_before, new.replaces) == (1, 1, world.now, dead.id)
    assert new.desired_state is TaskState.RUNNING
    assert new.reason == "the task before it exited with code 1 after 1 s"


def test_a_crash_loop_backs_off_doubling_from_one_second_with_a_fifth_of_jitter():
    world = World(spec()).rest()
    waits = []
    for _ in range(12):
        _crash(world)
        world.orchestrate()
        waits.append(world.one().not_before - world.now)
    plain = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert all(0.8 * want <= wait <= 1.2 * want for wait, want in zip(waits, plain, strict=True))


def test_a_replacement_in_back_off_is_prepared_but_not_started_and_says_what_it_waits_for():
    world = World(spec()).rest()
    for _ in range(4):
        _crash(world)
        world.orchestrate()
    world.rest()
    waiting = world.one()
    assert waiting.state is TaskState.READY
    assert "before the next attempt, after 4 failures in a row" in waiting.desired_reason
    assert world.wake == {"shop/web": waiting.not_before}
    world.now = waiting.not_before
    world.rest()
    assert world.one().state is TaskState.RUNNING


def test_fifty_failures_park_the_slot_with_a_notice_and_a_changed_spec_unparks_it():
    world = World(spec()).rest()
    for _ in range(50):
        _crash(world)
        world.orchestrate()
    assert world.live() == []
    assert "web.1 is parked: it failed 50 times in a row" in world.service().notice
    assert world.settled()
    world.deploy(spec(image="web:2"))
    world.rest()
    assert world.one().state is TaskState.RUNNING
    assert world.one().failures == 0
    assert world.service().notice == ""


def test_a_requested_restart_unparks():
    world = World(spec(restart=RestartPolicy(max_attempts=1))).rest()
    for _ in range(2):
        _crash(world)
        world.orchestrate()
    assert world.live() == []
    world.force(replace(world.service(), restarts_requested=1))
    world.rest()
    assert world.one().state is TaskState.RUNNING


def test_a_task_that_ran_ten_minutes_had_worked_so_its_crash_is_the_first_again():
    world = World(spec()).rest()
    for _ in range(5):
        _crash(world)
        world.orchestrate()
    _crash(world, after_seconds=601)
    world.orchestrate()
    assert world.one().failures == 0
    assert world.one().desired_state is TaskState.RUNNING


def test_a_slow_starter_must_run_twice_as_long_as_it_took_to_start():
    task = World(spec()).rest().one()
    status = replace(task.status, started_at=task.created_at + 400, finished_at=task.created_at + 1100)
    dead = replace(task, state=TaskState.FAILED, status=status)
    assert after(dead, RestartPolicy(), task.created_at + 1100).failures == 1
    status = replace(status, finished_at=task.created_at + 1200)
    assert after(replace(dead, status=status), RestartPolicy(), task.created_at + 1200).failures == 0


def test_a_clean_exit_is_no_failure_but_not_repeated_in_less_than_a_second():
    world = World(spec()).rest()
    world.now += 0.25
    world.complete(world.one())
    world.orchestrate()
    assert world.one().failures == 0
    assert world.one().not_before == pytest.approx(world.now + 0.75)


def test_a_clean_exit_after_work_is_followed_at_once():
    world = World(spec()).rest()
    world.now += 30
    world.complete(world.one())
    world.orchestrate()
    assert world.one().desired_state is TaskState.RUNNING


@pytest.mark.parametrize(
    ("condition", "code", "expected"),
    [
        (RestartCondition.ANY, 0, Next.LATER),
        (RestartCondition.ANY, 1, Next.NOW),
        (RestartCondition.ON_FAILURE, 0, Next.LEAVE),
        (RestartCondition.ON_FAILURE, 1, Next.NOW),
        (RestartCondition.NONE, 0, Next.LEAVE),
        (RestartCondition.NONE, 1, Next.LEAVE),
    ],
)
def test_the_condition_says_which_ends_call_for_another(condition, code, expected):
    world = World(spec()).rest()
    dead = world.fail(world.one(), code) if code else world.complete(world.one())
    assert after(dead, RestartPolicy(condition=condition), world.now).next is expected


def test_a_written_delay_and_a_written_number_of_attempts_win():
    world = World(spec(restart=RestartPolicy(delay_seconds=7, max_attempts=2))).rest()
    for _ in range(2):
        _crash(world)
        world.orchestrate()
        assert world.one().not_before == world.now + 7
    _crash(world)
    world.orchestrate()
    assert world.live() == []
    assert "failed 3 times in a row" in world.service().notice


def test_a_rejected_task_counts_as_a_failure():
    world = World(spec())
    world.orchestrate()
    world.prepare()
    world.report(world.one(), TaskState.REJECTED, message="no such image")
    world.orchestrate()
    assert world.one().failures == 1
    assert world.one().reason == "the task before it could not be started: no such image"


@given(st.integers(0, 49), st.floats(0, 599), st.floats(0, 10_000))
def test_the_back_off_is_the_pure_rule_whatever_the_history(failures, ran, later):
    world = World(spec()).rest()
    task = replace(world.one(), failures=failures)
    status = replace(task.status, started_at=1000.0, finished_at=1000.0 + ran)
    dead = replace(task, state=TaskState.FAILED, status=status)
    verdict = after(dead, RestartPolicy(), 1000.0 + ran + later)
    if failures == 49:
        assert verdict.next is Next.PARKED
        return
    low = delay_seconds(failures + 1, fraction=0.0)
    high = delay_seconds(failures + 1, fraction=1.0)
    assert verdict.failures == failures + 1
    assert 1000.0 + ran + low <= verdict.not_before <= 1000.0 + ran + high
    assert verdict.next is (Next.LATER if verdict.not_before > 1000.0 + ran + later else Next.NOW)
