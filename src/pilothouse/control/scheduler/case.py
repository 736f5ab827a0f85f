"""One task's question to every node: what it needs, and what is different for it where others of its slot are. Pure."""

import functools

import numpy as np

from pilothouse.control.scheduler.columns import Ints, Mask
from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.roster import Entry
from pilothouse.control.scheduler.shape import Bond, Need, Shape
from pilothouse.model.objects import Task


class Case:
    """A shape held against a fleet.

    Attributes:
        task: The one that asks; None asks for any new task of the shape, which takes turns with nobody.
        beside: Names of services whose task of the slot is placed together with it.
    """

    def __init__(
        self, fleet: Fleet, shape: Shape, task: Task | None = None, beside: frozenset[str] = frozenset()
    ) -> None:
        self.fleet = fleet
        self.shape = shape
        self.task = task
        self.beside = beside
        self.turn: list[Entry] = fleet.roster.turn(task) if task is not None else []

    @property
    def pinned(self) -> str:
        """The node it is for, as it is with tasks of global services; "" if it may go anywhere."""
        return self.task.node_id if self.task is not None else ""

    @functools.cached_property
    def need(self) -> Need:
        """What it takes of a node; devices that no node declares are left to the engine."""
        return self._minded(self.shape.need)

    @functools.cached_property
    def whole(self) -> tuple[str, ...]:
        """Kinds of which it takes all, as far as any node declares them."""
        return tuple(kind for kind in self.shape.whole if self.fleet.columns.declares(kind))

    @functools.cached_property
    def special(self) -> dict[int, Need]:
        """What it takes at places where it takes turns with others."""
        if self.task is None:
            return {}
        fleet, task, shape = self.fleet, self.task, self.shape
        return {entry.at: self._minded(fleet.more(task, shape, entry.at)) for entry in self.turn}

    def need_at(self, at: int) -> Need:
        """Return what it takes of one place beyond what is taken already."""
        return self.special.get(at, self.need)

    @functools.cached_property
    def counts(self) -> dict[int, int]:
        """How many tasks of its service are at each place, without those of its own slot."""
        counts = self.fleet.roster.counts(self.shape.service_id)
        own = [entry for entry in self.turn if entry.stays]
        if not own:
            return counts
        counts = dict(counts)
        for entry in own:
            counts[entry.at] -= 1
        return {at: number for at, number in counts.items() if number}

    def counts_of(self, service_id: str) -> dict[int, int]:
        """Return how many tasks of any service are at each place, without those of the task's own slot."""
        return self.counts if service_id == self.shape.service_id else self.fleet.roster.counts(service_id)

    def _minded(self, need: Need) -> Need:
        ignored = {kind for kind in self.shape.devices if not self.fleet.columns.declares(kind)}
        return tuple((kind, amount) for kind, amount in need if kind not in ignored) if ignored else need

    def dense_counts(self) -> Ints:
        """Return how many tasks of its service are at every place."""
        found = np.zeros(len(self.fleet.columns), np.int64)
        if self.counts:
            found[list(self.counts)] = list(self.counts.values())
        return found

    def anywhere(self) -> Mask:
        """Return a mask that holds everywhere."""
        return np.ones(len(self.fleet.columns), np.bool_)

    def only(self, places: list[int]) -> Mask:
        """Return a mask that holds at *places*."""
        found = np.zeros(len(self.fleet.columns), np.bool_)
        found[places] = True
        return found

    def near(self, bond: Bond, service_id: str) -> Mask:
        """Return which nodes have the same value of *bond*'s level as a task of *service_id*."""
        level = self.fleet.facts.level(bond.level)
        with_tasks = np.zeros(len(level.values), np.bool_)
        with_tasks[level.codes[list(self.counts_of(service_id))]] = True
        with_tasks[0] = False
        return with_tasks[level.codes]

    def node_name(self, at: int) -> str:
        """Return what people call the node at a place."""
        node = self.fleet.columns.nodes[at]
        return "" if node is None else node.description.hostname or node.id
