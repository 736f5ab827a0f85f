"""Which slots' new tasks have failed in a rollout, and what shows it. Pure; what follows from it is decided elsewhere.

Where a stable release came before, one plain failure is enough. Where none did there is nothing better to go back to:
the platform goes on trying, and only three failures in a row tell.
"""

from pilothouse.control.orchestrators.endings import duration, given_up, how_it_ended
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.readiness import unpassed
from pilothouse.control.orchestrators.restart import Next, forgiving
from pilothouse.control.orchestrators.rollout import Policy, ready_since
from pilothouse.control.orchestrators.scene import Key, Scene, Slot, is_ready, key_of, place_name
from pilothouse.model.names import display_name
from pilothouse.model.objects import Health, Task
from pilothouse.model.rollout import Evidence
from pilothouse.model.spec import RestartCondition, RestartPolicy
from pilothouse.model.states import TaskState

FAILURES_THAT_STOP = 3
RECOVERED_SECONDS = 60.0


def is_of_rollout(scene: Scene, task: Task) -> bool:
    """Whether *task* was made since the newest release is rolled out: failures of those before do not count."""
    if scene.app is not None and task.created_at < scene.app.resumed_at:
        return False
    if scene.release is not None and task.release:
        return task.release >= scene.release.number
    return task.created_at >= released_at(scene)


def released_at(scene: Scene) -> float:
    """Return when the newest release was made."""
    if scene.release is not None:
        return scene.release.created_at
    return scene.app.deployed_at if scene.app else 0.0


def failures(scene: Scene, wanted: list[Slot], rule: Policy, plan: Plan) -> dict[Key, Evidence]:
    """Return what shows that the new task of a slot failed, for each slot of *wanted* in which one did."""
    dead: dict[Key, list[Task]] = {}
    for task in scene.tasks:
        if _counts(scene, task):
            dead.setdefault(key_of(task), []).append(task)
    found: dict[Key, Evidence] = {}
    for slot in wanted:
        ended = sorted(dead.get(slot.key, ()), key=_age, reverse=True)
        evidence = _failure(scene, slot, ended, rule, plan)
        if evidence is not None:
            found[slot.key] = evidence
    return found


def _age(task: Task) -> tuple[float, int, str]:
    """Return what orders the tasks of a slot in time; of two made at once the later try has failed more often."""
    return (task.created_at, task.failures, task.id)


def _counts(scene: Scene, task: Task) -> bool:
    """Whether *task* is a new one that died by itself."""
    return (
        task.state.terminal
        and task.fingerprint == scene.fingerprint
        and task.desired_state is not TaskState.SHUTDOWN
        and not given_up(task)
    )


def _failure(scene: Scene, slot: Slot, ended: list[Task], rule: Policy, plan: Plan) -> Evidence | None:
    if slot.current is not None and _has_recovered(slot.current, rule, plan, failed=bool(ended)):
        return None
    if rule.guarded:
        for task in ended:
            if not is_of_rollout(scene, task):
                break
            if how := _condemns(task, rule, scene.service.spec.restart):
                return _evidence(scene, slot, task, how)
    return _keeps_failing(scene, slot, ended, plan) or _too_late(scene, slot, rule, plan)


def _has_recovered(task: Task, rule: Policy, plan: Plan, *, failed: bool) -> bool:
    """Whether *task* has been well for so long that failures before it do not matter any more."""
    since = ready_since(task)
    if since is None:
        return False
    believed = since + (rule.monitor_seconds if rule.guarded else RECOVERED_SECONDS)
    if believed > plan.now and (failed or task.failures):
        plan.look_again(believed)
    return believed <= plan.now


def _condemns(task: Task, rule: Policy, restart: RestartPolicy) -> str:
    """Return why the end of *task* alone shows that the new version does not work; "" if it does not."""
    status = task.status
    if task.state is TaskState.REJECTED:
        return how_it_ended(task)
    if status.ready_since is None:
        return f"never became ready: {status.message}" if status.health is Health.UNHEALTHY else ""
    end = status.since if status.finished_at is None else status.finished_at
    meant = task.state is TaskState.COMPLETE and restart.condition is not RestartCondition.ANY
    if meant or end - status.ready_since >= rule.monitor_seconds:
        return ""
    return f"{how_it_ended(task)}, {duration(max(0.0, end - status.ready_since))} after it had become ready"


def _keeps_failing(scene: Scene, slot: Slot, ended: list[Task], plan: Plan) -> Evidence | None:
    """Return what shows that a slot failed three times in a row, or is not tried again."""
    current = slot.current
    if current is not None:
        # The count goes back to tasks of earlier releases; at least the last one must be of this one.
        counted = bool(ended) and is_of_rollout(scene, ended[0]) and is_of_rollout(scene, current)
        if not counted or current.failures < FAILURES_THAT_STOP:
            return None
        return _evidence(scene, slot, ended[0], f"keeps failing (last it {how_it_ended(ended[0])})")
    return _gave_up(scene, slot, ended, plan)


def _gave_up(scene: Scene, slot: Slot, ended: list[Task], plan: Plan) -> Evidence | None:
    # An old task may have been made again in the slot since, so the newest one of all does not tell.
    last = ended[0] if ended else None
    if last is None or last.state is TaskState.COMPLETE:
        return None
    verdict = forgiving(last, scene.service.spec.restart, scene.app.resumed_at if scene.app else 0.0, plan.now)
    # What is not tried again stays as it is, however long ago that was decided.
    if verdict.next in {Next.PARKED, Next.LEAVE}:
        return _evidence(scene, slot, last, f"{how_it_ended(last)} and is not tried again")
    if is_of_rollout(scene, last) and verdict.failures >= FAILURES_THAT_STOP:
        return _evidence(scene, slot, last, f"keeps failing (last it {how_it_ended(last)})")
    return None


def _too_late(scene: Scene, slot: Slot, rule: Policy, plan: Plan) -> Evidence | None:
    """Return what shows that the task of a slot takes too long to become ready."""
    task = slot.current
    if task is None or is_ready(task):
        return None
    begun = _begun(task)
    if begun is None or not is_of_rollout(scene, task):
        return None
    # Where nothing else could run in its place a task that is only not open to traffic is left in peace.
    if not rule.guarded and not slot.outdated and task.status.health is not Health.STARTING:
        return None
    deadline = begun + rule.deadline_seconds
    plan.look_again(deadline)
    if deadline > plan.now:
        return None
    what = f" ({unpassed(task)} has not passed)" if task.state is TaskState.RUNNING else _why_not(task)
    return _evidence(scene, slot, task, f"has not become ready in {duration(rule.deadline_seconds)}{what}")


def _begun(task: Task) -> float | None:
    """Return since when *task* is on its way; None if it waits for somebody else."""
    if task.status.started_at is not None:
        return task.status.started_at
    if task.state >= TaskState.READY:
        return task.status.since if task.state is TaskState.STARTING else None
    return max(task.created_at, task.not_before)


def _why_not(task: Task) -> str:
    why = task.resource_message or task.status.message or task.placement_message
    return f" ({why})" if why else ""


def _evidence(scene: Scene, slot: Slot, task: Task, how: str) -> Evidence:
    ending = task.status.ending
    return Evidence(
        service=scene.service.name,
        task_id=task.id,
        task=display_name(task),
        cause=f"the new {place_name(scene.service, slot.key)} {how}",
        log_tail=ending.log_tail if ending else (),
    )
