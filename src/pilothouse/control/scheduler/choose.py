"""Which nodes some equal tasks go to, all of them at once, exactly as one after the other would be allowed to. Pure.

First every rule is a mask and every amount a number of times it fits; then the levels of `spread` divide the tasks over
their values; then the nodes of each value get theirs: those with the most wishes met first, and among these the ones
with the fewest tasks of the service, or the fullest ones.
"""

from typing import NamedTuple

import numpy as np

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.columns import Ints
from pilothouse.control.scheduler.facts import Level
from pilothouse.control.scheduler.fill import by_shares, evenly, one_after_another
from pilothouse.control.scheduler.ground import Ground, Parts
from pilothouse.control.scheduler.rules import open_ground
from pilothouse.control.scheduler.shape import Need, Shape, total
from pilothouse.control.scheduler.wishes import wishes
from pilothouse.model.placement import Packing, Spread


class Chosen(NamedTuple):
    """Where tasks go.

    Attributes:
        nodes: The places that get any, in order.
        times: How many each of them gets.
        suit: How many nodes had room for at least one.
    """

    nodes: Ints
    times: Ints
    suit: int

    @property
    def places(self) -> Ints:
        """One for each task that has a place; the others have none."""
        return np.repeat(self.nodes, self.times)


class _Round:
    """What stays the same while tasks are divided: a number for every place of the fleet."""

    def __init__(self, lead: Case, need: Need, *, by_load: bool) -> None:
        self.facts = lead.fleet.facts
        self.columns = lead.fleet.columns
        self.shape = lead.shape
        self.need = need
        self.counts = lead.dense_counts() if lead.counts else None
        self.wishes = wishes(lead)
        self.by_load = by_load


def choose(cases: list[Case], number: int, *, services: int = 0) -> Chosen:
    """Return where *number* tasks go that are one unit each, or one unit of several tasks that go together.

    Args:
        cases: One for each task of a unit; the first one's wishes and spread count.
        number: How many units there are; more than one only of a single shape that takes turns with nobody.
        services: The units are of so many services that are kin, none of which has a task yet; 0 if of one.
    """
    lead = cases[0]
    need = lead.need if len(cases) == 1 else total(case.need for case in cases)
    ground, room = _room(cases, need, number, services)
    suit = len(ground.places)
    if not suit:
        return Chosen(ground.places, room, 0)
    number = lead.fleet.pools.room(lead.fleet.columns, lead.shape.pool, need, number)
    ground, room = _together(lead, ground, room, number)
    now = _Round(lead, need, by_load=services > 0)
    held = np.fromiter(lead.counts, np.int64, len(lead.counts))
    given = _divide(now, 0, held, ground, room, number)
    used = np.flatnonzero(given)
    return Chosen(ground.places[used], given[used], suit)


def one_at_a_time(shape: Shape) -> bool:
    """Whether placing one task of *shape* changes what the next one may or would like to do, beyond counts."""
    among = [bond for bond in shape.bonds if bond.service_id == shape.service_id]
    return len(among) > 1 or any(bond.weight or (bond.apart and bond.level != "node") for bond in among)


def _room(cases: list[Case], need: Need, number: int, services: int) -> tuple[Ground, Ints]:
    """Return the places that have room, and for how many units."""
    columns = cases[0].fleet.columns
    ground = open_ground(cases)
    places = ground.places
    room = columns.room(need, places, number)
    _mind_turns(cases, places, room)
    if services:
        # So each of them can have its tasks on nodes of their own.
        np.minimum(room, services, out=room)
    for case in cases:
        most = case.shape.placement.max_replicas_per_node
        if most:
            np.minimum(room, most * max(1, services) - case.dense_counts()[places], out=room)
        if _one_each(case):
            np.minimum(room, 1, out=room)
        for kind in case.whole:
            capacity = columns.capacity_of(kind)[places]
            np.minimum(room, (columns.free_of(kind)[places] == capacity) & (capacity > 0), out=room)
    fits = np.flatnonzero(room > 0)
    return ground.only(fits), room[fits]


def _mind_turns(cases: list[Case], places: Ints, room: Ints) -> None:
    """Correct the room where a task takes turns with others of its slot; it is for one unit there."""
    for at in {at for case in cases for at in case.special}:
        where = np.flatnonzero(places == at)
        if len(where):
            columns = cases[0].fleet.columns
            need = total(case.need_at(at) for case in cases)
            room[where] = int(all(columns.free_of(kind)[at] >= amount for kind, amount in need))


def _one_each(case: Case) -> bool:
    """Whether two of its tasks that are placed at once cannot be on one node."""
    shape = case.shape
    apart = any(
        bond.apart and not bond.weight and bond.service_id == shape.service_id and bond.level == "node"
        for bond in shape.bonds
    )
    return bool(apart or shape.ports or case.whole)


def _together(lead: Case, ground: Ground, room: Ints, number: int) -> tuple[Ground, Ints]:
    """Keep only places in one value of a level, or one node, where the tasks must be together and none is yet."""
    fleet, shape = lead.fleet, lead.shape
    if not lead.pinned and any(v in fleet.volumes and fleet.nodes_of(v) is None for v in shape.volumes):
        return _one_node(lead, ground, room, number)
    near = [b for b in shape.bonds if b.service_id == shape.service_id and not b.apart and not b.weight]
    if lead.counts or not near:
        return ground, room
    codes = fleet.facts.level(near[0].level).codes[ground.places]
    fits = np.bincount(codes, weights=np.minimum(room, number)).astype(np.int64)
    # A node without the label is near no other, not even one that has none either.
    fits[0] = min(int(fits[0]), 1)
    best = int(np.argmax(np.minimum(fits, number)))
    kept = np.flatnonzero(codes == best)
    if not best:
        return ground.only(kept[:1]), np.minimum(room[kept[:1]], 1)
    return ground.only(kept), room[kept]


def _one_node(lead: Case, ground: Ground, room: Ints, number: int) -> tuple[Ground, Ints]:
    """Keep the emptiest of the nodes that take all the tasks; if none does, of those that take the most."""
    fits = np.minimum(room, number)
    enough = np.flatnonzero(fits == fits.max())
    best = enough[[int(np.argmin(lead.fleet.columns.orders[ground.places[enough]]))]]
    return ground.only(best), room[best]


def _divide(now: _Round, depth: int, held: Ints, ground: Ground, room: Ints, number: int) -> Ints:
    """Return how many each place of *ground* gets; *held* are the places of its values that have tasks already."""
    levels = now.shape.placement.spread
    if depth == len(levels):
        return _over_nodes(now, ground.places, room, number)
    spread, level = levels[depth], now.facts.level(levels[depth].level)
    parts = ground.by(spread.level, now.facts)
    rooms = np.bincount(parts.which, weights=np.minimum(room, number)).astype(np.int64)
    have = _have(now, level, held, parts)
    if spread.targets:
        shares = _shares(spread, [level.values[code] for code in parts.codes])
        quotas = by_shares(have, rooms, number, shares)
    else:
        quotas = evenly(have, rooms, number, lambda which, _, rest: _emptier(now, ground, parts, which)[:rest])
    given = np.zeros(len(ground.places), np.int64)
    for at, quota in enumerate(quotas.tolist()):
        if quota:
            mine = parts.indexes[at]
            here = held[level.codes[held] == parts.codes[at]]
            given[mine] = _divide(now, depth + 1, here, parts.grounds[at], room[mine], quota)
    return given


def _have(now: _Round, level: Level, held: Ints, parts: Parts) -> Ints:
    """Return how many tasks each value has, those on nodes that take none included."""
    if now.counts is None or not len(held):
        return np.zeros(len(parts.codes), np.int64)
    every = np.bincount(level.codes[held], weights=now.counts[held], minlength=len(level.values))
    return every.astype(np.int64)[parts.codes]


def _emptier(now: _Round, ground: Ground, parts: Parts, which: Ints) -> Ints:
    """Return values of a level in the order in which they take one more among equals: the emptiest first."""
    share = np.bincount(parts.which, weights=now.columns.shares[ground.places]) / parts.sizes
    tasks = np.bincount(parts.which, weights=now.columns.tasks[ground.places]) / parts.sizes
    return which[np.lexsort((which, tasks[which], share[which]))]


def _shares(spread: Spread, values: list[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the share each value should have; those without a target divide what the others leave."""
    unnamed = [value for value in values if value not in spread.targets]
    left = max(0, 100 - sum(spread.targets.values()))
    return np.array([spread.targets.get(value, left / len(unnamed) if unnamed else 0) for value in values], np.float64)


def _over_nodes(now: _Round, places: Ints, room: Ints, number: int) -> Ints:
    if now.wishes is None:
        return _alike(now, places, room, number)
    given = np.zeros(len(places), np.int64)
    met = now.wishes[places]
    for sum_of_weights in np.unique(met)[::-1]:
        mine = np.flatnonzero(met == sum_of_weights)
        given[mine] = _alike(now, places[mine], room[mine], number)
        number -= int(given[mine].sum())
        if not number:
            break
    return given


def _alike(now: _Round, places: Ints, room: Ints, number: int) -> Ints:
    """Divide tasks over nodes that are equally welcome."""
    columns = now.columns
    if now.shape.packing is Packing.PACK:
        order = np.argsort(columns.order(places, columns.shares[places], fullest=True))
        given = np.zeros(len(places), np.int64)
        given[order] = one_after_another(room[order], number)
        return given
    if now.counts is None and not now.by_load and number < len(places):
        # As it is with a new service: all have room and none has a task, so the first get one each.
        given = np.zeros(len(places), np.int64)
        given[np.argpartition(columns.orders[places], number)[:number]] = 1
        return given
    have = _load(now, places) if now.by_load else _counts(now, places)

    def emptiest(which: Ints, more: Ints, rest: int) -> Ints:
        if rest >= len(which):
            return which
        mine = places[which]
        key = columns.order(mine, columns.share(mine, now.need, more)) if more.any() else columns.orders[mine]
        return which[np.argpartition(key, rest)[:rest]]

    return evenly(have, room, number, emptiest)


def _counts(now: _Round, places: Ints) -> Ints:
    return np.zeros(len(places), np.int64) if now.counts is None else now.counts[places]


def _load(now: _Round, places: Ints) -> Ints:
    """Return how full nodes are, counted in tasks of this size."""
    amounts = dict(now.need)
    found: Ints | None = None
    for row, kind in enumerate(("cpu", "memory")):
        amount = amounts.get(kind, 0)
        if amount:
            used = (now.columns.capacity[row][places] - now.columns.free[row][places]) // amount
            found = used if found is None else np.maximum(found, used)
    return now.columns.tasks[places].copy() if found is None else found
