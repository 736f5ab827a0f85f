"""Which tasks of a lost node are given up, so that others may be made in their places. Pure.

Who is given up may still run: what must be single waits until its node has certainly killed it.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from pilothouse.control.nodes.decide import Stage
from pilothouse.model.cut_off import FENCE, KEEP, cut_off_of
from pilothouse.model.exclusive import in_the_way
from pilothouse.model.objects import Service, Task
from pilothouse.model.spec import CutOffAction
from pilothouse.model.states import TaskState


def orphans(tasks: Iterable[Task], services: Mapping[str, Service], stage: Stage) -> tuple[Task, ...]:
    """Return those of a lost node's *tasks* that are given up now, as they should be written.

    Args:
        tasks: Everything on the node; what is dead or was never sent there is left as it is.
        services: By id; of a task whose service is gone, its own container tells.
        stage: How long the node has been silent.
    """
    return tuple(
        replace(task, state=TaskState.ORPHANED)
        for task in tasks
        if TaskState.ASSIGNED <= task.state <= TaskState.RUNNING and _may_go(task, services, stage)
    )


def _may_go(task: Task, services: Mapping[str, Service], stage: Stage) -> bool:
    if stage is not Stage.UNFENCED:
        return stage is Stage.ALL
    container = task.spec.container
    service = services.get(task.service_id)
    if service is None:
        rule = FENCE if in_the_way(container) else KEEP
        return rule.action is not CutOffAction.FENCE
    # The newest rule may not have reached the node, so the older one holds as well.
    rules = (cut_off_of(service), cut_off_of(service, container))
    return all(rule.action is not CutOffAction.FENCE for rule in rules)
