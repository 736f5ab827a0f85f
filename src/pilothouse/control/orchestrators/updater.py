"""A changed spec reaches the tasks: which outdated ones may be replaced now, so that enough of them always run.

Never more than replicas + parallelism started tasks, never fewer than replicas - parallelism ready ones on our account.
A slot is *begun* once its new task may start (start-first) or its old one was told to stop (stop-first); before that
its new task can be there already, made and prepared, and waits for its turn. So nothing has to be remembered: how far
the rollout has come is what the tasks show.
"""

from pilothouse.control.orchestrators.course import Course
from pilothouse.control.orchestrators.failures import released_at
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.restart import Next
from pilothouse.control.orchestrators.rollout import settled_at
from pilothouse.control.orchestrators.scene import Scene, Slot, is_ready
from pilothouse.control.orchestrators.vacancy import Gate, after_resume, create_beside, follow
from pilothouse.model.objects import Task
from pilothouse.model.states import TaskState


def withdraw(scene: Scene, slots: list[Slot], course: Course, gate: Gate, plan: Plan) -> None:
    """Stop the outdated tasks that may go now: replaced, overtaken by a later change, or never started."""
    for slot in slots:
        if slot.outdated and slot.current is not None:
            _switch(scene, slot, course, plan)
        elif len(slot.outdated) > 1:
            # Only the better of two tasks of an overtaken update stays until a newer one is ready.
            best = max(slot.outdated, key=lambda old: (is_ready(old), old.state, -old.created_at, old.id))
            for old in [old for old in slot.outdated if old is not best]:
                moved = old.replaces == best.id and old.fingerprint == best.fingerprint and course.keeps_old(slot)
                why = f"overtaken: the service has changed again: {scene.asked_by}"
                plan.withdraw(slot, old, "what it was to replace need not go any more" if moved else why)
        free = not (course.stopped or course.paused) and course.admits(slot)
        if free and _never_ran(scene, slot) and not gate.keeps(slot.outdated[0]):
            plan.withdraw(slot, slot.outdated[0], f"never ran, and the service has changed since: {scene.asked_by}")


def awaits_its_turn(scene: Scene, slot: Slot, course: Course, gate: Gate) -> bool:
    """Whether the new task of *slot* is there but its old one was not touched yet, and so may still be left alone."""
    new = slot.current
    if new is None or not slot.outdated or new.desired_state is not TaskState.READY:
        return False
    return not (course.start_first and _follows_a_new_one(scene, new, gate))


def goes_on(slot: Slot, course: Course, gate: Gate) -> bool:
    """Whether the update may replace what is old in *slot*, sooner or later."""
    return not (course.stopped or course.paused or gate.first) and course.admits(slot)


def has_more_to_do(scene: Scene, wanted: list[Slot], course: Course, gate: Gate) -> bool:
    """Whether the update has yet to come to one of *wanted*."""
    return any(
        goes_on(slot, course, gate) and (_is_idle(scene, slot) or awaits_its_turn(scene, slot, course, gate))
        for slot in wanted
        if slot.outdated
    )


def advance(scene: Scene, wanted: list[Slot], course: Course, gate: Gate, plan: Plan) -> None:
    """Decide where the rollout over *wanted* goes on; at least one slot has an outdated task that stays for now."""
    for slot in wanted:
        again = course.keeps_old(slot) and _came_back(slot)
        if slot.outdated and slot.current is None and not slot.stopping and _has_tried(scene, slot) and not again:
            follow(scene, slot, gate, plan)
    if course.stopped or course.paused or gate.first:
        return
    queue = [
        slot
        for slot in wanted
        if course.admits(slot) and (_is_idle(scene, slot) or awaits_its_turn(scene, slot, course, gate))
    ]
    # What does not run well goes first, then what must leave its node, then what is prepared; what has failed already,
    # as far as it may, goes last.
    queue.sort(
        key=lambda slot: (
            slot.key in course.failed,
            is_ready(slot.outdated[0]),
            not slot.leaving,
            slot.current is None,
            slot.key,
        )
    )
    width = course.rule.parallelism if course.stage is None else len(wanted)
    room = width - sum(in_motion(scene, slot, course, gate, plan) for slot in wanted)
    if room > 0 and _in_delay(wanted, course, plan):
        room = 0
    room = max(0, room)
    for slot in queue[:room]:
        _begin(scene, slot, course, gate, plan)
    for slot in queue[room : room + width]:
        if slot.current is None:
            create_beside(scene, slot, gate, plan, slot.outdated[0], start_first=course.start_first, ahead=True)


def _begin(scene: Scene, slot: Slot, course: Course, gate: Gate, plan: Plan) -> None:
    new, old = slot.current, slot.outdated[0]
    if new is None:
        create_beside(scene, slot, gate, plan, old, start_first=course.start_first)
    elif new.not_before > plan.now:
        plan.look_again(new.not_before)
    elif course.start_first:
        plan.want(new, TaskState.RUNNING, "is to be ready before the task it replaces is stopped")
    elif new.state >= TaskState.READY and not gate.holds(gate.predecessor(new)):
        why = f"makes room for {new.id}, which is prepared and made from the changed service: {scene.asked_by}"
        for each in list(slot.outdated):
            plan.withdraw(slot, each, why)


def _switch(scene: Scene, slot: Slot, course: Course, plan: Plan) -> None:
    """Stop the old task of a slot once the new one has been ready for as long as it must."""
    new = slot.current
    if new is None or new.desired_state is TaskState.READY or course.paused:
        return
    settled = settled_at(new, course.rule)
    if settled is None or settled > plan.now:
        plan.look_again(settled or 0.0)
        return
    for old in list(slot.outdated):
        # What an earlier release made after the task that is to stay is the remnant of a change that was taken back.
        if (course.stopped or course.stage is not None) and new.created_at < old.created_at < released_at(scene):
            plan.withdraw(slot, old, f"the change it was made for was taken back: {scene.asked_by}")
        elif not course.stopped and course.stage is None:
            why = f"replaced by {new.id}, which is ready and made from the changed service: {scene.asked_by}"
            plan.withdraw(slot, old, why)


def _never_ran(scene: Scene, slot: Slot) -> bool:
    """Whether the one old task of an idle slot does not run yet: nothing is lost by taking it away at once."""
    return _is_idle(scene, slot) and all(old.state < TaskState.RUNNING for old in slot.outdated)


def _is_idle(scene: Scene, slot: Slot) -> bool:
    """Whether the rollout has not come to a slot at all."""
    if slot.current is not None or slot.stopping or len(slot.outdated) != 1:
        return False
    return not _has_tried(scene, slot)


def _has_tried(scene: Scene, slot: Slot) -> bool:
    """Whether the newest task of a slot was made from the present spec, and was not called off before it began."""
    latest = slot.latest
    return latest is not None and latest.fingerprint == scene.fingerprint and not _was_called_off(latest)


def _was_called_off(task: Task) -> bool:
    """Whether *task* never had its turn: it was told to stop, or lost with its node, before it might begin."""
    if task.status.started_at is not None:
        return False
    lost = task.state is TaskState.ORPHANED and task.desired_state is TaskState.READY and not task.failures
    return lost or task.desired_state is TaskState.SHUTDOWN


def _came_back(slot: Slot) -> bool:
    """Whether an old task was made again after the newest one of *slot*, which is then not tried on beside it."""
    latest = slot.latest
    return latest is not None and any(old.created_at >= latest.created_at for old in slot.outdated)


def _follows_a_new_one(scene: Scene, new: Task, gate: Gate) -> bool:
    before = gate.predecessor(new)
    if before is None or before.fingerprint != scene.fingerprint:
        return new.failures > 0
    # One that leaves its node before its turn, by this very decision, waits still.
    waits = before.desired_state is TaskState.READY and not before.state.terminal
    return new.failures > 0 or not (waits or _was_called_off(before))


def in_motion(scene: Scene, slot: Slot, course: Course, gate: Gate, plan: Plan) -> bool:
    """Whether the rollout or a move works on a slot, or the slot is short of a task for another reason."""
    if slot.successors:
        return True
    if _is_idle(scene, slot) or awaits_its_turn(scene, slot, course, gate):
        return False
    if slot.current is not None and slot.current.desired_state is TaskState.RUNNING:
        settled = settled_at(slot.current, course.rule)
        if settled is not None:
            plan.look_again(settled)
        if settled is not None and settled <= plan.now:
            return False
    left = slot.vacant and slot.latest is not None and _has_tried(scene, slot)
    if left and slot.latest is not None and after_resume(scene, slot.latest, plan.now).next is Next.LEAVE:
        return False
    return slot.key not in course.failed


def _in_delay(wanted: list[Slot], course: Course, plan: Plan) -> bool:
    """Whether the pause between two steps that the manifest asks for has not passed."""
    delay = course.rule.delay_seconds
    if not delay:
        return False
    settled = [
        at for slot in wanted if slot.current is not None and (at := settled_at(slot.current, course.rule)) is not None
    ]
    if not settled or max(settled) + delay <= plan.now:
        return False
    plan.look_again(max(settled) + delay)
    return True
