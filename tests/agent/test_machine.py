"""The life of one task: state in, instruction and state out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent.ending import ending_of
from pilothouse.agent.machine import Checks, Do, Life, Outcome, Seen, after, begin, decide, report
from pilothouse.agent.runtime.interface import ContainerState, ExitStatus
from pilothouse.model.container import ContainerSpec
from pilothouse.model.names import container_name
from pilothouse.model.objects import Ending, Health, ResolvedImage, Task, TaskStatus
from pilothouse.model.spec import Hook, TaskSpec
from pilothouse.model.states import TRANSITIONS, TaskState, Writer

S = TaskState
ARROWS = TRANSITIONS[Writer.AGENT]
HOOK = (Hook(command=("true",), per_replica=True),)


def task(**changes):
    hooks = {name: changes.pop(name) for name in ("pre_start", "post_start", "pre_stop") if name in changes}
    made = Task(
        id="t00000000001",
        app="shop",
        service="web",
        slot=1,
        spec=TaskSpec(container=ContainerSpec(image="web:1"), **hooks),
        image=ResolvedImage(ref="web:1"),
        fingerprint="f",
        state=S.ASSIGNED,
    )
    return msgspec.structs.replace(made, **changes)


def container(phase, code=0, oom=False):
    ended = ExitStatus(code=code, oom=oom, started_at=1.0, finished_at=2.0) if phase == "exited" else None
    return ContainerState(
        name=container_name(task()), task_id=task().id, id="c1", image_id="sha256:1", phase=phase, exit=ended
    )


def seen(phase="gone", checks=None, **exit):
    return Seen(container=None if phase == "gone" else container(phase, **exit), checks=checks or Checks())


def life(state, **changes):
    return Life(state=state, touched=True, prepared=True, **changes)


def test_an_assigned_task_is_accepted_and_prepared():
    step = decide(task(), begin(task(), None), seen(), 10.0)
    assert (step.do, step.life.state) == (Do.PREPARE, S.PREPARING)


def test_a_prepared_task_waits_until_it_may_start():
    wanted = task(desired_state=S.READY, desired_reason="waits for db to be healthy")
    step = decide(wanted, life(S.PREPARING), seen("created"), 10.0)
    assert (step.do, step.life.state, step.wake_at) == (Do.NOTHING, S.READY, None)
    assert step.life.message == "prepared; waits for db to be healthy"
    raised = msgspec.structs.replace(wanted, desired_state=S.RUNNING)
    assert decide(raised, step.life, seen("created"), 11.0).do is Do.START


def test_a_task_does_not_start_before_its_time():
    wanted = task(not_before=20.0)
    step = decide(wanted, life(S.READY), seen("created"), 19.9)
    assert (step.do, step.wake_at) == (Do.NOTHING, 20.0)
    assert decide(wanted, step.life, seen("created"), 20.0).do is Do.START


def test_pre_start_hooks_run_before_the_start_and_post_start_hooks_before_it_counts_as_running():
    wanted = task(pre_start=HOOK, post_start=HOOK)
    step = decide(wanted, life(S.READY), seen("created"), 1.0)
    assert (step.do, step.life.state) == (Do.PRE_START, S.STARTING)
    step = decide(wanted, after(wanted, step.life, step.do, Outcome(), 1.0), seen("created"), 1.0)
    assert step.do is Do.START
    step = decide(wanted, after(wanted, step.life, step.do, Outcome(), 1.0), seen("running"), 1.0)
    assert (step.do, step.life.state) == (Do.POST_START, S.STARTING)
    step = decide(wanted, after(wanted, step.life, step.do, Outcome(), 1.0), seen("running"), 1.0)
    assert (step.do, step.life.state) == (Do.NOTHING, S.RUNNING)


def test_a_temporary_error_keeps_the_state_says_so_and_tries_again_with_back_off():
    wanted, now = task(), 100.0
    step = decide(wanted, begin(wanted, None), seen(), now)
    waits = []
    for _ in range(7):
        failed = after(wanted, step.life, Do.PREPARE, Outcome(error="no disk space", retryable=True), now)
        assert (failed.state, failed.message) == (S.PREPARING, "no disk space")
        waits.append(failed.retry_at - now)
        now = failed.retry_at
        assert decide(wanted, failed, seen(), now - 0.01).do is Do.NOTHING
        step = decide(wanted, failed, seen(), now)
        assert step.do is Do.PREPARE
    assert waits == pytest.approx([0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0])


@pytest.mark.parametrize(
    ("do", "state", "ended"),
    [
        (Do.PREPARE, S.PREPARING, S.REJECTED),
        (Do.PREPARE, S.READY, S.REJECTED),
        (Do.PRE_START, S.STARTING, S.FAILED),
        (Do.START, S.STARTING, S.FAILED),
    ],
)
def test_a_permanent_error_rejects_before_the_start_and_fails_after(do, state, ended):
    over = after(task(), life(state), do, Outcome(error="no such command"), 5.0)
    assert (over.state, over.message, over.since) == (ended, "no such command", 5.0)
    assert decide(task(), over, seen("created"), 5.0).do is Do.CLEAN


def test_a_failed_post_start_hook_stops_the_container_and_fails_the_task():
    wanted = task(post_start=HOOK)
    failing = after(wanted, life(S.STARTING), Do.POST_START, Outcome(error="post_start ended with exit code 1"), 5.0)
    step = decide(wanted, failing, seen("running"), 5.0)
    assert step.do is Do.STOP
    step = decide(wanted, step.life, seen("exited", code=143), 6.0)
    assert step.do is Do.COLLECT
    over = after(wanted, step.life, Do.COLLECT, Outcome(ending=Ending(exit_code=143)), 6.0)
    assert (over.state, over.message) == (S.FAILED, "post_start ended with exit code 1")


@pytest.mark.parametrize(
    ("exit", "state", "message"),
    [
        ({"code": 0}, S.COMPLETE, "finished with exit code 0"),
        ({"code": 3}, S.FAILED, "ended with exit code 3"),
        ({"code": 137}, S.FAILED, "ended with exit code 137 (killed by SIGKILL)"),
        ({"code": 137, "oom": True}, S.FAILED, "ran out of memory"),
        ({"code": 255}, S.FAILED, "ended with exit code 255"),
    ],
)
@pytest.mark.parametrize("before", [S.PREPARING, S.READY, S.STARTING, S.RUNNING])
def test_the_exit_code_says_how_a_task_ended(exit, state, message, before):
    look = seen("exited", **exit)
    step = decide(task(), life(before), look, 9.0)
    assert step.do is Do.COLLECT
    ending = ending_of(look.container.exit, ("last words",))
    over = after(task(), step.life, Do.COLLECT, Outcome(ending=ending), 9.0)
    said = report(task(), over, look, {})
    assert (said.state, said.status.message, said.status.ending) == (state, message, ending)
    assert (said.status.started_at, said.status.finished_at) == (1.0, 2.0)


def test_a_log_tail_is_the_last_fifty_lines_each_cut_short():
    kept = ending_of(ExitStatus(code=1), tuple(f"{n} {'x' * 2000}" for n in range(80))).log_tail
    assert len(kept) == 50
    assert kept[0].startswith("30 ")
    assert {len(line) for line in kept} == {1000}


def test_a_failing_check_stops_a_running_task_which_then_has_failed():
    bad = Checks(health=Health.UNHEALTHY, ready=False, failing="the live probe failed 3 times")
    step = decide(task(), life(S.RUNNING), seen("running", bad), 1.0)
    assert step.do is Do.STOP
    recovered = decide(task(), step.life, seen("running"), 1.0)
    assert recovered.do is Do.STOP, "a judgement stands"
    over = after(task(), step.life, Do.COLLECT, Outcome(ending=Ending(exit_code=0)), 2.0)
    assert (over.state, over.message) == (S.FAILED, "the live probe failed 3 times")


def test_a_task_says_since_when_it_is_ready_and_after_its_end_when_it_was_and_whether_its_checks_ended_it():
    not_yet, bad = (
        Checks(health=Health.STARTING, ready=False),
        Checks(health=Health.UNHEALTHY, ready=False, failing="x"),
    )
    step = decide(task(), life(S.STARTING), seen("running", not_yet), 1.0)
    assert report(task(), step.life, seen("running", not_yet), {}).status.ready_since is None
    step = decide(task(), step.life, seen("running"), 4.0)
    step = decide(task(), step.life, seen("running"), 5.0)
    assert report(task(), step.life, seen("running"), {}).status.ready_since == 4.0
    again = begin(task(state=S.RUNNING, status=report(task(), step.life, seen("running"), {}).status), None)
    assert (again.ready, again.ready_since) == (True, 4.0)
    step = decide(task(), step.life, seen("running", bad), 6.0)
    over = after(task(), step.life, Do.COLLECT, Outcome(ending=Ending(exit_code=0)), 7.0)
    said = report(task(), over, seen("ended", bad), {}).status
    assert (said.ready, said.ready_since, said.health) == (False, 4.0, Health.UNHEALTHY)
    crashed = after(task(), life(S.RUNNING, ready_since=4.0), Do.COLLECT, Outcome(ending=Ending(exit_code=1)), 7.0)
    assert report(task(), crashed, seen("ended"), {}).status.health is Health.NONE


@pytest.mark.parametrize("phase", ["gone", "created"])
def test_a_task_that_never_ran_is_shut_down_at_once(phase):
    wanted = task(desired_state=S.SHUTDOWN, desired_reason="replaced by t2")
    step = decide(wanted, life(S.READY), seen(phase), 1.0)
    assert (step.do, step.life.state, step.life.message) == (Do.CLEAN, S.SHUTDOWN, "stopped: replaced by t2")


def test_a_shutdown_does_not_wait_for_the_next_attempt():
    wanted = task(desired_state=S.SHUTDOWN)
    assert decide(wanted, life(S.PREPARING, retry_at=99.0), seen(), 1.0).life.state is S.SHUTDOWN


def test_a_wait_left_from_failed_starts_does_not_hold_back_a_stop():
    waiting = life(S.STARTING, attempts=3, retry_at=60.0)
    step = decide(task(desired_state=S.SHUTDOWN), waiting, seen("running"), 1.0)
    assert step.do is Do.STOP
    assert decide(task(desired_state=S.SHUTDOWN), step.life, seen("running"), 1.0) == step


def test_pre_stop_hooks_run_before_the_stop_and_cannot_prevent_it():
    wanted = task(desired_state=S.SHUTDOWN, pre_stop=HOOK)
    step = decide(wanted, life(S.RUNNING), seen("running"), 1.0)
    assert step.do is Do.PRE_STOP
    failed = after(wanted, step.life, Do.PRE_STOP, Outcome(error="no such command"), 2.0)
    step = decide(wanted, failed, seen("running"), 2.0)
    assert step.do is Do.STOP
    refused = after(wanted, step.life, Do.STOP, Outcome(error="the engine is busy"), 2.0)
    assert refused.state is S.RUNNING
    assert decide(wanted, refused, seen("running"), refused.retry_at).do is Do.STOP


def test_a_container_that_was_removed_behind_our_back_fails_the_task():
    step = decide(task(), life(S.RUNNING, last=container("running")), seen(), 1.0)
    assert step.life.state is S.FAILED
    assert "gone" in step.life.message


def test_a_created_container_that_vanished_is_made_again():
    step = decide(task(), life(S.READY), seen(), 1.0)
    assert (step.do, step.life.state) == (Do.PREPARE, S.READY)


@pytest.mark.parametrize("stored", [S.ASSIGNED, S.PREPARING, S.READY, S.STARTING, S.RUNNING])
def test_a_running_container_is_adopted_untouched_whatever_was_stored(stored):
    found = task(state=stored, status=TaskStatus(message="as it was", since=3.0))
    step = decide(found, begin(found, container("running")), seen("running"), 9.0)
    assert (step.do, step.life.state) == (Do.NOTHING, S.RUNNING)
    if stored is S.RUNNING:
        assert (step.life.since, step.life.message) == (3.0, "as it was")


def test_a_dead_task_is_cleaned_up_once_and_then_left_alone():
    wanted = task(state=S.FAILED)
    step = decide(wanted, begin(wanted, container("exited")), seen("exited"), 1.0)
    assert step.do is Do.CLEAN
    busy = after(wanted, step.life, Do.CLEAN, Outcome(error="busy"), 1.0)
    again = after(wanted, busy, Do.CLEAN, Outcome(error="busy"), 1.0)
    assert decide(wanted, again, seen("exited"), 1.0).wake_at == pytest.approx(2.0)
    clean = after(wanted, step.life, Do.CLEAN, Outcome(), 1.0)
    assert decide(wanted, clean, seen(), 1.0).do is Do.NOTHING
    assert decide(wanted, begin(wanted, None), seen(), 1.0).do is Do.NOTHING


PHASES = st.sampled_from(["gone", "created", "running", "paused", "exited", "dead"])
CHECKS = st.sampled_from([Checks(), Checks(health=Health.UNHEALTHY, ready=False, failing="the live probe failed")])
TASKS = st.builds(
    task,
    desired_state=st.sampled_from([S.READY, S.RUNNING, S.SHUTDOWN]),
    not_before=st.sampled_from([0.0, 5.0]),
    pre_start=st.sampled_from([(), HOOK]),
    post_start=st.sampled_from([(), HOOK]),
    pre_stop=st.sampled_from([(), HOOK]),
)
OUTCOMES = st.sampled_from([Outcome(), Outcome(error="later", retryable=True), Outcome(error="never")])
WORLD = st.lists(st.tuples(PHASES, CHECKS, TASKS, OUTCOMES, st.floats(0.0, 3.0)), max_size=25)


@given(WORLD)
def test_whatever_is_seen_the_state_moves_only_along_the_agents_arrows(world):
    alive, now = begin(task(), None), 0.0
    for phase, checks, wanted, outcome, passed in world:
        now += passed
        step = decide(wanted, alive, seen(phase, checks), now)
        assert step.life.state == alive.state or (alive.state, step.life.state) in ARROWS
        done = after(wanted, step.life, step.do, outcome, now) if step.do is not Do.NOTHING else step.life
        assert done.state == step.life.state or (step.life.state, done.state) in ARROWS
        assert done.message or done.state is S.ASSIGNED
        if step.do in {Do.START, Do.PRE_START}:
            assert phase == "created"
            begun = alive.state is S.STARTING
            assert begun or (wanted.desired_state is S.RUNNING and now >= wanted.not_before)
        if step.do in {Do.STOP, Do.PRE_STOP}:
            assert phase in {"running", "paused"}
            assert wanted.desired_state is S.SHUTDOWN or step.life.failing
        if step.life.state.terminal:
            assert step.do in {Do.NOTHING, Do.CLEAN}
        alive = done


@given(WORLD)
def test_deciding_twice_decides_the_same(world):
    alive, now = begin(task(), None), 0.0
    for phase, checks, wanted, outcome, passed in world:
        now += passed
        step = decide(wanted, alive, seen(phase, checks), now)
        assert decide(wanted, step.life, seen(phase, checks), now) == step
        alive = after(wanted, step.life, step.do, outcome, now) if step.do is not Do.NOTHING else step.life


@given(TASKS, st.sampled_from([0, 1, 137]), st.integers(0, 2))
def test_a_task_whose_world_behaves_comes_to_the_end_that_was_asked_for(wanted, code, hiccups):
    """A world that does what it is told: every instruction works after some hiccups, the container exits when told."""
    alive, phase, now, budget = begin(wanted, None), "gone", 0.0, hiccups
    for _ in range(60):
        now += 1.0
        step = decide(wanted, alive, seen(phase, code=code) if phase == "exited" else seen(phase), now)
        alive = step.life
        if step.do is Do.NOTHING:
            if alive.state is S.RUNNING:
                phase = "exited"
            elif alive.state.terminal or (alive.state is S.READY and wanted.desired_state is S.READY):
                break
            continue
        if budget:
            budget -= 1
            alive = after(wanted, alive, step.do, Outcome(error="hiccup", retryable=True), now)
            continue
        phase = {Do.PREPARE: "created", Do.START: "running", Do.STOP: "exited", Do.CLEAN: "gone"}.get(step.do, phase)
        ending = Ending(exit_code=code) if step.do is Do.COLLECT else None
        alive = after(wanted, alive, step.do, Outcome(ending=ending), now)
    expected = {S.READY: S.READY, S.SHUTDOWN: S.SHUTDOWN, S.RUNNING: S.FAILED if code else S.COMPLETE}
    assert alive.state is expected[wanted.desired_state]
    assert phase == ("created" if alive.state is S.READY else "gone")
