"""What an agent says of its node, written down: as far as it can be true, and as far as it is the agent's to say.

Functions of a transaction, the same for an agent in this process and for one over the network. None of them fails
for what a report says: what cannot be is dropped.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from pilothouse.errors import SkewError
from pilothouse.log import event
from pilothouse.model.format import FORMAT_ID, Format, number_of
from pilothouse.model.node import Node, NodeDescription
from pilothouse.model.objects import Service, Task, TaskStatus, Volume
from pilothouse.model.release import Traffic
from pilothouse.model.states import TRANSITIONS, Writer
from pilothouse.model.wire import ResourceReport, TaskReport, TrafficReport
from pilothouse.store.interface import ReadTx, WriteTx


def write_description(tx: WriteTx, node_id: str, description: NodeDescription | None) -> None:
    """Write down what the node is; an unknown node is registered, and without a *description* the known one stays."""
    node = tx.get(Node, node_id) or Node(id=node_id)
    known = node.description
    said = known if description is None else replace(description, version=known.version, format=known.format)
    tx.put(replace(node, description=said))


def runs(tx: ReadTx, node_id: str, version: str, format: int) -> bool:
    """Whether it is known that this version of Pilothouse is the node's agent."""
    node = tx.get(Node, node_id)
    return node is not None and (node.description.version, node.description.format) == (version, format)


def write_version(tx: WriteTx, node_id: str, version: str, format: int) -> None:
    """Write down which version of Pilothouse the node's agent is, and the newest format it knows.

    Raises:
        SkewError: The platform has a later one.
    """
    check_agent(tx, format)
    node = tx.get(Node, node_id) or Node(id=node_id)
    tx.put(replace(node, description=replace(node.description, version=version[:80], format=format)))


def platform_format(tx: ReadTx) -> int:
    """Return the platform's format."""
    return number_of(tx.get(Format, FORMAT_ID), tx.revision)


def check_agent(tx: ReadTx, format: int) -> int:
    """Return the platform's format if an agent that knows *format* knows it.

    Raises:
        SkewError: It does not.
    """
    number = platform_format(tx)
    if format < number:
        raise SkewError(f"the agent knows format {format}, and the platform has {number} already: upgrade the agent")
    return number


def write_reports(tx: WriteTx, node_id: str, reports: Iterable[TaskReport], now: float | None = None) -> None:
    """Write down what was seen of tasks: not of another node's, and nothing older than what is known.

    Args:
        tx: The transaction.
        node_id: Whose reports they are.
        reports: What was seen.
        now: The manager's wall clock: what the node's clock cannot be right about happened when it was heard. None if
            they have one clock.
    """
    for report in reports:
        task = tx.get(Task, report.task_id)
        if task is None or task.node_id != node_id:
            event("debug", "report.dropped", task=report.task_id, reason="no such task on this node")
        elif not _follows(task, report):
            event("debug", "report.dropped", task=task.id, reason=f"{report.state.name} after {task.state.name}")
        else:
            tx.put(replace(task, state=report.state, status=_dated(task, report.status, now) if now else report.status))


def write_traffic(tx: WriteTx, node_id: str, reports: Iterable[TrafficReport]) -> None:
    """Write down what the node's proxy counted, for each service in place of what was known of this node."""
    for report in reports:
        if tx.get(Service, f"{report.app}/{report.service}") is None:
            event("debug", "traffic.dropped", app=report.app, service=report.service, reason="no such service")
            continue
        key = f"{report.app}/{report.service}/{node_id}"
        known = tx.get(Traffic, key) or Traffic(
            id=key, app=report.app, service=report.service, node_id=node_id, fingerprint=report.fingerprint
        )
        tx.put(
            replace(
                known,
                fingerprint=report.fingerprint,
                measured_from=report.measured_from,
                measured_at=report.measured_at,
                old=report.old,
                new=report.new,
            )
        )


def its_own(tx: ReadTx, node_id: str, reports: Iterable[ResourceReport]) -> list[ResourceReport]:
    """Return those reports that are this node's to make: a volume is gone only where its data was."""
    return [report for report in reports if not _is_elsewhere(tx, node_id, report)]


def _is_elsewhere(tx: ReadTx, node_id: str, report: ResourceReport) -> bool:
    volume = tx.get(Volume, report.id) if report.kind == "volume" else None
    return volume is not None and bool(volume.nodes) and node_id not in volume.nodes


def _dated(task: Task, status: TaskStatus, now: float) -> TaskStatus:
    """Return *status* with the times that others count from bounded: after the task was made, and not in the future.

    A clock that is wrong would otherwise hold an update up for as long, or let it go on too soon.
    """
    # What was adopted ran before.
    known, made_at = task.status, 0.0 if task.adopts else task.created_at
    same = known.ready_since is not None and known.ready == status.ready
    ready_since = status.ready_since
    if ready_since is not None and not made_at <= ready_since <= now:
        ready_since = known.ready_since if same else now
    since = status.since
    if not made_at <= since <= now:
        since = known.since if made_at <= known.since <= now and known.message == status.message else now
    return replace(status, since=since, ready_since=ready_since)


def _follows(task: Task, report: TaskReport) -> bool:
    """Whether a report tells something that can have happened after what is known."""
    return report.state == task.state or (task.state, report.state) in TRANSITIONS[Writer.AGENT]
