"""What was decided to what is stored: the only place where the scheduler touches objects."""

import re
from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.fleet import Claim, Fleet
from pilothouse.control.scheduler.place import Outcome, place
from pilothouse.control.scheduler.rebalance import Move
from pilothouse.control.scheduler.shape import Shape, shape_of
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ClusterSpec, Disruption, DisruptionKind
from pilothouse.model.node import Node
from pilothouse.model.objects import PortBinding, Service, Task, Volume
from pilothouse.model.states import TaskState
from pilothouse.store.interface import ReadTx, WriteTx

REQUESTER = "scheduler"
_MANY = 20
_NUMBERS = re.compile(r"[0-9.]+")
_KEPT = 50_000
_Made = tuple[str, str, str, bool, tuple[PortBinding, ...], str, tuple[str, ...]]
"""What two tasks of one shape have in common: what they were made from, their ports, their image and who has it."""


class Written(msgspec.Struct):
    """What a transaction did.

    Attributes:
        tasks: The placed ones as they are stored now.
        refused: Ids of those that had changed, or whose node had, since it was decided; they are decided anew.
        volumes: Those that were to be bound to a node, by id, as they are stored now; None if one is gone.
    """

    tasks: list[Task] = []
    refused: list[str] = []
    volumes: dict[str, Volume | None] = {}


def write(tx: WriteTx, outcome: Outcome, now: float) -> Written:
    """Carry out what was decided, as far as it still holds."""
    written = Written()
    known = {node_id: _has_version(tx, node_id, version) for node_id, version in outcome.nodes.items()}
    for task in outcome.placed:
        stored = tx.get(Task, task.id)
        if stored is None or stored.version != task.version or not known[task.node_id]:
            written.refused.append(task.id)
        else:
            written.tasks.append(tx.put(task))
    placed = {task.node_id for task in written.tasks}
    for volume in outcome.volumes.values():
        kept = tx.get(Volume, volume.id)
        if kept is not None and placed & set(volume.nodes):
            kept = tx.put(replace(kept, nodes=tuple(dict.fromkeys((*kept.nodes, *volume.nodes)))))
        written.volumes[volume.id] = kept
    for victim, beneficiary, reason in outcome.preempted:
        _ask(tx, victim, Reason(DisruptionKind.PREEMPTION, reason, beneficiary), now)
    _tell(tx, outcome.left)
    return written


def ask_to_move(tx: WriteTx, moves: list[Move], now: float) -> None:
    """Ask for tasks to be replaced because they would be better elsewhere."""
    for move in moves:
        _ask(tx, move.task, Reason(DisruptionKind.REBALANCE, move.reason), now)


class Reason(msgspec.Struct, frozen=True):
    """Why a task is to be replaced; with a *beneficiary* it is stopped at once, for its room."""

    kind: DisruptionKind
    sentence: str
    beneficiary: str = ""


def _ask(tx: WriteTx, task: Task, why: Reason, now: float) -> None:
    stored = tx.get(Task, task.id)
    if stored is None or stored.state.terminal or tx.get(Disruption, task.id) is not None:
        return
    tx.put(
        Disruption(
            id=task.id, app=task.app, service=task.service, kind=why.kind, reason=why.sentence, requested_at=now,
            requested_by=REQUESTER, at_once=bool(why.beneficiary), beneficiary=why.beneficiary,
        )
    )  # fmt: skip


def withdraw(tx: WriteTx) -> None:
    """Delete the scheduler's requests that a task be replaced which are done, or whose beneficiary needs none now."""
    for request in tx.find(Disruption, requested_by=REQUESTER):
        task = tx.get(Task, request.id)
        if task is None or task.state.terminal:
            tx.delete(request)
        elif task.desired_state is not TaskState.SHUTDOWN and request.beneficiary:
            beneficiary = tx.get(Task, request.beneficiary)
            if beneficiary is None or beneficiary.state is not TaskState.PENDING:
                tx.delete(request)


def _has_version(tx: ReadTx, node_id: str, version: int) -> bool:
    """Whether the node is still as it was when it was chosen."""
    node = tx.get(Node, node_id)
    return node is not None and node.version == version


def _tell(tx: WriteTx, left: list[tuple[Task, str]]) -> None:
    """Write down why tasks wait. Where many wait for the same, numbers alone are not worth a write for each."""
    many = {why for why, tasks in Counter(why for _, why in left).items() if tasks > _MANY}
    for task, why in left:
        stored = tx.get(Task, task.id)
        if stored is None or stored.state is not TaskState.PENDING:
            continue
        if why in many and _NUMBERS.sub("", stored.placement_message) == _NUMBERS.sub("", why):
            continue
        tx.put(replace(stored, placement_message=why))


class Shapes:
    """The shapes of tasks, made once for all that were made from the same."""

    def __init__(self) -> None:
        self._jobs: dict[str, bool] = {}
        self._known: dict[_Made, Shape] = {}

    def learn(self, service_id: str, service: Service | None) -> None:
        """Take in a service, its newer form, or that it is gone (None)."""
        if service is None:
            self._jobs.pop(service_id, None)
        else:
            self._jobs[service_id] = service.spec.mode.job

    def of(self, task: Task) -> Shape:
        """Return the shape of *task*."""
        image = task.image
        key = (task.app, task.service, task.fingerprint, task.step < 0, task.ports, image.id, image.nodes)
        shape = self._known.get(key)
        if shape is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            shape = self._known[key] = shape_of(task, job=self._jobs.get(task.service_id, False))
        return shape


def read_fleet(tx: ReadTx, shapes: Shapes) -> Fleet:
    """Return the fleet as the store has it."""
    for service in tx.find(Service):
        shapes.learn(service.id, service)
    cluster = tx.get(Cluster, CLUSTER_ID)
    fleet = Fleet(tx.find(Node), cluster.spec if cluster else ClusterSpec())
    for volume in tx.find(Volume):
        fleet.put_volume(volume, volume.id)
    for task in tx.find(Task):
        if TaskState.PENDING < task.state <= TaskState.RUNNING:
            fleet.put_task(task, shapes.of(task))
    _keep_claims(tx, fleet, shapes)
    return fleet


def _keep_claims(tx: ReadTx, fleet: Fleet, shapes: Shapes) -> None:
    """Keep the room that tasks were asked to leave to others before a restart."""
    asked: dict[str, list[Disruption]] = {}
    for request in tx.find(Disruption, requested_by=REQUESTER):
        if request.beneficiary:
            asked.setdefault(request.beneficiary, []).append(request)
    for beneficiary, found in asked.items():
        task = tx.get(Task, beneficiary)
        there = [entry for request in found if (entry := fleet.roster.entries.get(request.id)) is not None]
        if task is not None and task.state is TaskState.PENDING and there:
            victims = frozenset(entry.task.id for entry in there)
            need = Case(fleet, shapes.of(task), task).need_at(there[0].at)
            fleet.hold(task.id, Claim(there[0].at, need, victims, task.placement_message))


def place_now(tx: WriteTx, task_ids: Iterable[str], now: float = 0.0) -> set[str]:
    """Place those of the tasks that are PENDING on what the transaction sees; return those that no node suits."""
    shapes = Shapes()
    fleet = read_fleet(tx, shapes)
    found = [task for key in task_ids if (task := tx.get(Task, key)) is not None and task.state is TaskState.PENDING]
    outcome = place(fleet, [(task, shapes.of(task)) for task in found])
    write(tx, outcome, now)
    withdraw(tx)
    return {task.id for task, _ in outcome.left}
