"""Dividing tasks over places: as evenly as their room allows, by target shares, or one place full after the other.

Numbers in, numbers out. Each function gives exactly what the same rule gives when it is asked for one task at a time.
"""

import heapq
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Order = Callable[[Ints, Ints, int], Ints]
"""(places, so many more each has got, number) → that number of the places: those to be taken first."""


def evenly(have: Ints, room: Ints, number: int, order: Order) -> Ints:
    """Return how many of *number* each place gets, so that the fullest and the emptiest differ as little as can be.

    Args:
        have: How many each has.
        room: How many more each can take.
        number: How many there are; those for which there is no room are left out.
        order: Who comes first among places that have the same.
    """
    if int(room.sum()) <= number:
        return room.copy()
    each, rest = divmod(number, len(have))
    if int(room.min()) > each and int(have.min()) == int(have.max()):
        # As it is with a new service over the values of a level: all get the same, and some get one more.
        given = np.full(len(have), each, np.int64)
        if rest:
            given[order(np.arange(len(have)), given, rest)] += 1
        return given
    if number < len(have):
        # As it is with most services: some of those that have the least get one each.
        least = _least(have, room)
        if len(least) > number:
            given = np.zeros(len(have), np.int64)
            given[order(least, given[least], number)] = 1
            return given
    level = _level(have, room, number)
    given = _up_to_level(level, have, room)
    rest = number - int(given.sum())
    if rest > 0:
        equal = np.flatnonzero((have + given == level) & (given < room))
        given[order(equal, given[equal], rest)] += 1
    return given


def _least(have: Ints, room: Ints) -> Ints:
    """Return the places that have the least of those with room; there must be one."""
    with_room = np.flatnonzero(room > 0)
    theirs = have[with_room]
    found: Ints = with_room[theirs == int(theirs.min())]
    return found


def _level(have: Ints, room: Ints, number: int) -> int:
    """Return the greatest level up to which every place can be filled; one above it takes more than *number*."""
    low = int(have[room > 0].min())
    step = 1
    while int(_up_to_level(low + step, have, room).sum()) <= number:
        step *= 2
    low, high = low + step // 2, low + step
    while high - low > 1:
        middle = (low + high) // 2
        if int(_up_to_level(middle, have, room).sum()) <= number:
            low = middle
        else:
            high = middle
    return low


def _up_to_level(level: int, have: Ints, room: Ints) -> Ints:
    given: Ints = level - have
    np.minimum(given, room, out=given)
    return np.maximum(given, 0, out=given)


def by_shares(have: Ints, room: Ints, number: int, shares: npt.NDArray[np.float64]) -> Ints:
    """Return how many of *number* each place gets, so that all it then has is nearest to its share.

    A place with no share gets only what finds no room elsewhere. Among equals the first place comes first.
    """
    number = min(number, int(room.sum()))
    wanted = np.where(shares > 0, room, 0)
    given = _near_shares(have, wanted, min(number, int(wanted.sum())), shares)
    left = number - int(given.sum())
    if left > 0:
        given += evenly(have, room - given, left, lambda places, _, rest: places[:rest])
    return given


def _near_shares(have: Ints, room: Ints, number: int, shares: npt.NDArray[np.float64]) -> Ints:
    low = 0.0
    high = float(number + int(have.sum()) + len(have) + 1) / max(float(shares[shares > 0].min(initial=1)), 1e-9)
    for _ in range(64):
        middle = (low + high) / 2
        if int(_up_to(middle, have, room, shares).sum()) <= number:
            low = middle
        else:
            high = middle
    given = _up_to(low, have, room, shares)
    queue = [
        ((float(have[at] + given[at]) + 0.5) / float(shares[at]), at)
        for at in range(len(have))
        if given[at] < room[at] and shares[at] > 0
    ]
    heapq.heapify(queue)
    for _ in range(number - int(given.sum())):
        _, at = heapq.heappop(queue)
        given[at] += 1
        if given[at] < room[at]:
            heapq.heappush(queue, ((float(have[at] + given[at]) + 0.5) / float(shares[at]), at))
    return given


def _up_to(level: float, have: Ints, room: Ints, shares: npt.NDArray[np.float64]) -> Ints:
    found: Ints = np.clip(np.floor(level * shares + 0.5 - have).astype(np.int64), 0, room)
    return found


def one_after_another(room: Ints, number: int) -> Ints:
    """Return how many of *number* each place gets if the first is filled before the second is begun."""
    before: Ints = np.cumsum(room) - room
    given: Ints = np.clip(number - before, 0, room)
    return given
