"""Decisions to writes: the only place where the orchestrator touches objects."""

from msgspec.structs import replace

from pilothouse.control.orchestrators.changes import Create, Decision, Desire
from pilothouse.control.orchestrators.scene import Scene
from pilothouse.control.orchestrators.steps import remembered_steps
from pilothouse.ids import Ids
from pilothouse.model.objects import ResolvedImage, Service, Task
from pilothouse.model.spec import TaskSpec
from pilothouse.model.states import TaskState
from pilothouse.model.steps import hook_spec, step_image
from pilothouse.store.interface import WriteTx


def carry_out(tx: WriteTx, scene: Scene, decision: Decision, now: float, ids: Ids) -> None:
    """Write what was decided; *scene* is what *tx* sees."""
    by_id = {task.id: task for task in (*scene.tasks, *scene.step_tasks)} if decision.changes else {}
    for change in decision.changes:
        if isinstance(change, Desire):
            tx.put(wanted(by_id[change.task_id], change))
        else:
            tx.put(created(scene, change, by_id.get(change.like), now, ids.new()))
    rollout = decision.rollout or scene.service.rollout
    steps = remembered_steps(scene, decision.ended)
    tx.put(replace(scene.service, notice=decision.notice, rollout=rollout, steps=steps))


def wanted(task: Task, change: Desire) -> Task:
    """Return *task* as it is wanted now; one that no node knows of is called off by that alone."""
    state = task.state
    if change.state is TaskState.SHUTDOWN and state < TaskState.ASSIGNED:
        state = TaskState.SHUTDOWN
    return replace(task, desired_state=change.state, desired_reason=change.reason, state=state)


def created(scene: Scene, change: Create, like: Task | None, now: float, id: str) -> Task:
    """Return the task to make."""
    service = scene.service
    return Task(
        id=id,
        app=service.app,
        service=service.name,
        slot=change.slot,
        node_id=change.node_id,
        step=change.step,
        spec=_spec(service, change, like),
        image=_image(service, change, like),
        fingerprint=like.fingerprint if like else scene.fingerprint,
        secret_versions=like.secret_versions if like else scene.secret_versions,
        config_versions=like.config_versions if like else scene.config_versions,
        created_at=now,
        release=scene.release.number if scene.release else 0,
        failures=change.failures,
        not_before=change.not_before,
        reason=change.reason,
        replaces=change.replaces,
        desired_state=change.desired_state,
        desired_reason=change.desired_reason,
    )


def _spec(service: Service, change: Create, like: Task | None) -> TaskSpec:
    if like is not None:
        return like.spec
    return service.spec.task if change.step < 0 else hook_spec(service.spec.task, change.step)


def _image(service: Service, change: Create, like: Task | None) -> ResolvedImage:
    if like is not None:
        # It is the same image, of which more may be known by now: which nodes have it.
        same = (like.image.ref, like.image.id) == (service.image.ref, service.image.id)
        return service.image if same and change.step < 0 else like.image
    return service.image if change.step < 0 else step_image(service, change.step)
