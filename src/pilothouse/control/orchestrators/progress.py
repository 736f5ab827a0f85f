"""How far a service is with the newest release of its app, as `Rollout` tells it to the releaser and to people. Pure.

Decided in the same look as the changes and written with them. A sentence says what is waited for in words that do not
change from step to step; numbers are counted by whoever shows them.
"""

import msgspec

from pilothouse.control.orchestrators.course import Course, said_before
from pilothouse.control.orchestrators.endings import duration, how_it_ended
from pilothouse.control.orchestrators.failures import FAILURES_THAT_STOP, is_of_rollout
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.restart import Next, after, forgiving
from pilothouse.control.orchestrators.rollout import Policy, believed_at, policy_of, ready_since, settled_at
from pilothouse.control.orchestrators.scene import Key, Scene, Slot, place_name
from pilothouse.control.orchestrators.vacancy import Gate
from pilothouse.model.counts import count
from pilothouse.model.names import display_name
from pilothouse.model.objects import Task
from pilothouse.model.rollout import Evidence, Rollout, RolloutState
from pilothouse.model.spec import Mode, UpdateOrder
from pilothouse.model.states import TaskState


class _Said(msgspec.Struct, frozen=True):
    state: RolloutState
    sentence: str = ""
    evidence: Evidence | None = None
    held: int = 0


def is_done(scene: Scene) -> bool:
    """Whether the newest release has been brought to its end here, so that only healing is left."""
    before = said_before(scene)
    return before is not None and before.state is RolloutState.DONE


def report(scene: Scene, by_key: dict[Key, Slot], wanted: list[Slot], course: Course, gate: Gate, plan: Plan) -> None:
    """Say how far the rollout over *wanted* is; *by_key* has what lives elsewhere."""
    left = _live_elsewhere(by_key, wanted)
    said = _say(scene, wanted, left, course, gate, plan)
    stopped = said.state is RolloutState.FAILED and course.step is None
    if stopped and any(task.fingerprint != scene.fingerprint for task in scene.tasks):
        plan.notice(f"the update of {scene.service.name} stopped: {said.sentence}; {_advice(scene, course)}")
    write(scene, said.state, said.sentence, said.evidence, plan, held=said.held)


def report_job(scene: Scene, by_key: dict[Key, Slot], wanted: list[Slot], gate: Gate, plan: Plan) -> None:
    """Say how far a job is: done once all its tasks have completed, failed where one ended badly for good."""
    before = said_before(scene)
    if before is not None and _stays_failed(scene, before, policy_of(scene, len(wanted))):
        plan.report(before)
        return
    failed = next((found for slot in wanted if (found := _failed_job(scene, slot, plan.now)) is not None), None)
    if failed is not None:
        write(scene, RolloutState.FAILED, failed.cause, failed, plan)
    elif all(slot.completed and slot.vacant for slot in wanted) and not _live_elsewhere(by_key, wanted):
        write(scene, RolloutState.DONE, "", None, plan)
    elif gate.first:
        write(scene, RolloutState.WAITING, f"waits for {gate.first}", None, plan)
    else:
        write(scene, RolloutState.ROLLING, f"{scene.service.name} runs to its end", None, plan)


def write(
    scene: Scene, state: RolloutState, sentence: str, evidence: Evidence | None, plan: Plan, *, held: int = 0
) -> None:
    """Have the rollout written so; as long as it stays in a state the time it entered it stays too."""
    before = said_before(scene)
    number = scene.app.revision if scene.app else 0
    same = before is not None and before.state is state and not _resumed_since(scene, before)
    since = before.since if before is not None and same else plan.now
    if before is not None and same and before.sentence == sentence:
        evidence = before.evidence
    plan.report(Rollout(release=number, state=state, sentence=sentence, since=since, held=held, evidence=evidence))


def _say(scene: Scene, wanted: list[Slot], left: list[Task], course: Course, gate: Gate, plan: Plan) -> _Said:
    before = said_before(scene)
    # Slots that failed and may fail are left as they are: the rollout ends without them.
    behind = any(slot.outdated for slot in wanted if slot.key not in course.failed)
    if not behind and (is_done(scene) or _unchanged(scene, wanted)):
        return _Said(RolloutState.DONE, before.sentence if before is not None else "")
    if course.stopped:
        return _failed(scene, before, course)
    nowhere = scene.service.spec.mode is Mode.GLOBAL and not wanted
    if not behind and not nowhere and all(_is_new(scene, slot, course, plan) for slot in wanted):
        return _monitored(scene, wanted, left, course, plan)
    return _going_on(scene, wanted, course, gate, plan)


def _going_on(scene: Scene, wanted: list[Slot], course: Course, gate: Gate, plan: Plan) -> _Said:
    """Return what is under way, or what it waits for."""
    if course.paused:
        return _Said(RolloutState.PAUSED, "a person paused it")
    if course.stage is not None:
        return _staged(scene, wanted, course, plan)
    if not wanted:
        return _Said(RolloutState.WAITING, "no node meets its placement constraints")
    if gate.first and not any(slot.current is not None and _has_started(slot.current) for slot in wanted):
        return _Said(RolloutState.WAITING, f"waits for {gate.first}")
    return _Said(
        RolloutState.ROLLING,
        _pace(course.rule) if any(slot.outdated for slot in wanted) else "waits until its tasks are ready",
    )


def _unchanged(scene: Scene, wanted: list[Slot]) -> bool:
    """Whether a release that is seen for the first time leaves the service as it was."""
    if not wanted or said_before(scene) is not None or scene.service.rollout.state is not RolloutState.DONE:
        return False
    return all(slot.latest is not None and slot.latest.fingerprint == scene.fingerprint for slot in wanted)


def _failed(scene: Scene, before: Rollout | None, course: Course) -> _Said:
    # What was said when it stopped stays: later failures of the same tasks would only repeat it.
    if before is not None and before.state is RolloutState.FAILED and not _resumed_since(scene, before):
        return _Said(RolloutState.FAILED, before.sentence, before.evidence)
    evidence = course.step or course.failed[min(course.failed)]
    return _Said(RolloutState.FAILED, evidence.cause, evidence)


def _is_new(scene: Scene, slot: Slot, course: Course, plan: Plan) -> bool:
    """Whether a slot has what the release wants in it: a new task that is ready and has settled, or one that ended."""
    if slot.key in course.failed:
        return True
    if slot.outdated or slot.extra:
        return False
    if slot.current is None:
        ended = slot.latest
        if ended is None or not slot.vacant or not slot.completed:
            return False
        return after(ended, scene.service.spec.restart, plan.now).next is Next.LEAVE
    if slot.current.desired_state is not TaskState.RUNNING:
        return False
    settled = settled_at(slot.current, course.rule) if course.rule.guarded else believed_at(slot.current)
    if settled is not None:
        plan.look_again(settled)
    return settled is not None and settled <= plan.now


def _monitored(scene: Scene, wanted: list[Slot], left: list[Task], course: Course, plan: Plan) -> _Said:
    """Return that every task is new, and whether that is the end of it."""
    monitor = course.rule.monitor_seconds
    current = [slot.current for slot in wanted if slot.current is not None and slot.key not in course.failed]
    until = max((since + monitor for task in current if (since := ready_since(task)) is not None), default=0.0)
    if until > plan.now:
        plan.look_again(until)
        return _Said(RolloutState.MONITORING, f"every task is new; each is watched for {duration(monitor)}")
    if left or any(slot.stopping for slot in wanted):
        return _Said(RolloutState.MONITORING, "every task is new; waits until the old ones have stopped")
    failed = sorted(course.failed)
    names = ", ".join(place_name(scene.service, key) for key in failed)
    return _Said(RolloutState.DONE, f"{names} failed, as many as may" if failed else "")


def _staged(scene: Scene, wanted: list[Slot], course: Course, plan: Plan) -> _Said:
    if not course.admitted:
        return _Said(RolloutState.HELD, "waits for its first stage to be decided")
    admitted = [slot for slot in wanted if course.admits(slot)]
    times = [None if slot.current is None else settled_at(slot.current, course.rule) for slot in admitted]
    if any(at is None for at in times):
        return _Said(RolloutState.ROLLING, "makes the new tasks of its stage beside the old ones")
    last = max((at for at in times if at is not None), default=0.0)
    plan.look_again(last)
    if last > plan.now:
        return _Said(RolloutState.ROLLING, "makes the new tasks of its stage beside the old ones")
    return _Said(
        RolloutState.HELD, "the new tasks of its stage are ready beside the old ones", held=len(course.admitted)
    )


def _pace(rule: Policy) -> str:
    first = "old tasks stop before" if rule.order is UpdateOrder.STOP_FIRST else "new tasks are ready before"
    then = "new ones start" if rule.order is UpdateOrder.STOP_FIRST else "old ones stop"
    return f"replaces {count(rule.parallelism, 'task')} at a time; {first} {then}"


def _advice(scene: Scene, course: Course) -> str:
    app = scene.service.app
    if course.rule.failure_action.value == "rollback":
        return "what ran before is being restored"
    on = f", or `pilothouse resume {app}` to go on" if course.rule.guarded else ""
    return f"its other tasks stay on the version before; correct the manifest and run `pilothouse up` again{on}"


def _live_elsewhere(by_key: dict[Key, Slot], wanted: list[Slot]) -> list[Task]:
    """Return the tasks in slots that are not wanted any more, but those that no node knows of: they die at once."""
    keys = {slot.key for slot in wanted}
    other = [task for key, slot in by_key.items() if key not in keys for task in slot.live]
    return [task for task in other if task.state >= TaskState.ASSIGNED]


def _has_started(task: Task) -> bool:
    return task.status.started_at is not None


def _resumed_since(scene: Scene, before: Rollout) -> bool:
    return scene.app is not None and 0 < before.since <= scene.app.resumed_at


def _stays_failed(scene: Scene, before: Rollout, rule: Policy) -> bool:
    return before.state is RolloutState.FAILED and rule.guarded and not _resumed_since(scene, before)


def _failed_job(scene: Scene, slot: Slot, now: float) -> Evidence | None:
    """Return what shows that a job's task failed for good, or so often that it will hardly succeed."""
    task, live = slot.latest, False
    if task is not None and not task.state.terminal:
        # The next try is under way: what ended before it says why there is one.
        before, live = task.replaces, task.failures >= FAILURES_THAT_STOP
        task = next((each for each in scene.tasks if each.id == before), None) if live else None
    if task is None or slot.completed or task.fingerprint != scene.fingerprint:
        return None
    if task.state is TaskState.COMPLETE or task.desired_state is TaskState.SHUTDOWN:
        return None
    verdict = forgiving(task, scene.service.spec.restart, scene.app.resumed_at if scene.app else 0.0, now)
    often = is_of_rollout(scene, task) and (live or verdict.failures >= FAILURES_THAT_STOP)
    # What is not tried again stays as it is, however long ago that was decided.
    if not often and (live or verdict.next not in {Next.LEAVE, Next.PARKED}):
        return None
    ending = task.status.ending
    return Evidence(
        service=scene.service.name,
        task_id=task.id,
        task=display_name(task),
        cause=f"the job {place_name(scene.service, slot.key)} {how_it_ended(task)}",
        log_tail=ending.log_tail if ending else (),
    )
