"""The nodes and all that is placed on them, kept up to date one change at a time: what every decision is made on.

Tasks of a slot that take turns on a node share what they reserve: those that run together are added up, one that waits
for them counts only as far as it wants more.
"""

from collections.abc import Callable, Iterable

import numpy as np

from pilothouse.control.scheduler.columns import Columns
from pilothouse.control.scheduler.facts import Facts
from pilothouse.control.scheduler.pools import Pools
from pilothouse.control.scheduler.roster import Entry, Roster
from pilothouse.control.scheduler.shape import Need, Shape, shape_of, total
from pilothouse.model.cluster import ClusterSpec
from pilothouse.model.objects import Node, Task, Volume
from pilothouse.model.states import TaskState
from pilothouse.model.volumes import is_local

Shaper = Callable[[Task], Shape]


class Fleet:
    """What is known of the nodes; tasks are booked as they are placed and given back as they end.

    Attributes:
        columns, facts: The nodes.
        roster: What is placed.
        pools: What each class of work has.
        volumes: Local volumes, by id.
    """

    def __init__(self, nodes: Iterable[Node] = (), cluster: ClusterSpec | None = None) -> None:
        self.columns = Columns()
        self.facts = Facts(self.columns)
        self.roster = Roster()
        self.pools = Pools(cluster or ClusterSpec())
        self.volumes: dict[str, Volume] = {}
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
        here = TaskState.PENDING < task.state <= TaskState.RUNNING and bool(task.node_id)
        entry = self.roster.entries.get(task.id)
        if entry is not None:
            same = here and self._node_id(entry.at) == task.node_id
            if same and entry.task.desired_state is task.desired_state:
                if task.version >= entry.task.version:
                    entry.task = task
                return
            self._remove(entry)
            shape = shape or entry.shape
        if here:
            self._put(task, shape or shape_of(task))
        elif self._strays:
            self._forget_stray(task)

    def put_alike(self, tasks: list[Task], shape: Shape, places: list[int]) -> None:
        """Take in new tasks of one shape that take turns with nobody, each with its place."""
        found, times = np.unique(np.asarray(places, np.int64), return_counts=True)
        self.columns.book_many(found, shape.need, times)
        self.pools.book(shape.pool, shape.need, len(places))
        for task, at in zip(tasks, places, strict=True):
            self.roster.add(Entry(task, shape, at, shape.need))

    def drop_task(self, task_id: str) -> None:
        """Forget a task."""
        if (entry := self.roster.entries.get(task_id)) is not None:
            self._remove(entry)
        for strays in self._strays.values():
            strays.pop(task_id, None)

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
