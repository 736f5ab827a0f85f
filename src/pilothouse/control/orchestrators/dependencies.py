"""`depends_on`: what must hold before a task may start, and who must be gone before one may stop.

The loader refuses cycles, so following edges always ends.
"""

from pilothouse.control.orchestrators.scene import Neighbour, Scene, Slot, is_ready, slots
from pilothouse.model.objects import Task
from pilothouse.model.spec import Condition, Dependency
from pilothouse.model.states import TaskState

_WAITS_FOR = {
    Condition.STARTED: "to run",
    Condition.HEALTHY: "to be healthy",
    Condition.COMPLETED: "to complete",
}


def unmet(scene: Scene, *, healing: bool = False) -> str:
    """Return what a task of the service waits for, as "db to be healthy and migrate to complete"; "" if nothing.

    Args:
        scene: The service and its surroundings.
        healing: The task follows one of the same spec that had already started. Its dependencies were met once, so one
            task of each is enough: a single broken replica of a dependency must not keep the dependents down.
    """
    missing = [
        f"{edge.service} {_WAITS_FOR[edge.condition]}{_absent(scene.dependencies.get(edge.service))}"
        for edge in scene.service.spec.depends_on
        if not _met(edge, scene.dependencies.get(edge.service), healing=healing)
    ]
    return " and ".join(missing)


def _absent(neighbour: Neighbour | None) -> str:
    there = neighbour is not None and neighbour.service is not None and not neighbour.service.removing
    return "" if there else " (the app has no such service any more)"


def stop_waits_for(scene: Scene) -> str:
    """Return which dependents must be gone before tasks of a leaving service may be stopped; "" if none."""
    return " and ".join(scene.live_dependents)


def _met(edge: Dependency, neighbour: Neighbour | None, *, healing: bool) -> bool:
    service = neighbour.service if neighbour else None
    if neighbour is None or service is None or service.removing:
        return not edge.required
    if not edge.required and service.notice:
        return True
    by_key = slots(neighbour.tasks, neighbour.fingerprint)
    reached = [_reached(edge.condition, by_key.get(key), healing=healing) for key in neighbour.wanted]
    if healing and edge.condition is not Condition.COMPLETED:
        return any(reached) or not reached
    return all(reached)


def _reached(condition: Condition, slot: Slot | None, *, healing: bool) -> bool:
    if slot is None:
        return False
    if condition is Condition.COMPLETED:
        return slot.completed
    if slot.vacant and slot.completed:
        return True
    candidates = [*([slot.current] if slot.current else []), *(slot.outdated if healing else [])]
    return any(_started(task) if condition is Condition.STARTED else is_ready(task) for task in candidates)


def _started(task: Task) -> bool:
    return task.state is TaskState.RUNNING
