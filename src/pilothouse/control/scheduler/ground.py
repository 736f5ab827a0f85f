"""Places that tasks are divided over, and how the levels of `spread` part them. Pure.

Which nodes are open to a shape before anybody asks for amounts changes only as nodes do, so that ground is kept, and
with it how each level parts it.
"""

from typing import NamedTuple

import numpy as np

from pilothouse.control.scheduler.columns import Ints
from pilothouse.control.scheduler.facts import Facts


class Parts(NamedTuple):
    """Some ground by the values of one level.

    Attributes:
        codes: Of the values, in order.
        which: For each place which of the values it has.
        indexes: For each value where its places are in the ground.
        grounds: For each value its places, as ground of their own.
        sizes: For each value how many places have it.
    """

    codes: Ints
    which: Ints
    indexes: list[Ints]
    grounds: list["Ground"]
    sizes: Ints


class Ground:
    """Some places, in order."""

    __slots__ = ("_parts", "places")

    def __init__(self, places: Ints) -> None:
        self.places = places
        self._parts: dict[str, Parts] = {}

    def by(self, level: str, facts: Facts) -> Parts:
        """Return the places by the values of *level*, as *facts* know it."""
        found = self._parts.get(level)
        if found is None:
            found = self._parts[level] = self._parted(facts.level(level).codes)
        return found

    def only(self, where: Ints) -> "Ground":
        """Return a part of it, given by indexes in order."""
        return self if len(where) == len(self.places) else Ground(self.places[where])

    def _parted(self, codes: Ints) -> Parts:
        values, which, sizes = np.unique(codes[self.places], return_inverse=True, return_counts=True)
        order = np.argsort(which, kind="stable")
        indexes = np.split(order, np.cumsum(sizes)[:-1])
        return Parts(values, which, indexes, [Ground(self.places[each]) for each in indexes], sizes)
