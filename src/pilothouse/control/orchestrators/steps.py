"""Once-per-release steps: when each is made, when it may start, and what holds tasks back until all are done. Pure.

A step is a task of its own, in no slot, made once for a fingerprint. Its end is remembered in the service in the
transaction that sees it, so neither a lost task nor a killed server makes one run twice. One that was overtaken by
another release runs to its end, as half a migration is worse than a whole one that nobody needs.
"""

from pilothouse.control.orchestrators.changes import Create
from pilothouse.control.orchestrators.dependencies import unmet
from pilothouse.control.orchestrators.endings import how_it_ended
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.scene import Key, Scene
from pilothouse.model.cluster import Disruption
from pilothouse.model.names import display_name, step_name
from pilothouse.model.objects import Task
from pilothouse.model.rollout import Evidence, StepRecord
from pilothouse.model.states import TaskState
from pilothouse.model.steps import record_of, remembered, step_indexes, step_title


def keep(scene: Scene, keys: tuple[Key, ...], plan: Plan) -> None:
    """Remember the steps that ended, call off what is overtaken, and have the next step made or let go.

    Args:
        scene: The service and its surroundings.
        keys: The slots it should have; without one there is nothing a step would be run for.
        plan: Where the decision goes.
    """
    for record in _ended(scene):
        plan.remember(record)
    index = next_step(scene) if keys else None
    live = [task for task in scene.step_tasks if not task.state.terminal]
    mine = [task for task in live if (task.fingerprint, task.step) == (scene.fingerprint, index)]
    others = [task for task in live if task not in mine]
    for task in others:
        if _can_be_called_off(task):
            plan.stop(task, f"overtaken before it began: {scene.asked_by}")
    for task in live:
        request = scene.disruptions.get(task.id)
        if request is not None and task.state >= TaskState.ASSIGNED and _must_go(task, request, plan):
            plan.stop(task, request.reason)
    # What no node knows of is dead by being called off.
    others = [task for task in others if task.state >= TaskState.ASSIGNED]
    if index is None:
        return
    failed = _failure(scene, index)
    if failed is not None and not mine:
        plan.notice(
            f"{scene.service.name} does not get on: its {step_title(scene.service.spec.task, index)} {failed.message}, "
            f"and is not run again by itself; correct the cause and deploy again, or run "
            f"`pilothouse resume {scene.service.app}` to try it once more"
        )
        return
    held = _holds(scene, others)
    if mine:
        _let_go(mine[0], held, plan)
    else:
        _make(scene, index, held, plan)


def next_step(scene: Scene) -> int | None:
    """Return the first step of the present spec that is not done, or None if all are or there is none."""
    indexes = step_indexes(scene.service.spec.task)
    if not indexes:
        return None
    mine = [record for record in _records(scene) if record.fingerprint == scene.fingerprint]
    if not mine and any(_proves(scene, task) for task in scene.tasks):
        return None
    done = {record.index for record in mine if record.done}
    return next((index for index in indexes if index not in done), None)


def waiting_step(scene: Scene) -> str:
    """Return the step that tasks of the present spec wait for, as "its step 1 of 2 (./migrate up)"; "" if none."""
    index = next_step(scene)
    if index is None:
        return ""
    title = f"its {step_title(scene.service.spec.task, index)}"
    return f"{title}, which failed" if failed_step(scene) is not None else title


def failed_step(scene: Scene) -> Evidence | None:
    """Return what shows that a step of the present spec failed and is not tried again; None if none did."""
    index = next_step(scene)
    record = None if index is None else _failure(scene, index)
    if index is None or record is None or _is_live(scene, index):
        return None
    task = next((task for task in scene.step_tasks if task.id == record.task_id), None)
    ending = task.status.ending if task else None
    return Evidence(
        service=scene.service.name,
        task_id=record.task_id,
        task=step_name(scene.service.name, index),
        cause=f"its {step_title(scene.service.spec.task, index)} {record.message}",
        log_tail=ending.log_tail if ending else (),
    )


def remembered_steps(scene: Scene, ended: tuple[StepRecord, ...]) -> tuple[StepRecord, ...]:
    """Return what the service is to remember once *ended* is added; records of tasks that still exist stay."""
    if not ended:
        return scene.service.steps
    needed = {scene.fingerprint, *(task.fingerprint for task in scene.step_tasks)}
    return remembered(scene.service.steps, ended, needed)


def _records(scene: Scene) -> tuple[StepRecord, ...]:
    """Return what will be remembered once this look has been carried out."""
    return remembered_steps(scene, _ended(scene))


def _ended(scene: Scene) -> tuple[StepRecord, ...]:
    """Return a record of each step that ended and is not remembered yet, in the order in which they were made.

    One that was stopped because the service or the app was removed leaves none: who wants them back asks for it anew.
    """
    known = {record.task_id for record in scene.service.steps}
    dead = [
        task
        for task in scene.step_tasks
        if task.state.terminal and task.state is not TaskState.SHUTDOWN and task.id not in known
    ]
    dead.sort(key=lambda task: (task.created_at, task.id))
    return tuple(_record(task) for task in dead)


def _record(task: Task) -> StepRecord:
    unknown = ", and it is not known how far it came" if task.state is TaskState.ORPHANED else ""
    return StepRecord(
        fingerprint=task.fingerprint,
        index=task.step,
        task_id=task.id,
        done=task.state is TaskState.COMPLETE,
        ended_at=task.status.finished_at or task.status.since or task.created_at,
        message=f"{how_it_ended(task)}{unknown}",
    )


def _proves(scene: Scene, task: Task) -> bool:
    """Whether *task* shows that the steps of the present spec are done: it would not have started otherwise.

    So it is for what an earlier version of the platform started, and for containers that were taken over.
    """
    return task.fingerprint == scene.fingerprint and (task.status.started_at is not None or task.adopts != "")


def _failure(scene: Scene, index: int) -> StepRecord | None:
    """Return how step *index* failed, unless a person asked for another try since."""
    record = record_of(_records(scene), scene.fingerprint, index)
    asked = max(scene.app.deployed_at, scene.app.resumed_at) if scene.app else 0.0
    return None if record is None or record.done or record.ended_at < asked else record


def _is_live(scene: Scene, index: int) -> bool:
    return any(
        (task.fingerprint, task.step) == (scene.fingerprint, index) and not task.state.terminal
        for task in scene.step_tasks
    )


def _must_go(task: Task, request: Disruption, plan: Plan) -> bool:
    """Whether a step that somebody wants elsewhere is stopped: it runs to its end unless its time is over."""
    if request.deadline is not None:
        plan.look_again(request.deadline)
    late = request.deadline is not None and request.deadline <= plan.now
    return request.at_once or late or task.state < TaskState.STARTING


def _can_be_called_off(task: Task) -> bool:
    """Whether *task* surely has not begun: it waits to be let go, or no node knows of it."""
    return task.desired_state is TaskState.READY or task.state < TaskState.ASSIGNED


def _holds(scene: Scene, others: list[Task]) -> str:
    """Return what the next step waits for; "" if nothing."""
    held = unmet(scene)
    if held:
        return f"waits for {held}"
    if others:
        return f"waits until {display_name(others[0])} of an older version ({others[0].id}) has ended"
    return "waits, because a person paused the app" if scene.app and scene.app.paused else ""


def _let_go(task: Task, held: str, plan: Plan) -> None:
    """Let a step run once nothing holds it back, or keep saying what does; one that was let go stays so."""
    if task.desired_state is TaskState.READY:
        plan.want(
            task,
            TaskState.READY if held else TaskState.RUNNING,
            held or "nothing holds it back any more",
        )


def _make(scene: Scene, index: int, held: str, plan: Plan) -> None:
    title = step_title(scene.service.spec.task, index)
    before = record_of(_records(scene), scene.fingerprint, index)
    again = f" once more, as it {before.message}" if before is not None else ""
    plan.create(
        Create(
            slot=0,
            step=index,
            reason=f"{title} is to run before the tasks of {scene.service.name}{again}: {scene.asked_by}",
            replaces=before.task_id if before is not None else "",
            desired_state=TaskState.READY if held else TaskState.RUNNING,
            desired_reason=held or scene.asked_by,
        )
    )
