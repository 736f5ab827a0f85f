"""The nodes as columns: one array for each thing that is asked of every node at once.

A node keeps its place in the columns as long as it is there; a place that became free is given to the next one.
"""

import numpy as np
import numpy.typing as npt

from pilothouse.control.scheduler.shape import BASE, PIDS, Need, amounts_of
from pilothouse.model.node import Availability, Node

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_FIRST = 16
_SHARE_STEPS = (1 << 20) - 1
_ENDLESS = np.int64(1) << 60


class _Kept:
    """How full every node is and when its turn comes, corrected where something was booked since.

    Attributes:
        stale: The places to correct.
        whole: Nothing of it is right any more.
    """

    __slots__ = ("order", "share", "stale", "whole")

    def __init__(self) -> None:
        self.share = np.zeros(0, np.int64)
        self.order = np.zeros(0, np.int64)
        self.stale: set[int] = set()
        self.whole = True


class Columns:
    """What the nodes are and have.

    Attributes:
        nodes: By place; None where there is none.
        place: Of each node, by its id.
        rows: Which row of *free* and *capacity* a kind of amount has.
        changed: The places that changed in anything but amounts, in order; whoever keeps something by place reads on
            from where it was.
    """

    def __init__(self) -> None:
        self.nodes: list[Node | None] = []
        self.place: dict[str, int] = {}
        self.rows: dict[str, int] = {kind: row for row, kind in enumerate(BASE)}
        self.changed: list[int] = []
        self._free = np.zeros((len(BASE), _FIRST), np.int64)
        self._capacity = np.zeros((len(BASE), _FIRST), np.int64)
        self._flags = np.zeros((3, _FIRST), np.bool_)
        self._tasks = np.zeros(_FIRST, np.int64)
        self._rank: Ints | None = None
        self._kept = _Kept()

    def __len__(self) -> int:
        """Return how many places there are, those without a node included."""
        return len(self.nodes)

    @property
    def free(self) -> Ints:
        """What nobody has reserved, a row for each kind; below zero where more is reserved than there is."""
        return self._free[:, : len(self.nodes)]

    @property
    def capacity(self) -> Ints:
        """What there is, a row for each kind."""
        return self._capacity[:, : len(self.nodes)]

    @property
    def there(self) -> Mask:
        """Where there is a node."""
        return self._flags[0, : len(self.nodes)]

    @property
    def ready(self) -> Mask:
        """Which nodes can get new tasks as far as the platform knows."""
        return self._flags[1, : len(self.nodes)]

    @property
    def active(self) -> Mask:
        """Which nodes may get new tasks as far as people said."""
        return self._flags[2, : len(self.nodes)]

    @property
    def tasks(self) -> Ints:
        """How many tasks are on each node."""
        return self._tasks[: len(self.nodes)]

    @property
    def rank(self) -> Ints:
        """The order of the nodes by id."""
        if self._rank is None:
            ids = sorted((node.id, at) for at, node in enumerate(self.nodes) if node is not None)
            self._rank = np.zeros(len(self.nodes), np.int64)
            self._rank[[at for _, at in ids]] = np.arange(len(ids))
        return self._rank

    @property
    def shares(self) -> Ints:
        """How full every node is (`share`); not to be kept, nor written to."""
        return self._corrected().share

    @property
    def orders(self) -> Ints:
        """When every node's turn comes, the emptiest first (`order`); not to be kept, nor written to."""
        return self._corrected().order

    def put(self, node: Node) -> int:
        """Take *node* in, or its newer form, and return its place."""
        at = self.place.get(node.id)
        if at is None:
            at = self._new_place(node)
        amounts = amounts_of(node.description.capacity)
        for kind in amounts:
            self.row(kind)
        before = self.nodes[at]
        self.nodes[at] = node
        for kind, row in self.rows.items():
            amount = amounts.get(kind, 0)
            if kind == PIDS and not amount:
                amount = int(_ENDLESS)
            self._free[row, at] += amount - self._capacity[row, at]
            self._capacity[row, at] = amount
        self._flags[:, at] = (True, node.ready, node.spec.availability is Availability.ACTIVE)
        self._kept.stale.add(at)
        if before is None or _facts(before) != _facts(node):
            self.changed.append(at)
        return at

    def drop(self, node_id: str) -> None:
        """Forget a node; nothing may be booked on it any more."""
        at = self.place.pop(node_id, None)
        if at is not None:
            self.nodes[at] = None
            self._flags[:, at] = False
            self._free[:, at] -= self._capacity[:, at]
            self._capacity[:, at] = 0
            self._reorder()
            self.changed.append(at)

    def row(self, kind: str) -> int:
        """Return the row of a kind of amount; a kind that no node was known to have gets one."""
        if kind not in self.rows:
            self.rows[kind] = len(self.rows)
            self._free = np.vstack([self._free, np.zeros((1, self._free.shape[1]), np.int64)])
            self._capacity = np.vstack([self._capacity, np.zeros((1, self._capacity.shape[1]), np.int64)])
        return self.rows[kind]

    def free_of(self, kind: str) -> Ints:
        """Return what nobody has reserved of one kind."""
        row = self.row(kind)
        return self._free[row, : len(self.nodes)]

    def capacity_of(self, kind: str) -> Ints:
        """Return what there is of one kind."""
        row = self.row(kind)
        return self._capacity[row, : len(self.nodes)]

    def book(self, at: int, need: Need, times: int = 1) -> None:
        """Take *need* off what is free at a place; *times* below zero gives it back."""
        for kind, amount in need:
            self.free_of(kind)[at] -= amount * times
        self._kept.stale.add(at)

    def book_many(self, places: Ints, need: Need, times: Ints) -> None:
        """Take *need* off at several places at once, each so many times."""
        for kind, amount in need:
            self.free_of(kind)[places] -= amount * times
        self._tasks[places] += times
        self._kept.stale.update(places.tolist())

    def count(self, at: int, tasks: int) -> None:
        """Note so many more tasks at a place."""
        self._tasks[at] += tasks
        self._kept.stale.add(at)

    def room(self, need: Need, places: Ints, most: int) -> Ints:
        """Return how many times *need* fits at each of *places*, at most *most*."""
        found = np.full(len(places), most, np.int64)
        for kind, amount in need:
            free = self.free_of(kind)[places]
            # Where all have plenty nothing need be divided.
            if len(free) and int(free.min()) < amount * most:
                np.minimum(found, free // amount, out=found)
        return np.maximum(found, 0, out=found)

    def declares(self, kind: str) -> bool:
        """Whether any node says that it has some of *kind*."""
        row = self.rows.get(kind)
        return row is not None and bool((self.capacity[row] > 0).any())

    def share(self, places: Ints, need: Need = (), times: Ints | None = None) -> Ints:
        """Return how full each of *places* would be with *need* so many times more, from 0 to 2^20 - 1.

        It is the larger of the reserved shares of CPU time and memory.
        """
        fullest = np.zeros(len(places))
        more = dict(need)
        for row, kind in enumerate(BASE[:2]):
            capacity = self._capacity[row, places]
            used = capacity - self._free[row, places]
            if times is not None and kind in more:
                used = used + more[kind] * times
            np.maximum(fullest, used / np.maximum(capacity, 1), out=fullest)
        return (np.clip(fullest, 0, 1) * _SHARE_STEPS).astype(np.int64)

    def order(self, places: Ints, share: Ints, *, fullest: bool = False) -> Ints:
        """Return a number for each of *places*: the smallest is to be taken first. No two are the same."""
        first = _SHARE_STEPS - share if fullest else share
        return (first << 42) | (np.minimum(self._tasks[places], (1 << 20) - 1) << 22) | self.rank[places]

    def _new_place(self, node: Node) -> int:
        holes = len(self.nodes) - len(self.place)
        at = self.nodes.index(None) if holes else len(self.nodes)
        if not holes:
            self.nodes.append(None)
            if at >= self._tasks.shape[0]:
                self._grow()
        self._free[:, at] = self._capacity[:, at] = self._tasks[at] = 0
        self.place[node.id] = at
        self._reorder()
        return at

    def _reorder(self) -> None:
        """Note that the nodes are others, so that every rank is another."""
        self._rank = None
        self._kept.whole = True

    def _corrected(self) -> _Kept:
        kept = self._kept
        if kept.whole:
            every = np.arange(len(self.nodes))
            kept.share = self.share(every)
            kept.order = self.order(every, kept.share)
        elif kept.stale:
            places = np.fromiter(kept.stale, np.int64, len(kept.stale))
            share = self.share(places)
            kept.share[places] = share
            kept.order[places] = self.order(places, share)
        kept.whole = False
        kept.stale.clear()
        return kept

    def _grow(self) -> None:
        more = self._tasks.shape[0]
        self._free = np.pad(self._free, ((0, 0), (0, more)))
        self._capacity = np.pad(self._capacity, ((0, 0), (0, more)))
        self._flags = np.pad(self._flags, ((0, 0), (0, more)))
        self._tasks = np.pad(self._tasks, (0, more))


def _facts(node: Node) -> object:
    """Return what every rule is about but those about amounts."""
    about = node.description
    spec = (node.spec.availability, node.spec.labels, node.spec.taints)
    return (node.ready, node.role, spec, about.hostname, about.os, about.arch, about.kernel,
            about.engine, about.version, about.address, about.runtimes)  # fmt: skip
