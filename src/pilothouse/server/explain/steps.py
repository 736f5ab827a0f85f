"""What the step that tasks wait for is doing, in words."""

from pilothouse.control.orchestrators.endings import how_it_ended
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.control.orchestrators.steps import failed_step, next_step, waiting_step
from pilothouse.model.names import display_name
from pilothouse.model.objects import Task
from pilothouse.model.rollout import Evidence
from pilothouse.model.states import TaskState
from pilothouse.server.explain.words import since
from pilothouse.server.sentences import task_sentence


def held_by_step(scenes: Scenes, task: Task) -> bool:
    """Whether *task* waits for a step of its service, or would if the step had not failed."""
    scene = scenes.scene(task.service_id)
    waits = task.step < 0 and not task.state.terminal and task.desired_state is TaskState.READY
    return waits and scene is not None and task.fingerprint == scene.fingerprint and bool(waiting_step(scene))


def step_clause(scenes: Scenes, task: Task, now: float) -> str:
    """Return what follows "waits for its step 1 of 2 (…)": since when that runs, or why it does not; "" if nothing."""
    step = _step_of(scenes, task)
    if step is None or step.state.terminal:
        return ""
    if step.state is TaskState.RUNNING:
        return f", running {since(step.status.started_at or step.status.since, now)}"
    return f", which {task_sentence(step)}"


def step_causes(scenes: Scenes, task: Task) -> list[str]:
    """Return which task runs the step that *task* waits for, or how it failed."""
    step = _step_of(scenes, task)
    if step is None:
        return []
    how = how_it_ended(step) if step.state.terminal else task_sentence(step) or "runs"
    return [f"The step is {display_name(step)} ({step.id}): it {how}."]


def step_evidence(scenes: Scenes, task: Task) -> Evidence | None:
    """Return how the step failed that *task* waits for; None if it did not."""
    scene = scenes.scene(task.service_id)
    return failed_step(scene) if scene is not None and held_by_step(scenes, task) else None


def _step_of(scenes: Scenes, task: Task) -> Task | None:
    """Return the newest task of the step that *task* waits for."""
    scene = scenes.scene(task.service_id)
    if scene is None or not held_by_step(scenes, task):
        return None
    wanted = (scene.fingerprint, next_step(scene))
    found = [step for step in scene.step_tasks if (step.fingerprint, step.step) == wanted]
    return max(found, key=lambda step: (step.created_at, step.id), default=None)
