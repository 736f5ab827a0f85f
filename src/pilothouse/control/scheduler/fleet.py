"""The nodes and all that is placed on them, kept up to date one change at a time: what every decision is made on.

Tasks of a slot that take turns on a node share what they reserve: those that run together are added up, one that waits
for them counts only as far as it wants more.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from pilothouse.control.scheduler.columns import Columns, Ints
from pilothouse.control.scheduler.facts import Facts
from pilothouse.control.scheduler.pools import Pools
from pilothouse.control.scheduler.roster import Entry, Roster
from pilothouse.control.scheduler.shape import Need, Shape, shape_of, total
from pilothouse.model.cluster import ClusterSpec
from pilothouse.model.node import Node
from pilothouse.model.objects import Task, Volume
from pilothouse.model.states import TaskState
from pilothouse.model.volumes import is_local

Shaper = Callable[[Task], Shape]


class Claim(NamedTuple):
    """Room on a node that is kept for a task, because others stop for it there.

    Attributes:
        victims: Ids of the tasks that stop for it.
        why: What the task waits for, as a sentence.
    """

    at: int
    need: Need
    victims: frozenset[str]
    why: str


class Fleet:
    """What is known of the nodes; tasks are booked as they are placed and given back as they end.

    Attributes:
        columns, facts: The nodes.
        roster: What is placed.
        pools: What each class of work has.
        volumes: Local volumes, by id.
        claims: Room that is kept, by the task it is for.
    """

    def __init__(self, nodes: Iterable[Node] = (), cluster: ClusterSpec | None = None) -> None:
        self.columns = Columns()
        self.facts = Facts(self.columns)
        self.roster = Roster()
        self.pools = Pools(cluster or ClusterSpec())
        self.volumes: dict[str, Volume] = {}
        self.claims: dict[str, Claim] = {}
        self._strays: dict[str, dict[str, tuple[Task, Shape]]] = {}
        for node in sorted(nodes, key=lambda node: node.id):
            self.put_node(node)

    def put_node(self, node: Node) -> int:
        """Take in a node or its newer form; tasks that were known to be on it are booked as it appears."""
        at = self.columns.put(node)
        for task, shape in self._strays.pop(node.id, {}).values():
            self.put_task(task, shape)
        return at

    def drop_node(self, node_id: str) -> None:
        """Forget a node; its tasks stay known, should it come back under its name."""
        at = self.columns.place.get(node_id)
        if at is None:
            return
        for task_id in [task_id for task_id, claim in self.claims.items() if claim.at == at]:
            self.release(task_id)
        for entry in [entry for entry in self.roster.entries.values() if entry.at == at]:
            self._remove(entry)
            self._strays.setdefault(node_id, {})[entry.task.id] = (entry.task, entry.shape)
        self.columns.drop(node_id)

    def put_volume(self, volume: Volume | None, volume_id: str) -> None:
        """Take in a volume, its newer form, or that it is gone (None)."""
        if volume is not None and is_local(volume.spec):
            self.volumes[volume_id] = volume
        else:
            self.volumes.pop(volume_id, None)

    def put_task(self, task: Task, shape: Shape | None = None) -> None:
        """Take in a task in its newest form: booked while it is placed and not over, given back afterwards."""
        if self.refresh(task):
            return
        here = _is_here(task)
        entry = self.roster.entries.get(task.id)
        if entry is not None:
            self._remove(entry)
            shape = shape or entry.shape
        if here:
            self._put(task, shape or shape_of(task))
        elif self._strays:
            self._forget_stray(task)

    def refresh(self, task: Task) -> bool:
        """Take in the newer form of a task that is still booked for the same; tell whether it is one."""
        entry = self.roster.entries.get(task.id)
        if entry is None or entry.task.desired_state is not task.desired_state:
            return False
        if not _is_here(task) or entry.task.node_id != task.node_id:
            return False
        if task.version >= entry.task.version:
            entry.task = task
        return True

    def book_alike(self, shape: Shape, nodes: Ints, times: Ints) -> None:
        """Book new tasks of one shape that take turns with nobody, so many on each node; the roster gets them apart."""
        self.columns.book_many(nodes, shape.need, times)
        self.pools.book(shape.pool, shape.need, int(times.sum()))

    def drop_task(self, task_id: str) -> None:
        """Forget a task."""
        if (entry := self.roster.entries.get(task_id)) is not None:
            self._remove(entry)
        for strays in self._strays.values():
            strays.pop(task_id, None)

    def hold(self, task_id: str, claim: Claim) -> None:
        """Keep room for a task: for everybody else it is as if the task had it already."""
        self.release(task_id)
        self.claims[task_id] = claim
        self.columns.book(claim.at, claim.need)

    def release(self, task_id: str) -> Claim | None:
        """Give back the room that is kept for a task, and return what it was."""
        claim = self.claims.pop(task_id, None)
        if claim is not None:
            self.columns.book(claim.at, claim.need, -1)
        return claim

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is worth anything: its node takes tasks, and some of those that stop for it are there."""
        takes = self.columns.ready[claim.at] and self.columns.active[claim.at]
        return bool(takes) and any(task_id in self.roster.entries for task_id in claim.victims)

    def taken(self) -> frozenset[str]:
        """Return the ids of the tasks that stop for others."""
        return frozenset().union(*(claim.victims for claim in self.claims.values()))

    def more(self, task: Task, shape: Shape, at: int) -> Need:
        """Return what *task* would take of a place beyond what those there have it takes turns with."""
        there = [entry for entry in self.roster.turn(task) if entry.at == at]
        return _more(there, Entry(task, shape, at, self._taken(shape, at)))

    def nodes_of(self, volume_id: str) -> tuple[str, ...] | None:
        """Return the nodes a local volume's data is on; None if it may still be made anywhere, or is not local."""
        volume = self.volumes.get(volume_id)
        if volume is None:
            return None
        if volume.nodes:
            return volume.nodes
        places = self.roster.places_of_volume(volume_id)
        return tuple(self._node_id(at) for at in places) or None

    def _put(self, task: Task, shape: Shape) -> None:
        at = self.columns.place.get(task.node_id)
        if at is None:
            self._strays.setdefault(task.node_id, {})[task.id] = (task, shape)
            return
        entry = Entry(task, shape, at, self._taken(shape, at))
        need = _more([other for other in self.roster.turn(task) if other.at == at], entry)
        self.columns.book(at, need)
        self.columns.count(at, 1)
        self.pools.book(shape.pool, need)
        self.roster.add(entry)

    def _remove(self, entry: Entry) -> None:
        self.roster.remove(entry)
        # With it gone, putting it back would take exactly what it gives back now.
        need = _more([other for other in self.roster.turn(entry.task) if other.at == entry.at], entry)
        self.columns.book(entry.at, need, -1)
        self.columns.count(entry.at, -1)
        self.pools.book(entry.shape.pool, need, -1)

    def _taken(self, shape: Shape, at: int) -> Need:
        if not shape.whole:
            return shape.need
        columns = self.columns
        every = dict(shape.need)
        every |= {kind: int(columns.capacity_of(kind)[at]) for kind in shape.whole}
        return tuple(sorted(every.items()))

    def _node_id(self, at: int) -> str:
        node = self.columns.nodes[at]
        return node.id if node else ""

    def _forget_stray(self, task: Task) -> None:
        for strays in self._strays.values():
            strays.pop(task.id, None)


# Members of an enumeration are looked up slowly, and this is asked of every task of every commit.
_PENDING, _RUNNING = TaskState.PENDING, TaskState.RUNNING


def _is_here(task: Task) -> bool:
    return _PENDING < task.state <= _RUNNING and bool(task.node_id)


def _more(there: list[Entry], mine: Entry) -> Need:
    """Return what *mine* takes beyond what those it takes turns with have."""
    if not there:
        return mine.taken
    before = _use(there)
    after = _use([*there, mine])
    return tuple((kind, amount - before.get(kind, 0)) for kind, amount in after.items() if amount != before.get(kind))


def _use(entries: list[Entry]) -> dict[str, int]:
    most = dict(total(entry.taken for entry in entries if not entry.waits))
    for entry in entries:
        for kind, amount in entry.taken if entry.waits else ():
            most[kind] = max(most.get(kind, 0), amount)
    return most


def fleet_of(
    nodes: Iterable[Node], tasks: Iterable[Task], *, volumes: Iterable[Volume] = (), cluster: ClusterSpec | None = None
) -> Fleet:
    """Return a fleet with all of these in it; tasks that are not placed, or over, are left out."""
    fleet = Fleet(nodes, cluster)
    for volume in volumes:
        fleet.put_volume(volume, volume.id)
    for task in tasks:
        fleet.put_task(task)
    return fleet
