"""What a running task has not passed yet, in words, and when that has lasted too long. Pure."""

from pilothouse.control.orchestrators.endings import duration
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.rollout import DEADLINE_SECONDS
from pilothouse.control.orchestrators.scene import Key, Scene, Slot, place_name
from pilothouse.model.objects import Health, Task
from pilothouse.model.states import TaskState


def unpassed(task: Task) -> str:
    """Return which checks of *task*, of which at least one has not passed yet, there are: "its startup probe"."""
    probes, check = task.spec.probes, task.spec.container.healthcheck
    checked = check is not None and check.test not in {(), ("NONE",)}
    names = [
        f"its {name}"
        for name, there in (("startup probe", probes.startup), ("ready probe", probes.ready), ("health check", checked))
        if there
    ]
    # An image may bring a health check that no spec names.
    return " or ".join(names) or "its health check"


def mind_the_start(scene: Scene, by_key: dict[Key, Slot], keys: tuple[Key, ...], plan: Plan) -> None:
    """Say so once a task has run until its deadline without ever passing its checks; it is left running.

    A slot that is being updated is the updater's.
    """
    for key in keys:
        slot = by_key.get(key)
        task = slot.current if slot is not None and not slot.outdated else None
        if task is None or task.state is not TaskState.RUNNING or task.status.health is not Health.STARTING:
            continue
        if task.desired_state is not TaskState.RUNNING or task.status.started_at is None:
            continue
        written = scene.service.spec.release.deadline_seconds
        allowed = DEADLINE_SECONDS if written is None else written
        deadline = task.status.started_at + allowed
        plan.look_again(deadline)
        if deadline <= plan.now:
            plan.notice(
                f"{place_name(scene.service, key)} runs, but {unpassed(task)} has not passed in "
                f"{duration(allowed)}; it is left running and is asked on"
            )
