"""What becomes of a service's tasks on a node that no manager can reach: as written, else the platform's choice."""

from collections.abc import Iterable

from pilothouse.model.container import ContainerSpec
from pilothouse.model.exclusive import in_the_way
from pilothouse.model.objects import Service, Task
from pilothouse.model.spec import CutOff, CutOffAction, Mode

KEEP = CutOff(action=CutOffAction.KEEP)
FENCE = CutOff(action=CutOffAction.FENCE)


def cut_off_of(service: Service, container: ContainerSpec | None = None) -> CutOff:
    """Return the rule for *service*, or for a task of it that was made with an older *container*.

    A task of a global service has nowhere else to go, so nothing is gained by killing it, unless somebody wrote so.
    """
    spec = service.spec
    if spec.cut_off is not None:
        return spec.cut_off
    if spec.mode in {Mode.GLOBAL, Mode.GLOBAL_JOB}:
        return KEEP
    return FENCE if in_the_way(container or spec.task.container) else KEEP


def strictest(service: Service, tasks: Iterable[Task]) -> CutOff:
    """Return the rule for *tasks* of *service* together: FENCE if one of them, old or new, has to be fenced."""
    rules = [cut_off_of(service), *(cut_off_of(service, task.spec.container) for task in tasks)]
    return next((rule for rule in rules if rule.action is CutOffAction.FENCE), rules[0])
