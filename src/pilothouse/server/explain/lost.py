"""What happens next with a node that is silent, held back or under pressure, and with the tasks on it."""

from pilothouse.control.nodes.timers import (
    FENCED_SECONDS,
    KILL_SECONDS,
    LEASE_SECONDS,
    LOST_SECONDS,
    SUSPECT_SECONDS,
)
from pilothouse.control.orchestrators.endings import duration
from pilothouse.model.cluster import CLUSTER_ID, Cluster
from pilothouse.model.counts import count
from pilothouse.model.cut_off import strictest
from pilothouse.model.exclusive import in_the_way
from pilothouse.model.node import Node, NodeState
from pilothouse.model.objects import Service, Task
from pilothouse.model.spec import CutOffAction
from pilothouse.store.interface import ReadTx

_GONE = {NodeState.SUSPECT, NodeState.DOWN}


def away(node: Node) -> bool:
    """Whether a node cannot be reached, so that what is known of its tasks may be old."""
    return not node.ready and node.state is not NodeState.READY


def node_next(tx: ReadTx, node: Node, tasks: list[Task], now: float) -> str:
    """Return what happens next with *node*, on which these live *tasks* are; "" if nothing is special about it."""
    cluster = tx.get(Cluster, CLUSTER_ID)
    if node.state is NodeState.READY and node.held_until is not None and not node.pressure:
        return f"it takes new tasks in {duration(max(0.0, node.held_until - now))}, if it stays"
    if node.state is NodeState.READY and node.pressure:
        return "it takes new tasks as soon as that is over; what runs there is left running"
    if node.state not in _GONE or cluster is None:
        return ""
    if node.state is NodeState.SUSPECT and cluster.evictions_paused_since is not None:
        return cluster.evictions_message
    if node.state is NodeState.SUSPECT:
        return (
            f"if it stays silent, its tasks are made anew elsewhere {LOST_SECONDS:g} s after its last sign of life, "
            f"those that must be single after {FENCED_SECONDS:g} s; three beats in a row end that"
        )
    left = f"{count(len(tasks), 'task')} of it that must be single or have no other place to go wait" if tasks else ""
    return "; ".join(
        part for part in (left, "what still runs there of the others is killed as soon as it is back") if part
    )


def task_next(service: Service, task: Task) -> str:
    """Return what happens next with a live *task* whose node is away."""
    rule = strictest(service, [task])
    due = f"{FENCED_SECONDS:g} s after the node's last sign of life"
    match rule.action:
        case CutOffAction.FENCE:
            why = in_the_way(task.spec.container) or "the manifest says so"
            return (
                f"it must be single ({why}), so its node kills it by itself at most {LEASE_SECONDS + KILL_SECONDS:g} s "
                f"after its last answer from a manager, and another is made {due}"
            )
        case CutOffAction.STOP:
            return (
                f"another is made {LOST_SECONDS:g} s after the node's last sign of life; its node stops it by itself "
                f"{duration(LEASE_SECONDS + rule.after_seconds)} after its last answer from a manager"
            )
        case CutOffAction.KEEP:
            return (
                f"it may run on there; another is made {LOST_SECONDS:g} s after the node's last sign of life, and this "
                "one is killed as soon as the node is back"
            )


def silent_for(node: Node, now: float) -> str:
    """Return for how long nothing was heard of a node, about: it is suspect after some seconds already."""
    if node.state not in _GONE or not node.since:
        return ""
    return duration(max(0.0, now - node.since) + (LOST_SECONDS if node.state is NodeState.DOWN else SUSPECT_SECONDS))
