"""What one task is doing and why, in one clause; `ps`, `up` and `explain` say the same words. Pure."""

from pilothouse.control.orchestrators.endings import how_it_ended
from pilothouse.control.orchestrators.readiness import unpassed
from pilothouse.model.objects import Health, Service, Task
from pilothouse.model.states import TaskState
from pilothouse.model.steps import step_title

_DOING = {
    TaskState.NEW: "was just made",
    TaskState.PENDING: "waits for a node",
    TaskState.ASSIGNED: "waits for its node",
    TaskState.ACCEPTED: "waits for its node to begin",
    TaskState.PREPARING: "is being prepared",
    TaskState.READY: "is prepared",
    TaskState.STARTING: "is starting",
}
_SAID_BY_THE_STATE = {"", "accepted by the node", "being prepared", "prepared", "starting", "running"}
"""What an agent reports of a state when there is no more to say than its name."""


def task_sentence(task: Task) -> str:
    """Return why *task* is as it is; "" if it runs and is ready."""
    if task.state.terminal:
        return _dead(task)
    if task.desired_state is TaskState.SHUTDOWN:
        return drain(task) or f"is stopping: {task.desired_reason}"
    if task.state is TaskState.RUNNING:
        return not_ready(task)
    return _on_its_way(task)


def running_step(service: Service | None, task: Task) -> str:
    """Return what a running step does, as a clause; "" if *task* is no step that runs."""
    if task.step < 0 or task.state is not TaskState.RUNNING or task.desired_state is TaskState.SHUTDOWN:
        return ""
    hooks = service.spec.task.pre_start if service else ()
    known = service is not None and task.step < len(hooks) and not hooks[task.step].per_replica
    return f"runs {step_title(service.spec.task, task.step)}" if service and known else "runs a step that is gone"


def drain(task: Task) -> str:
    """Return that a task which is to stop ends what the proxy sent to it, as a clause; "" if it does not."""
    draining = task.state is TaskState.RUNNING and task.status.message.startswith("draining")
    return f"gets no new callers: {task.status.message}" if draining else ""


def not_ready(task: Task) -> str:
    """Return why a running *task* gets no traffic; "" if it does."""
    if drain(task):
        return drain(task)
    if task.status.message.startswith("stopping: "):
        return f"is being stopped: {task.status.message.removeprefix('stopping: ')}"
    if task.status.health is Health.UNHEALTHY:
        return _with(task, "runs, but its health check fails")
    if task.status.health is Health.STARTING:
        return _with(task, f"runs, but {unpassed(task)} has not passed yet")
    if task.status.ready:
        return ""
    return _with(
        task, "runs, but its ready probe does not pass" if task.spec.probes.ready else "runs, but is not ready"
    )


def _dead(task: Task) -> str:
    if task.desired_state is TaskState.SHUTDOWN:
        return f"stopped: {task.desired_reason}"
    if task.state is TaskState.COMPLETE:
        return f"completed: it {how_it_ended(task)}"
    return how_it_ended(task)


def _on_its_way(task: Task) -> str:
    if task.state is TaskState.NEW and task.resource_message:
        return f"waits: {task.resource_message}"
    if task.state is TaskState.PENDING and task.placement_message:
        return f"waits for a node: {task.placement_message}"
    if task.desired_state is TaskState.READY:
        return task.desired_reason
    return _with(task, _DOING.get(task.state, task.state.name.lower()))


def _with(task: Task, doing: str) -> str:
    message = task.status.message
    # An agent may not have heard yet that what it says it waits for is over.
    old = task.state is TaskState.READY and message.startswith("prepared")
    return doing if old or message in _SAID_BY_THE_STATE else f"{doing}: {message}"
