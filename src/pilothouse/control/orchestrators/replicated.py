"""Replicated services: slots 1 to N, each with one task that should run."""

from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.rollout import update_order
from pilothouse.control.orchestrators.scene import Key, Scene, Slot
from pilothouse.control.orchestrators.updater import advance, stopped_by_failures, withdraw
from pilothouse.control.orchestrators.vacancy import Gate, fill, release
from pilothouse.model.objects import Service
from pilothouse.model.spec import UpdateOrder
from pilothouse.model.states import TaskState


def wanted(service: Service) -> tuple[Key, ...]:
    """Return the slots a replicated service should have."""
    return tuple((number, "") for number in range(1, service.spec.replicas + 1))


def keep(scene: Scene, by_key: dict[Key, Slot], keys: tuple[Key, ...], plan: Plan) -> None:
    """Decide for each wanted slot; *by_key* gets an empty slot for each key it lacks."""
    gate = Gate(scene)
    kept = [by_key.setdefault(key, Slot(key=key)) for key in keys]
    unsettled = [slot for slot in kept if not _at_rest(slot)]
    if not unsettled:
        return
    updating = any(slot.outdated for slot in unsettled)
    failing = stopped_by_failures(scene, kept, plan.now) if updating or _lost_old(scene, unsettled) else ()
    for slot in unsettled:
        for extra in slot.extra:
            plan.withdraw(slot, extra, "its slot has another task already")
    withdraw(scene, unsettled, failing, gate, plan)
    start_first = update_order(scene.service.spec) is UpdateOrder.START_FIRST
    for slot in unsettled:
        if slot.vacant:
            fill(scene, slot, gate, plan, revive=bool(failing))
        else:
            release(scene, slot, gate, plan, start_first=start_first)
    if any(slot.outdated for slot in unsettled):
        advance(scene, kept, failing, gate, plan)


def _at_rest(slot: Slot) -> bool:
    """Whether a slot has one task, of the present spec, that nothing holds back."""
    return (
        slot.current is not None
        and slot.current.desired_state is TaskState.RUNNING
        and not slot.outdated
        and not slot.stopping
        and not slot.extra
    )


def _lost_old(scene: Scene, unsettled: list[Slot]) -> bool:
    """Whether a task of an older spec died by itself, so that it matters whether the update has stopped."""
    return any(
        slot.vacant and slot.latest is not None and slot.latest.fingerprint != scene.fingerprint for slot in unsettled
    )
