"""Replicated services: slots 1 to N, each with one task that should run."""

from pilothouse.control.orchestrators.course import Course, course_of
from pilothouse.control.orchestrators.moves import begin, carry_on
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.progress import is_done, report
from pilothouse.control.orchestrators.scene import Key, Scene, Slot, is_ready
from pilothouse.control.orchestrators.updater import advance, awaits_its_turn, withdraw
from pilothouse.control.orchestrators.vacancy import Gate, fill, heal_beside, release, release_again
from pilothouse.model.objects import Service
from pilothouse.model.states import TaskState


def wanted(service: Service) -> tuple[Key, ...]:
    """Return the slots a replicated service should have."""
    return tuple((number, "") for number in range(1, service.spec.replicas + 1))


def keep(scene: Scene, by_key: dict[Key, Slot], keys: tuple[Key, ...], plan: Plan) -> None:
    """Decide for each wanted slot; *by_key* gets an empty slot for each key it lacks."""
    kept = [by_key.setdefault(key, Slot(key=key)) for key in keys]
    unsettled = [slot for slot in kept if not _at_rest(slot)]
    if not unsettled and is_done(scene):
        return
    gate = Gate(scene)
    course = course_of(scene, kept, plan)
    for slot in unsettled:
        for extra in slot.extra:
            called_off = slot.current is not None and extra.replaces == slot.current.id
            why = "what it was to replace need not go any more" if called_off else "its slot has another task already"
            plan.withdraw(slot, extra, why)
    carry_on(scene, unsettled, course, gate, plan)
    withdraw(scene, unsettled, course, gate, plan)
    # Where old tasks are to stay, one may have died beside a new task that is well.
    keeps = course.stage is not None or course.stopped or course.paused
    for slot in kept if keeps else unsettled:
        _tend(scene, slot, course, gate, plan)
    if any(slot.outdated for slot in unsettled):
        advance(scene, kept, course, gate, plan)
    begin(scene, kept, course, gate, plan)
    report(scene, by_key, kept, course, gate, plan)


def _tend(scene: Scene, slot: Slot, course: Course, gate: Gate, plan: Plan) -> None:
    """See to it that something lives in a slot, and that what waits for nothing but a time or a condition goes on."""
    release_again(slot, gate, plan, start_first=course.start_first)
    if slot.vacant:
        if _keeps_both(slot, course) and heal_beside(scene, slot, gate, plan):
            return
        if course.admits(slot) or slot.latest is not None:
            fill(scene, slot, gate, plan, revive=course.keeps_old(slot))
    elif not awaits_its_turn(scene, slot, course, gate) and not (
        _lost_old(slot, course) and heal_beside(scene, slot, gate, plan)
    ):
        release(scene, slot, gate, plan, start_first=course.start_first)


def _lost_old(slot: Slot, course: Course) -> bool:
    """Whether *slot* may be short of the old task that should be in it beside the new one."""
    if slot.current is None or slot.outdated or slot.stopping:
        return False
    # Where two would be in each other's way the old one comes back only if the new one has not begun.
    if not course.start_first and slot.current.desired_state is not TaskState.READY:
        return False
    return course.stage is not None or (_keeps_both(slot, course) and not is_ready(slot.current))


def _keeps_both(slot: Slot, course: Course) -> bool:
    return course.stage is not None or course.keeps_old(slot)


def _at_rest(slot: Slot) -> bool:
    """Whether a slot has one task, of the present spec, that nothing holds back."""
    return (
        slot.current is not None
        and slot.current.desired_state is TaskState.RUNNING
        and not slot.outdated
        and not slot.stopping
        and not slot.extra
        and not slot.leaving
    )
