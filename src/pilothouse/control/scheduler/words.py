"""The one sentence a task carries about its place: where it went and why, or what every node lacks. Pure."""

import numpy as np

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.columns import Ints, Mask
from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.rules import RULES, number, refusals, suitable
from pilothouse.control.scheduler.shape import BASE, CPU, MEMORY, PIDS, Shape
from pilothouse.model.counts import count
from pilothouse.model.matrix import Lack, NodeGroup
from pilothouse.model.names import display_name
from pilothouse.model.placement import Packing

NAMED = 5
"""So many nodes are named one by one; of more, those that lack the same are told of together."""
_ASKED = 20
"""So many nodes of a group are asked what exactly they lack."""
_UNITS = {CPU: (1_000_000_000, "cores"), MEMORY: (1024 * 1024, "MiB of memory"), PIDS: (1, "processes")}


def why_there(fleet: Fleet, shape: Shape, suit: int) -> str:
    """Return why tasks are on the nodes they are on, as what follows "placed on NODE"."""
    message = f": {suit} of {len(fleet.columns.place)} nodes suit"
    if suit < 2:
        return message
    if shape.placement.preferences or any(bond.weight for bond in shape.bonds):
        return f"{message}, and it meets the most of what is preferred"
    if shape.packing is Packing.PACK:
        return f"{message}, and it is the fullest of them"
    if shape.placement.spread:
        return f"{message}, and the tasks are divided by {' and '.join(each.level for each in shape.placement.spread)}"
    return f"{message}, and it has the fewest tasks of the service"


def nowhere(cases: list[Case]) -> str:
    """Return why no node suits a unit: for several tasks that go together, which of them does not fit."""
    if len(cases) == 1:
        return nowhere_alone(cases[0])
    names = [_name(case) for case in cases]
    for case, name in zip(cases, names, strict=True):
        if not suitable(case).any():
            others = ", ".join(other for other in names if other != name)
            return f"goes together with {others}, and {name} does not fit: {nowhere_alone(case)}"
    return f"{', '.join(names)} go together, and no node has room for all of them: each would fit alone"


def nowhere_alone(case: Case) -> str:
    """Return what every node lacks."""
    columns = case.fleet.columns
    nodes = len(columns.place)
    if not nodes:
        return "no node has joined yet; it is placed as soon as an agent connects"
    if nodes > NAMED:
        groups = node_groups(case)
        said = "; ".join(_of_group(group) for group in groups[:3])
        rest = sum(group.count for group in groups[3:])
        return f"none of {nodes} nodes suits: {said}" + (f"; and {count(rest, 'more node')}" if rest else "")
    verdicts = [(refusals(case, at), at) for at in np.flatnonzero(columns.there).tolist()]
    # Fewest refusals first: the node that needs the smallest change is the one to read about.
    verdicts.sort(key=lambda each: (len(each[0]), columns.rank[each[1]]))
    said = "; ".join(f"{case.node_name(at)}: {' and '.join(what)}" for what, at in verdicts)
    return f"none of {nodes} nodes suits: {said}" if nodes > 1 else f"no place: {said}"


def broken_rules(case: Case) -> list[Mask]:
    """Return for each rule which nodes break it."""
    there = case.fleet.columns.there
    masks = [rule.mask(case) for rule in RULES]
    return [np.zeros_like(there) if mask is None else there & ~mask for mask in masks]


def node_groups(case: Case) -> tuple[NodeGroup, ...]:
    """Return the nodes that do not suit by what they lack: those that lack the least first, the larger group first."""
    columns = case.fleet.columns
    codes = np.zeros(len(columns), np.int64)
    for bit, mask in enumerate(broken_rules(case)):
        codes |= mask.astype(np.int64) << bit
    found: list[tuple[int, int, Ints]] = []
    for code in np.unique(codes[columns.there & (codes > 0)]).tolist():
        places = np.flatnonzero(columns.there & (codes == code))
        found.append((code, int(code).bit_count(), places[np.argsort(columns.rank[places])]))
    found.sort(key=lambda each: (each[1], -len(each[2]), each[0]))
    return tuple(
        NodeGroup(
            count=len(places),
            nodes=tuple(case.node_name(at) for at in places[:NAMED].tolist()),
            lacks=tuple(
                Lack(rule=rule.name, sentence=_lack(case, bit, places))
                for bit, rule in enumerate(RULES)
                if code >> bit & 1
            ),
        )
        for code, _, places in found
    )


def _lack(case: Case, bit: int, places: Ints) -> str:
    """Return what nodes lack that break a rule: a range of numbers, or what most of them say."""
    rule = RULES[bit]
    if rule.name in BASE and len(places) > 1:
        return _range(case, rule.name, places)
    said = [rule.say(case, at) for at in places[:_ASKED].tolist()]
    distinct = sorted(set(said), key=lambda each: (-said.count(each), said.index(each)))
    more = f" (and the like: {len(distinct) - 1} others)" if len(distinct) > 1 else ""
    return distinct[0] + more


def _range(case: Case, kind: str, places: Ints) -> str:
    unit, what = _UNITS[kind]
    columns = case.fleet.columns
    free = np.maximum(columns.free_of(kind)[places], 0)
    low, high = number(int(free.min()) / unit), number(int(free.max()) / unit)
    amount = low if low == high else f"{low} to {high}"
    wanted = number(dict(case.need).get(kind, 0) / unit)
    return f"has {amount} {what} free, and the task reserves {wanted}"


def _of_group(group: NodeGroup) -> str:
    names = ", ".join(group.nodes[:3]) + (", …" if group.count > 3 else "")
    lacks = " and ".join(lack.sentence for lack in group.lacks)
    return f"{count(group.count, 'node')} ({names}): {lacks}"


def _name(case: Case) -> str:
    return display_name(case.task) if case.task is not None else case.shape.service
