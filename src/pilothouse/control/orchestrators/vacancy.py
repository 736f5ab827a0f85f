"""Slots without a task that is meant to live get one; tasks that wait are let go when nothing holds them any more."""

import functools

from pilothouse.control.orchestrators.changes import Create
from pilothouse.control.orchestrators.dependencies import unmet
from pilothouse.control.orchestrators.failures import released_at
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.restart import Next, Verdict, after, forgiving, waiting_reason
from pilothouse.control.orchestrators.rollout import policy_of
from pilothouse.control.orchestrators.scene import Scene, Slot, key_of, place_name
from pilothouse.control.orchestrators.steps import waiting_step
from pilothouse.model.objects import Task
from pilothouse.model.spec import UpdateOrder
from pilothouse.model.states import TaskState


class Gate:
    """What `depends_on` still holds back; worked out once, and only if somebody asks."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    @functools.cached_property
    def first(self) -> str:
        """What a first start waits for: dependencies, then the steps, which wait for the same dependencies."""
        return unmet(self._scene) or waiting_step(self._scene)

    @functools.cached_property
    def again(self) -> str:
        """What the replacement of a task that had started waits for."""
        return unmet(self._scene, healing=True)

    def keeps(self, old: Task) -> bool:
        """Whether *old*, of an older spec, is to live on: the present one waits for a step, or will never start."""
        return bool(waiting_step(self._scene)) and self.has_run(old)

    def has_run(self, old: Task) -> bool:
        """Whether *old*, or a task of its slot that was made from the same, has ever started."""
        mine = (old.slot, "" if old.slot else old.node_id, old.fingerprint)
        return any(
            (task.slot, "" if task.slot else task.node_id, task.fingerprint) == mine
            and task.status.started_at is not None
            for task in self._scene.tasks
        )

    @functools.cached_property
    def _by_id(self) -> dict[str, Task]:
        return {task.id: task for task in self._scene.tasks}

    def holds(self, predecessor: Task | None) -> str:
        """Return what a task that follows *predecessor* in its slot waits for; "" if nothing."""
        started = (
            predecessor is not None
            and predecessor.fingerprint == self._scene.fingerprint
            and predecessor.status.started_at is not None
        )
        return self.again if started else self.first

    def as_before(self, old: Task) -> str:
        """Return what a task made again as *old* was, of an older spec, waits for: its steps are behind it."""
        return self.again if self.has_run(old) else unmet(self._scene)

    def predecessor(self, task: Task) -> Task | None:
        """Return the task that *task* replaces, if it is still known."""
        return self._by_id.get(task.replaces)


def fill(scene: Scene, slot: Slot, gate: Gate, plan: Plan, *, revive: bool = False) -> None:
    """Have a task made for a vacant *slot*, or say why there will be none.

    Args:
        scene: The service and its surroundings.
        slot: Nothing in it lives.
        gate: What holds back starts.
        plan: Where the decision goes.
        revive: The update of the service has stopped: a task of an older spec that died comes back as it was.
    """
    latest = slot.latest
    name = place_name(scene.service, slot.key)
    if latest is None:
        plan.create(
            _create(scene, slot, Verdict(next=Next.NOW, reason=f"{name} is missing: {scene.asked_by}"), gate, plan)
        )
        return
    own_end = latest.desired_state is not TaskState.SHUTDOWN
    if latest.fingerprint == scene.fingerprint:
        follow(scene, slot, gate, plan)
    elif own_end and (revive or gate.keeps(latest)):
        follow(scene, slot, gate, plan, like=latest.id)
    else:
        start_anew(scene, slot, gate, plan)


def start_anew(scene: Scene, slot: Slot, gate: Gate, plan: Plan) -> None:
    """Have a task of the present spec made in a slot whose tasks of an older one are dead, or die by this decision."""
    name = place_name(scene.service, slot.key)
    reason = f"{name} is missing and the service has changed: {scene.asked_by}"
    held = gate.holds(slot.latest)
    plan.create(
        Create(
            slot=slot.key[0],
            node_id=slot.key[1],
            reason=reason,
            replaces=slot.latest.id if slot.latest else "",
            desired_state=TaskState.READY if held else TaskState.RUNNING,
            desired_reason=f"waits for {held}" if held else scene.asked_by,
        )
    )


def follow(scene: Scene, slot: Slot, gate: Gate, plan: Plan, *, like: str = "") -> None:
    """Do what the restart policy says after the dead latest task of *slot*."""
    latest = slot.latest
    if latest is None:
        return
    verdict = after_resume(scene, latest, plan.now)
    name = place_name(scene.service, slot.key)
    if verdict.next is Next.PARKED:
        plan.notice(
            f"{name} is parked: it {verdict.reason}; correct the cause and deploy a change, "
            f"or run `pilothouse restart {scene.service.app} {scene.service.name}`"
        )
    elif verdict.next is not Next.LEAVE:
        plan.create(_create(scene, slot, verdict, gate, plan, like=like))


def heal_beside(scene: Scene, slot: Slot, gate: Gate, plan: Plan) -> bool:
    """Have an old task that died beside its new one, where both are to stay, made again as it was; tell whether."""
    old = [task for task in scene.tasks if key_of(task) == slot.key and task.fingerprint != scene.fingerprint]
    replaced = {task.replaces for task in old}
    ends = [task for task in old if task.id not in replaced]
    last = max(ends, key=lambda task: (task.created_at, task.id), default=None)
    if (
        last is None
        or not last.state.terminal
        or last.desired_state is TaskState.SHUTDOWN
        or last.status.since < released_at(scene)
    ):
        return False
    verdict = after(last, scene.service.spec.restart, plan.now)
    if verdict.next not in {Next.NOW, Next.LATER}:
        return False
    beside = Slot(key=slot.key, latest=last)
    plan.create(_create(scene, beside, verdict, gate, plan, like=last.id))
    return True


def after_resume(scene: Scene, latest: Task, now: float) -> Verdict:
    """Return what follows the dead *latest* task of a slot; a person who has the rollout go on forgives what was."""
    return forgiving(latest, scene.service.spec.restart, scene.app.resumed_at if scene.app else 0.0, now)


def release(scene: Scene, slot: Slot, gate: Gate, plan: Plan, *, start_first: bool) -> None:
    """Let the waiting task of *slot* run, or keep saying what it waits for."""
    task = slot.current
    if task is None or task.desired_state is not TaskState.READY:
        return
    if task.not_before > plan.now:
        plan.look_again(task.not_before)
        return
    before = [] if start_first else [*slot.stopping, *slot.outdated]
    if before:
        plan.want(task, TaskState.READY, behind(before[0]))
        return
    holds = gate.holds(gate.predecessor(task))
    if holds:
        plan.want(task, TaskState.READY, f"waits for {holds}")
        return
    plan.want(task, TaskState.RUNNING, "nothing holds it back any more")


def release_again(slot: Slot, gate: Gate, plan: Plan, *, start_first: bool) -> None:
    """Let a task of an older spec that was made again as it was run, once its wait is over."""
    for old in slot.outdated:
        if old.desired_state is not TaskState.READY or not gate.has_run(old):
            continue
        # One of the same that was to leave its node, and need not any more, runs on; so does the present one, where
        # what was prepared for a release has become the older by that release being undone.
        others = [each for each in (*slot.outdated, slot.current) if each is not None and each is not old]
        running = [each for each in others if each.desired_state is TaskState.RUNNING]
        before = [] if start_first else [*slot.stopping, *running]
        if old.not_before > plan.now:
            plan.look_again(old.not_before)
        elif before:
            plan.want(old, TaskState.READY, behind(before[0]))
        elif not gate.as_before(old):
            plan.want(old, TaskState.RUNNING, "nothing holds it back any more")


def create_beside(
    scene: Scene, slot: Slot, gate: Gate, plan: Plan, old: Task, *, start_first: bool, ahead: bool = False
) -> None:
    """Have the replacement of *old* made while it still runs; *ahead* of its turn it is prepared and waits."""
    reason = f"replaces {old.id}, because the service has changed: {scene.asked_by}"
    held = gate.first
    if not start_first:
        state, why = TaskState.READY, behind(old)
    elif ahead:
        state, why = TaskState.READY, "is prepared ahead and starts once those before it are ready"
    elif held:
        state, why = TaskState.READY, f"waits for {held}"
    else:
        state, why = TaskState.RUNNING, "is to be ready before the task it replaces is stopped"
    latest = slot.latest or old
    plan.create(
        Create(
            slot=slot.key[0], node_id=slot.key[1], reason=reason, replaces=latest.id, desired_state=state,
            desired_reason=why,
        )
    )  # fmt: skip


def _create(scene: Scene, slot: Slot, verdict: Verdict, gate: Gate, plan: Plan, *, like: str = "") -> Create:
    state, why = TaskState.RUNNING, scene.asked_by
    holds = gate.as_before(slot.latest) if like and slot.latest else gate.holds(slot.latest)
    stop_first = bool(slot.outdated) and policy_of(scene, 1).order is UpdateOrder.STOP_FIRST
    in_the_way = slot.outdated if stop_first else []
    if verdict.not_before > plan.now:
        state, why = TaskState.READY, waiting_reason(verdict.failures, verdict.not_before - plan.now)
    elif in_the_way:
        state, why = TaskState.READY, behind(in_the_way[0])
    elif holds:
        state, why = TaskState.READY, f"waits for {holds}"
    return Create(
        slot=slot.key[0],
        node_id=slot.key[1],
        failures=verdict.failures,
        not_before=verdict.not_before,
        reason=verdict.reason,
        replaces=slot.latest.id if slot.latest else "",
        desired_state=state,
        desired_reason=why,
        like=like,
    )


def behind(old: Task) -> str:
    """Return what the replacement of *old* waits for that may not run beside it."""
    return f"waits until the task it replaces ({old.id}) has stopped"
