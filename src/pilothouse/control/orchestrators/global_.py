"""Global services: one task on every node that suits."""

from pilothouse.control.orchestrators.scene import Key
from pilothouse.model.node import Availability, Node
from pilothouse.model.objects import Service, Task
from pilothouse.model.placement import TaintEffect, tolerates
from pilothouse.model.states import TaskState
from pilothouse.model.suits import could_run, runs


def wanted(service: Service, tasks: tuple[Task, ...], nodes: tuple[Node, ...]) -> tuple[Key, ...]:
    """Return a slot for each node that meets the constraints and runs the image's platform, in order of the nodes' ids.

    A node that is drained, or has a taint that evicts what does not tolerate it, gets none; only the task of a job runs
    to its end there. A node that is paused, tainted otherwise or away gets no new task, but keeps the one it has.
    """
    present = {task.node_id for task in tasks if not task.state.terminal and task.desired_state < TaskState.SHUTDOWN}
    return tuple((0, node.id) for node in nodes if _suits(service, node) and _open(service, node, node.id in present))


def _open(service: Service, node: Node, present: bool) -> bool:
    effects = {taint.effect for taint in node.spec.taints if not tolerates(service.spec.task.placement, taint)}
    if node.spec.availability is Availability.DRAIN or TaintEffect.EVICT in effects:
        return present and service.spec.mode.job
    return present or (node.ready and node.spec.availability is Availability.ACTIVE and not effects)


def _suits(service: Service, node: Node) -> bool:
    return could_run(service.spec, node) and runs(node, service.image.platform)
