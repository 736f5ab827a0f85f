"""Tasks that must go elsewhere although they are as they should be: their node is drained, their room was taken.

Somebody asks (`model.cluster.Disruption`), and the service does it at its own pace: one task at a time, in the room
that its update settings leave. The replacement is made in the same slot; until the old task was told to stop nobody
else sees it (`Slot.successors`), so a move changes nothing about a rollout, a dependent or a count. Telling the old
task to stop is the point of no return: before that a request that is withdrawn ends the move, and the replacement goes.
"""

from pilothouse.control.orchestrators.changes import Create
from pilothouse.control.orchestrators.course import Course
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.restart import Next, Verdict, after, waiting_reason
from pilothouse.control.orchestrators.rollout import settled_at
from pilothouse.control.orchestrators.scene import Scene, Slot, is_ready, key_of, place_name
from pilothouse.control.orchestrators.updater import goes_on, has_more_to_do, in_motion
from pilothouse.control.orchestrators.vacancy import Gate, behind
from pilothouse.model.cluster import Disruption
from pilothouse.model.objects import Task
from pilothouse.model.spec import Mode, UpdateOrder
from pilothouse.model.states import TaskState


def is_urgent(request: Disruption, plan: Plan) -> bool:
    """Whether *request* waits for nothing any more; one with a deadline is looked at again then."""
    if request.at_once:
        return True
    if request.deadline is None:
        return False
    plan.look_again(request.deadline)
    return request.deadline <= plan.now


def has_begun(task: Task) -> bool:
    """Whether anything of *task* may run already, so that stopping it costs something."""
    return task.state >= TaskState.STARTING or task.status.started_at is not None


def carry_on(scene: Scene, slots: list[Slot], course: Course, gate: Gate, plan: Plan) -> None:
    """Take the moves that are under way a step further, and begin those that wait for nothing."""
    for slot in slots:
        if slot.successors and _is_the_updates(slot, course, gate):
            _give_way(scene, slot)
        for task in list(slot.leaving):
            _carry_on(scene, slot, task, course, gate, plan)


def begin(scene: Scene, slots: list[Slot], course: Course, gate: Gate, plan: Plan) -> None:
    """Begin one more move if none is under way and there is room beside the rollout, which goes before."""
    if not any(slot.leaving for slot in slots) or any(_is_moving(scene, slot, course, plan) for slot in slots):
        return
    if has_more_to_do(scene, slots, course, gate):
        return
    queue = [(slot, task) for slot in slots for task in slot.leaving if _may_move(scene, slot, task, course, gate)]
    queue.sort(key=lambda each: _rank(scene, *each))
    for slot, task in queue:
        if _has_room(scene, slot, slots, course, gate, plan) and _make(scene, slot, task, course, gate, plan):
            return


def _give_way(scene: Scene, slot: Slot) -> None:
    """Let the update see what was made of an older spec: it replaces both, and keeps the better one until then."""
    old = [each for each in slot.successors if each.fingerprint != scene.fingerprint]
    slot.successors = [each for each in slot.successors if each not in old]
    slot.outdated = [*slot.outdated, *old]


def _carry_on(scene: Scene, slot: Slot, task: Task, course: Course, gate: Gate, plan: Plan) -> None:
    request = scene.disruptions[task.id]
    successor = slot.successor(task)
    if task.state < TaskState.ASSIGNED:
        return  # no node has it yet
    if is_urgent(request, plan):
        late = "" if request.at_once else "; the time it was given for that is over"
        if successor is None:
            _make(scene, slot, task, course, gate, plan, urgent=True)
        _hand_over(slot, task, successor, f"{request.reason}{late}", plan)
    elif (
        task is slot.current
        and not has_begun(task)
        and (not slot.outdated or goes_on(slot, course, gate) or (successor is not None and _waits(task)))
    ):
        _hand_over(slot, task, successor, f"{request.reason}; it had not begun to run there", plan)
    elif successor is not None:
        _bring_on(scene, slot, task, successor, course, gate, plan)


def _bring_on(scene: Scene, slot: Slot, task: Task, successor: Task, course: Course, gate: Gate, plan: Plan) -> None:
    """Let the replacement start, and the old task stop, as soon as either may."""
    request = scene.disruptions[task.id]
    if scene.finite and has_begun(task):
        plan.stop(successor, f"{task.id} is to run to its end where it is")
    elif has_more_to_do(scene, [slot], course, gate) and successor.state < TaskState.ASSIGNED:
        plan.stop(successor, f"gives way to the update: {scene.asked_by}")
    elif not _starts_first(scene, course):
        if successor.state >= TaskState.READY and successor.not_before <= plan.now:
            why = f"{request.reason}; makes room for {successor.id}, which is prepared"
            _hand_over(slot, task, successor, why, plan)
        plan.look_again(successor.not_before)
    elif successor.desired_state is TaskState.READY:
        if successor.not_before > plan.now:
            plan.look_again(successor.not_before)
        elif holds := _holds(scene, task, gate):
            plan.want(successor, TaskState.READY, f"waits for {holds}")
        else:
            plan.want(successor, TaskState.RUNNING, "is to be ready before the task it replaces is stopped")
    else:
        settled = settled_at(successor, course.rule)
        plan.look_again(settled or 0.0)
        if settled is not None and settled <= plan.now:
            _hand_over(slot, task, successor, f"{request.reason}; {successor.id} is ready in its place", plan)


def _hand_over(slot: Slot, task: Task, successor: Task | None, why: str, plan: Plan) -> None:
    """Tell *task* to stop, and see the slot as it will be seen afterwards."""
    plan.stop(task, why)
    slot.leaving = [each for each in slot.leaving if each is not task]
    slot.successors = [each for each in slot.successors if each is not successor]
    slot.stopping = [*slot.stopping, task]
    if task is slot.current:
        slot.current = successor
    else:
        after_it = [] if successor is None else [successor]
        slot.outdated = [other for each in slot.outdated for other in (after_it if each is task else [each])]


def _is_moving(scene: Scene, slot: Slot, course: Course, plan: Plan) -> bool:
    """Whether a move of a slot is under way: its replacement is there and has not settled yet."""
    if slot.successors:
        return True
    task = slot.current
    if task is None:
        return False
    before = next((each for each in scene.tasks if each.id == task.replaces), None)
    if before is None or before.fingerprint != task.fingerprint or before.desired_state is not TaskState.SHUTDOWN:
        return False
    settled = settled_at(task, course.rule)
    plan.look_again(settled or 0.0)
    return settled is None or settled > plan.now


def _may_move(scene: Scene, slot: Slot, task: Task, course: Course, gate: Gate) -> bool:
    """Whether a move of *task* is anybody's business but its own end's, its node's or the update's."""
    if slot.successor(task) is not None or task.state < TaskState.ASSIGNED or scene.finite:
        return False
    if scene.service.spec.mode is Mode.GLOBAL:
        return False  # it has one place
    return not _is_the_updates(slot, course, gate)


def _is_the_updates(slot: Slot, course: Course, gate: Gate) -> bool:
    """Whether the update is about to replace what is old in *slot*, or does so already."""
    # In a stage an old task stays beside its new one until a judge has spoken.
    beside = course.stage is not None and slot.current is not None
    return bool(slot.outdated) and not beside and goes_on(slot, course, gate)


def _rank(scene: Scene, slot: Slot, task: Task) -> tuple[bool, float, float, tuple[int, str]]:
    """What does not run well costs nothing and goes first, then what has least time."""
    request = scene.disruptions[task.id]
    return (is_ready(task), request.deadline or float("inf"), request.requested_at, slot.key)


def _has_room(scene: Scene, slot: Slot, slots: list[Slot], course: Course, gate: Gate, plan: Plan) -> bool:
    """Whether one more slot may be worked on beside what the update settings allow for the rollout."""
    others = [each for each in slots if each is not slot]
    if not _starts_first(scene, course):
        taken = sum(in_motion(scene, each, course, gate, plan) for each in others)
    elif course.stage is not None or course.stopped or course.paused:
        # Both tasks of a slot stay for as long as a person or a judge takes; a node cannot wait for that.
        taken = 0
    else:
        # What is only missing or unwell is not made worse by one that starts first.
        both = [each for each in others if each.outdated]
        taken = sum(each.current is not None or in_motion(scene, each, course, gate, plan) for each in both)
    return taken < course.rule.parallelism


def _make(
    scene: Scene, slot: Slot, task: Task, course: Course, gate: Gate, plan: Plan, *, urgent: bool = False
) -> bool:
    """Have a replacement of *task* made in its slot, or say why there is none; tell whether it is."""
    request = scene.disruptions[task.id]
    newest = _newest_try(scene, slot, task)
    verdict = Verdict(next=Next.NOW)
    if newest is not task and not newest.state.terminal and newest.desired_state is not TaskState.SHUTDOWN:
        return False  # it is on its way already
    # One that was called off says nothing about the next.
    if newest is not task and newest.desired_state is not TaskState.SHUTDOWN:
        verdict = after(newest, scene.service.spec.restart, plan.now)
    if verdict.next in {Next.PARKED, Next.LEAVE} and not urgent:
        name = place_name(scene.service, slot.key)
        plan.notice(f"{name} cannot be moved ({request.reason}): what was made in its place {verdict.reason}")
        return False
    outdated = task.fingerprint != scene.fingerprint
    as_new = outdated and urgent and goes_on(slot, course, gate)
    holds = gate.first if as_new else _holds(scene, task, gate)
    state, why = TaskState.RUNNING, "is to be ready before the task it replaces is stopped"
    if verdict.not_before > plan.now:
        state, why = TaskState.READY, waiting_reason(verdict.failures, verdict.not_before - plan.now)
    elif not _starts_first(scene, course):
        state, why = TaskState.READY, behind(task)
    elif _waits(task) and not urgent:
        state, why = TaskState.READY, task.desired_reason
    elif holds:
        state, why = TaskState.READY, f"waits for {holds}"
    plan.create(
        Create(
            slot=slot.key[0],
            node_id=slot.key[1],
            failures=verdict.failures,
            not_before=verdict.not_before,
            reason=f"replaces {task.id}: {request.reason}",
            replaces=newest.id,
            desired_state=state,
            desired_reason=why,
            like=task.id if outdated and not as_new else "",
        )
    )
    return True


def _waits(task: Task) -> bool:
    """Whether *task* is prepared and waits, for its turn or a condition; what takes its place waits as well."""
    return task.desired_state is TaskState.READY


def _newest_try(scene: Scene, slot: Slot, task: Task) -> Task:
    """Return the newest of the tasks that were made one after the other to take the place of *task*; itself if none."""
    mine = [each for each in scene.tasks if key_of(each) == slot.key and each.fingerprint == task.fingerprint]
    newest, found = task, True
    while found:
        later = [each for each in mine if each.replaces == newest.id]
        found = bool(later)
        newest = max(later, key=lambda each: (each.created_at, each.id), default=newest)
    return newest


def _holds(scene: Scene, task: Task, gate: Gate) -> str:
    return gate.holds(task) if task.fingerprint == scene.fingerprint else gate.as_before(task)


def _starts_first(scene: Scene, course: Course) -> bool:
    # In a stage new tasks run beside old ones; two of the same may still be in each other's way. And what is run to its
    # end must not be run twice at once.
    return course.rule.order is UpdateOrder.START_FIRST and not scene.finite
