"""A changed spec reaches the tasks: which outdated ones may be replaced now, so that enough of them always run.

Never more than replicas + parallelism tasks, never fewer than replicas - parallelism ready ones on our account. A new
version that keeps failing stops the update where it is; what is left of the old one keeps running.
"""

from pilothouse.control.orchestrators.endings import duration, how_it_ended
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.restart import Next, after
from pilothouse.control.orchestrators.rollout import parallelism, policy_of, settled_at, update_order
from pilothouse.control.orchestrators.scene import Scene, Slot, is_ready, place_name
from pilothouse.control.orchestrators.vacancy import Gate, create_beside, follow
from pilothouse.model.objects import Task
from pilothouse.model.spec import UpdateOrder
from pilothouse.model.states import TaskState

FAILURES_THAT_STOP = 3
RECOVERED_SECONDS = 60.0
DEADLINE_SECONDS = 600.0


def stopped_by_failures(scene: Scene, wanted: list[Slot], now: float) -> tuple[Slot, ...]:
    """Return the slots whose new version keeps failing, if they are so many that the update must stop; else ()."""
    if scene.service.spec.update.failure_action == "continue":
        return ()
    failing = tuple(slot for slot in wanted if _is_failing(scene, slot, now))
    allowed = (scene.service.spec.update.max_failure_ratio or 0.0) * len(wanted)
    return failing if len(failing) > allowed else ()


def withdraw(scene: Scene, slots: list[Slot], failing: tuple[Slot, ...], gate: Gate, plan: Plan) -> None:
    """Stop the outdated tasks that may go now: replaced, overtaken by a later change, or never started."""
    for slot in slots:
        if not slot.outdated:
            continue
        if slot.current is not None:
            _switch(scene, slot, gate, plan)
        elif len(slot.outdated) > 1:
            # Only the better of two tasks of an overtaken update stays until a newer one is ready.
            best = max(slot.outdated, key=lambda old: (is_ready(old), old.state, -old.created_at, old.id))
            for old in [old for old in slot.outdated if old is not best]:
                plan.withdraw(slot, old, f"overtaken: the service has changed again: {scene.asked_by}")
        if not failing and _is_idle(scene, slot) and _superseded(slot) and not gate.keeps(slot.outdated[0]):
            plan.withdraw(slot, slot.outdated[0], f"never ran, and the service has changed since: {scene.asked_by}")


def advance(scene: Scene, wanted: list[Slot], failing: tuple[Slot, ...], gate: Gate, plan: Plan) -> None:
    """Decide where the update of *wanted* goes on; at least one slot has an outdated task that stays for now."""
    for slot in wanted:
        if slot.outdated and slot.current is None and not slot.stopping and _has_tried(scene, slot):
            follow(scene, slot, gate, plan)
    if failing:
        _say_stopped(scene, wanted, failing[0], plan)
    if failing or gate.first:
        return
    candidates = [slot for slot in wanted if _is_idle(scene, slot)]
    room = parallelism(scene.service.spec, len(wanted)) - sum(_in_motion(scene, slot, plan) for slot in wanted)
    if room <= 0 or not candidates or _in_delay(scene, wanted, plan):
        return
    start_first = update_order(scene.service.spec) is UpdateOrder.START_FIRST
    candidates.sort(key=lambda slot: (is_ready(slot.outdated[0]), slot.key))
    for slot in candidates[:room]:
        create_beside(scene, slot, gate, plan, slot.outdated[0], start_first=start_first)


def _switch(scene: Scene, slot: Slot, gate: Gate, plan: Plan) -> None:
    """Stop the old task of a slot once its replacement is far enough."""
    new = slot.current
    if new is None:
        return
    if new.desired_state is TaskState.READY:
        held = new.not_before > plan.now or gate.holds(gate.predecessor(new))
        if update_order(scene.service.spec) is UpdateOrder.START_FIRST or held or new.state < TaskState.READY:
            return
        why = f"makes room for {new.id}, which is prepared and made from the changed service: {scene.asked_by}"
    else:
        settled = settled_at(new, policy_of(scene, 1))
        if settled is None or settled > plan.now:
            _mind_the_deadline(scene, slot, new, settled, plan)
            return
        why = f"replaced by {new.id}, which is ready and made from the changed service: {scene.asked_by}"
    for old in list(slot.outdated):
        plan.withdraw(slot, old, why)


def _mind_the_deadline(scene: Scene, slot: Slot, new: Task, settled: float | None, plan: Plan) -> None:
    if settled is not None:
        plan.look_again(settled)
        return
    if new.status.started_at is None:
        return
    deadline = new.status.started_at + DEADLINE_SECONDS
    plan.look_again(deadline)
    if deadline <= plan.now:
        plan.notice(
            f"the update of {scene.service.name} does not get on: the new {place_name(scene.service, slot.key)} has "
            f"not become ready in {duration(DEADLINE_SECONDS)}; the old one keeps running"
        )


def _superseded(slot: Slot) -> bool:
    """Whether the old task of an idle slot does not run yet: nothing is lost by taking it away at once."""
    return all(old.state < TaskState.RUNNING for old in slot.outdated)


def _is_idle(scene: Scene, slot: Slot) -> bool:
    """Whether the update has not begun in a slot."""
    if slot.current is not None or slot.stopping or len(slot.outdated) != 1:
        return False
    return not _has_tried(scene, slot)


def _has_tried(scene: Scene, slot: Slot) -> bool:
    """Whether the newest task of a slot was made from the present spec."""
    return slot.latest is not None and slot.latest.fingerprint == scene.fingerprint


def _in_motion(scene: Scene, slot: Slot, plan: Plan) -> bool:
    """Whether the update works on a slot, or the slot is short of a task for another reason."""
    if _is_idle(scene, slot):
        return False
    if slot.current is not None and not slot.outdated and not slot.stopping:
        settled = settled_at(slot.current, policy_of(scene, 1))
        if settled is not None:
            plan.look_again(settled)
        return settled is None or settled > plan.now
    if slot.vacant and slot.latest is not None and _has_tried(scene, slot):
        return after(slot.latest, scene.service.spec.restart, plan.now).next is not Next.LEAVE
    return not (scene.service.spec.update.failure_action == "continue" and _is_failing(scene, slot, plan.now))


def _is_failing(scene: Scene, slot: Slot, now: float) -> bool:
    task = slot.current or slot.latest
    if task is None or task.fingerprint != scene.fingerprint:
        return False
    if not task.state.terminal:
        recovered = is_ready(task) and now - (task.status.started_at or now) >= RECOVERED_SECONDS
        return task.failures >= FAILURES_THAT_STOP and not recovered
    if task.state is TaskState.COMPLETE or task.desired_state is TaskState.SHUTDOWN:
        return False
    verdict = after(task, scene.service.spec.restart, now)
    return verdict.failures >= FAILURES_THAT_STOP or verdict.next in {Next.PARKED, Next.LEAVE}


def _say_stopped(scene: Scene, wanted: list[Slot], slot: Slot, plan: Plan) -> None:
    name = place_name(scene.service, slot.key)
    dead = [task for task in scene.tasks if _failed_new(scene, slot, task)]
    last = max(dead, key=lambda task: (task.created_at, task.id), default=None)
    how = f" (last it {how_it_ended(last)})" if last else ""
    left = sum(1 for other in wanted if other.outdated)
    plan.notice(
        f"the update of {scene.service.name} stopped: the new {name} keeps failing{how}; {left} of {len(wanted)} "
        f"tasks stay on the version before; correct the manifest and run `pilothouse up` again"
    )
    if slot.current is not None and slot.current.status.started_at is not None:
        plan.look_again(slot.current.status.started_at + RECOVERED_SECONDS)


def _failed_new(scene: Scene, slot: Slot, task: Task) -> bool:
    here = (task.slot, "" if task.slot else task.node_id) == slot.key
    return here and task.fingerprint == scene.fingerprint and task.state.terminal


def _in_delay(scene: Scene, wanted: list[Slot], plan: Plan) -> bool:
    """Whether the pause between two batches that the manifest asks for has not passed."""
    delay = scene.service.spec.update.delay_seconds
    if not delay:
        return False
    settled = [
        at for slot in wanted if slot.current and (at := settled_at(slot.current, policy_of(scene, 1))) is not None
    ]
    if not settled or max(settled) + delay <= plan.now:
        return False
    plan.look_again(max(settled) + delay)
    return True
