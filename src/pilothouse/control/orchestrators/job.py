"""Jobs: each slot's task runs until it has completed once; a failed one is tried again as its policy says."""

from pilothouse.control.orchestrators.endings import how_it_ended
from pilothouse.control.orchestrators.moves import has_begun, is_urgent
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.progress import is_done, report_job
from pilothouse.control.orchestrators.restart import Next
from pilothouse.control.orchestrators.scene import Key, Scene, Slot, place_name
from pilothouse.control.orchestrators.vacancy import Gate, after_resume, fill, release
from pilothouse.model.objects import Task
from pilothouse.model.states import TaskState


def keep(scene: Scene, by_key: dict[Key, Slot], keys: tuple[Key, ...], plan: Plan) -> None:
    """Decide for each wanted slot; *by_key* gets an empty slot for each key it lacks."""
    gate = Gate(scene)
    for key in keys:
        slot = by_key.setdefault(key, Slot(key=key))
        for extra in slot.extra:
            plan.withdraw(slot, extra, "its slot has another task already")
        for old in slot.outdated:
            plan.withdraw(slot, old, f"the job has changed: {scene.asked_by}")
        if slot.current is not None and slot.leaving:
            _stop_if_it_must(scene, slot, slot.current, plan)
        if slot.current is not None:
            release(scene, slot, gate, plan, start_first=False)
        elif slot.vacant and not slot.completed:
            _again(scene, slot, gate, plan)
    if not is_done(scene):
        report_job(scene, by_key, [by_key[key] for key in keys], gate, plan)


def _stop_if_it_must(scene: Scene, slot: Slot, task: Task, plan: Plan) -> None:
    """Let a task that somebody wants elsewhere run to its end, unless it has not begun or its time is over."""
    request = scene.disruptions[task.id]
    if task.state >= TaskState.ASSIGNED and (is_urgent(request, plan) or not has_begun(task)):
        plan.stop(task, request.reason)
        slot.current, slot.stopping = None, [*slot.stopping, task]


def _again(scene: Scene, slot: Slot, gate: Gate, plan: Plan) -> None:
    latest = slot.latest
    if latest is not None and latest.fingerprint == scene.fingerprint:
        ended_badly = latest.state is not TaskState.COMPLETE and latest.desired_state is not TaskState.SHUTDOWN
        verdict = after_resume(scene, latest, plan.now)
        if verdict.next is Next.LEAVE and ended_badly:
            name = place_name(scene.service, slot.key)
            plan.notice(f"the job {name} failed: it {how_it_ended(latest)}, and its restart policy allows no other try")
            return
    fill(scene, slot, gate, plan)
