"""Why a task has no place yet: the scheduler's own rules asked about every node, and put into lines."""

from pilothouse.control.scheduler.matrix import explain
from pilothouse.control.scheduler.units import requests
from pilothouse.control.scheduler.write import Shapes, read_fleet
from pilothouse.model.counts import count
from pilothouse.model.matrix import Matrix, NodeGroup
from pilothouse.model.objects import Task
from pilothouse.model.states import TaskState
from pilothouse.store.interface import ReadTx

_GROUPS = 5


def matrix_of(tx: ReadTx, task: Task) -> Matrix | None:
    """Return what every rule says of every node about a task that waits for a place; None if it does not."""
    if task.state is not TaskState.PENDING:
        return None
    shapes = Shapes()
    fleet = read_fleet(tx, shapes)
    pending = [other for other in tx.find(Task, app=task.app) if other.state is TaskState.PENDING]
    together = next(
        (
            {other.service for other, _ in request.unit}
            for request in requests(fleet, [(other, shapes.of(other)) for other in pending])
            if any(other.id == task.id for other, _ in request.unit)
        ),
        set[str](),
    )
    return explain(fleet, task, shapes.of(task), frozenset(together - {task.service}))


def remedy_of(matrix: Matrix | None) -> str:
    """Return the smallest change that would place the task, as a clause; "" if none is known."""
    if matrix is None or not matrix.remedies:
        return ""
    return f"the smallest change that would place it: {matrix.remedies[0].sentence}"


def node_lines(matrix: Matrix | None) -> list[str]:
    """Return which nodes lack what, those that lack the least first, and what else would place the task."""
    if matrix is None:
        return []
    said = [_line(group) for group in matrix.groups[:_GROUPS]]
    rest = sum(group.count for group in matrix.groups[_GROUPS:])
    said += [f"{count(rest, 'more node')} lack more than these."] if rest else []
    return said + [f"Or: {remedy.sentence}." for remedy in matrix.remedies[1:]]


def _line(group: NodeGroup) -> str:
    more = f" and {group.count - len(group.nodes)} more" if group.count > len(group.nodes) else ""
    return f"{', '.join(group.nodes)}{more}: {' and '.join(lack.sentence for lack in group.lacks)}."
