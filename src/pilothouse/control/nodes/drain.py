"""Which tasks must leave a node that a person drains or taints, and what is still there. Pure.

A request is made for each task and goes when its cause goes; who replaces the task, and when, is the orchestrators'.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from pilothouse.model.base import Value
from pilothouse.model.cluster import Disruption, DisruptionKind
from pilothouse.model.counts import count
from pilothouse.model.names import display_name
from pilothouse.model.node import Availability, Node
from pilothouse.model.objects import Service, Task
from pilothouse.model.placement import Taint, TaintEffect, tolerates
from pilothouse.model.states import TaskState
from pilothouse.store.interface import ReadTx

REQUESTED_BY = "nodes"
_KINDS = frozenset({DisruptionKind.DRAIN, DisruptionKind.TAINT})
_MOST_NAMED = 5


class Requests(Value, frozen=True, kw_only=True):
    """What to write: requests that no longer hold, and those that must be there. A changed one is in both."""

    withdrawn: tuple[Disruption, ...] = ()
    made: tuple[Disruption, ...] = ()


def empties(node: Node) -> bool:
    """Tell whether *node* is to lose tasks: all of them, or those that do not tolerate a taint."""
    return node.spec.availability is Availability.DRAIN or bool(_evicting(node))


def requests(node: Node | None, tasks: Iterable[Task], known: Iterable[Disruption], now: float) -> Requests:
    """Return what differs between the requests there should be for the *tasks* of a node and those there are.

    Args:
        node: None if it was removed.
        tasks: All that were placed on it.
        known: The requests that there are for them, whoever made them.
        now: Wall-clock seconds.
    """
    by_id = {request.id: request for request in known}
    withdrawn, made = [], []
    for task in tasks:
        before = by_id.get(task.id)
        if task.state.terminal or (before is not None and not _ours(before)):
            continue  # the reaper's, or another's
        wanted = None if node is None else _wanted(node, task, now)
        if wanted is not None and before is None and task.desired_state is TaskState.SHUTDOWN:
            continue
        if before is not None and wanted is not None:
            wanted = replace(wanted, requested_at=before.requested_at, version=before.version)
        if wanted == before:
            continue
        withdrawn += [] if before is None else [before]
        made += [] if wanted is None else [replace(wanted, version=0)]
    return Requests(withdrawn=tuple(withdrawn), made=tuple(made))


def returns_at(node: Node) -> float | None:
    """Return when *node* takes work again by itself, or None if only a person can say so."""
    maintenance = node.spec.maintenance
    draining = node.spec.availability is Availability.DRAIN
    return maintenance.until if maintenance is not None and draining else None


def drain_sentence(tx: ReadTx, node: Node) -> str:
    """Return how far a node that is to lose tasks has come, and what each of those left waits for; "" if it is not."""
    if not empties(node):
        return ""
    left = [
        task
        for task in tx.find(Task, node_id=node.id)
        if task.state >= TaskState.ASSIGNED and not task.state.terminal and _cause(node, task) is not None
    ]
    done = "drained" if node.spec.availability is Availability.DRAIN else "rid of what does not tolerate its taints"
    if not left:
        return f"{done}: 0 tasks left"
    named = [f"{task.app}/{display_name(task)} {_waits_for(tx, task)}" for task in left[:_MOST_NAMED]]
    more = [] if len(left) <= _MOST_NAMED else [f"and {count(len(left) - _MOST_NAMED, 'other')}"]
    return f"being {done}: {count(len(left), 'task')} left: {'; '.join([*named, *more])}"


def _ours(request: Disruption) -> bool:
    return request.requested_by == REQUESTED_BY and request.kind in _KINDS


def _evicting(node: Node) -> list[Taint]:
    return [taint for taint in node.spec.taints if taint.effect is TaintEffect.EVICT]


def _cause(node: Node, task: Task) -> DisruptionKind | None:
    if node.spec.availability is Availability.DRAIN:
        return DisruptionKind.DRAIN
    return DisruptionKind.TAINT if _untolerated(node, task) is not None else None


def _untolerated(node: Node, task: Task) -> Taint | None:
    return next((taint for taint in _evicting(node) if not tolerates(task.spec.placement, taint)), None)


def _wanted(node: Node, task: Task, now: float) -> Disruption | None:
    """Return the request there should be for a live task of *node*, or None."""
    kind = _cause(node, task)
    if kind is None or task.state < TaskState.ASSIGNED:
        return None
    name, maintenance = node.description.hostname or node.id, node.spec.maintenance
    why = f": {maintenance.reason}" if maintenance is not None and maintenance.reason else ""
    taint = _untolerated(node, task)
    reason = f"node {name} is drained{why}"
    if kind is DisruptionKind.TAINT and taint is not None:
        value = f"={taint.value}" if taint.value else ""
        reason = f"node {name} has the taint {taint.key}{value}, which {task.service} does not tolerate"
    return Disruption(
        id=task.id,
        app=task.app,
        service=task.service,
        kind=kind,
        reason=reason,
        requested_at=now,
        requested_by=REQUESTED_BY,
        deadline=maintenance.deadline if maintenance is not None and kind is DisruptionKind.DRAIN else None,
    )


def _waits_for(tx: ReadTx, task: Task) -> str:
    """Return why a task is still on a node that it is to leave."""
    service = tx.get(Service, task.service_id)
    if task.desired_state is TaskState.SHUTDOWN:
        return "is stopping"
    if task.step >= 0 or (service is not None and service.spec.mode.job):
        return "runs to its end"
    after = [
        other
        for other in tx.find(Task, service_id=task.service_id)
        if (other.slot, other.fingerprint, other.step) == (task.slot, task.fingerprint, -1)
        and other.id != task.id
        and other.created_at >= task.created_at
        and not other.state.terminal
        and other.desired_state is not TaskState.SHUTDOWN
    ]
    if not after:
        return "waits until its service may move it"
    new = max(after, key=lambda other: (other.created_at, other.id))
    if new.state < TaskState.ASSIGNED:
        return f"waits for a node for {new.id} ({new.placement_message or new.resource_message or 'none yet'})"
    return f"waits until {new.id} on {new.node_id} {'is ready' if not new.status.ready else 'has settled'}"
