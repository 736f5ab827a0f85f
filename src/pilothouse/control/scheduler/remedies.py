"""The smallest change that would give a task a place: one change each, for a node that lacks nothing else. Pure.

How small a change is: the share of the reservation that would have to go; then what is written in one place (a label,
a taint, an availability, a limit); then what takes something from others (their room); then waiting.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.columns import Ints, Mask
from pilothouse.control.scheduler.roster import Entry
from pilothouse.control.scheduler.rules import RULES, number
from pilothouse.control.scheduler.shape import CPU, GENERIC, MEMORY, PIDS
from pilothouse.errors import InvalidManifestError
from pilothouse.model.constraints import parse_constraint, satisfies
from pilothouse.model.matrix import Remedy, RemedyKind
from pilothouse.model.names import display_name
from pilothouse.model.node import Node
from pilothouse.model.placement import PREEMPTION_GAP
from pilothouse.model.states import TaskState
from pilothouse.model.taints import taint_text, unbearable

_AMOUNTS = frozenset({"cpu", "memory", "pids", "generic"})
_LOOKED_AT = 50
_SIZES = {CPU: (1_000_000_000, "cores"), MEMORY: (1024 * 1024, "MiB of memory"), PIDS: (1, "processes")}
_COSTS = {
    RemedyKind.LABEL: 0.3,
    RemedyKind.TAINT: 0.35,
    RemedyKind.AVAILABILITY: 0.4,
    RemedyKind.LIMIT: 0.5,
    RemedyKind.ROOM: 0.6,
    RemedyKind.WAIT: 0.9,
}


class _Costed(NamedTuple):
    cost: float
    remedy: Remedy


def remedies(case: Case, broken: list[Mask]) -> tuple[Remedy, ...]:
    """Return changes of which each alone would place the task, the smallest first; at most one of each kind.

    Args:
        case: The task and the fleet.
        broken: For each rule which nodes break it.
    """
    found: list[_Costed] = []
    by_amount = _lacking_only(case, broken, _AMOUNTS)
    if len(by_amount):
        found += _less(case, by_amount)
        found += _room_of_others(case, by_amount)
    for name, propose in _PROPOSALS.items():
        places = _lacking_only(case, broken, frozenset({name}))
        for at in places[:_LOOKED_AT].tolist():
            remedy = propose(case, at, _node(case, at))
            if remedy is not None:
                found.append(_Costed(_COSTS[remedy.kind], remedy))
                break
    found.sort(key=lambda each: each.cost)
    return tuple(each.remedy for each in found)


def _lacking_only(case: Case, broken: list[Mask], names: frozenset[str]) -> Ints:
    """Return the places that break some of the rules with these names and no others, in order of the nodes' ids."""
    columns = case.fleet.columns
    some, others = np.zeros(len(columns), np.bool_), ~columns.there
    for rule, mask in zip(RULES, broken, strict=True):
        if rule.name in names:
            some |= mask
        else:
            others |= mask
    places = np.flatnonzero(some & ~others)
    return places[np.argsort(columns.rank[places])]


def _less(case: Case, places: Ints) -> Iterator[_Costed]:
    """Yield by how much the reservation would have to be smaller, on the node where that is the least."""
    if case.whole or not case.need:
        return
    columns = case.fleet.columns
    shares = np.zeros(len(places))
    for kind, amount in case.need:
        free = columns.free_of(kind)[places]
        lacking = np.where(free < 0, np.inf, np.maximum(amount - free, 0) / amount)
        np.maximum(shares, lacking, out=shares)
    best = int(np.argmin(shares))
    if not np.isfinite(shares[best]) or places[best] in case.special:
        return
    at = int(places[best])
    short = [
        (kind, amount, amount - int(columns.free_of(kind)[at]))
        for kind, amount in case.need
        if columns.free_of(kind)[at] < amount
    ]
    said = " and ".join(_reserve_less(kind, amount, lacking) for kind, amount, lacking in short)
    remedy = Remedy(
        kind=RemedyKind.RESERVATION,
        node=_node(case, at).id,
        sentence=f"reserve {said}: then it fits on {case.node_name(at)}",
        name=",".join(kind.removeprefix(GENERIC) for kind, _, _ in short),
        value=",".join(str(lacking) for _, _, lacking in short),
    )
    yield _Costed(float(shares[best]), remedy)


def _reserve_less(kind: str, amount: int, lacking: int) -> str:
    unit, what = _SIZES.get(kind, (1, f"of {kind.removeprefix(GENERIC)}"))
    # Rounded down, so that what is written as it is said does fit.
    fits_in = math.floor((amount - lacking) * 100 / unit) / 100
    return f"{number(fits_in)} instead of {number(amount / unit)} {what}"


def _room_of_others(case: Case, places: Ints) -> Iterator[_Costed]:
    """Yield the least important task whose room would do."""
    wanted = set(places[:_LOOKED_AT].tolist())
    best: tuple[int, int, str] | None = None
    chosen: Entry | None = None
    for entry in case.fleet.roster.entries.values():
        if entry.at not in wanted or entry.shape.priority >= case.shape.priority or entry.waits:
            continue
        key = (entry.shape.priority, sum(amount for _, amount in entry.taken), entry.task.id)
        if (best is None or key < best) and _does(case, entry):
            best, chosen = key, entry
    if chosen is None:
        return
    task, at = chosen.task, chosen.at
    if task.desired_state is TaskState.SHUTDOWN:
        sentence = f"wait until {display_name(task)} of {task.app} has stopped on {case.node_name(at)}"
    else:
        enough = chosen.shape.priority + PREEMPTION_GAP
        raised = f", or give this one a priority of {enough} or more" if chosen.shape.placement.preemptible else ""
        sentence = (
            f"stop {display_name(task)} of {task.app} on {case.node_name(at)}, which has a priority of "
            f"{chosen.shape.priority}{raised}"
        )
    remedy = Remedy(kind=RemedyKind.ROOM, node=_node(case, at).id, sentence=sentence, name=task.id)
    yield _Costed(_COSTS[RemedyKind.ROOM], remedy)


def _does(case: Case, entry: Entry) -> bool:
    if case.whole:
        return False
    given: dict[str, int] = dict(entry.taken)
    return fits(case.fleet.columns.free, case, entry.at, given)


def fits(free: Ints, case: Case, at: int, given: dict[str, int]) -> bool:
    """Whether the task would fit at a place if *given* were free there as well."""
    rows, need = case.fleet.columns.rows, case.need_at(at)
    return all(int(free[rows[kind], at]) + given.get(kind, 0) >= amount for kind, amount in need)


def _label(case: Case, at: int, node: Node) -> Remedy | None:
    unmet = [text for text in case.shape.placement.constraints if not case.fleet.facts.meets(text)[at]]
    if len(unmet) != 1:
        return None
    try:
        constraint = parse_constraint(unmet[0])
    except InvalidManifestError:
        return None
    prefix, _, key = constraint.key.partition(".labels.")
    if not key or prefix not in {"node", "engine"}:
        return None
    for value in _values_in(unmet[0], constraint.key):
        changed = replace(node, spec=replace(node.spec, labels={**node.spec.labels, key: value}))
        if satisfies(constraint, changed):
            return Remedy(
                kind=RemedyKind.LABEL, node=node.id, name=key, value=value,
                sentence=f"label {case.node_name(at)}: `pilothouse node label {node.id} {key}={value}`",
            )  # fmt: skip
    without = {name: value for name, value in node.spec.labels.items() if name != key}
    if satisfies(constraint, replace(node, spec=replace(node.spec, labels=without))):
        return Remedy(
            kind=RemedyKind.LABEL, node=node.id, name=key,
            sentence=f"take the label {key} off {case.node_name(at)}: `pilothouse node label {node.id} {key}-`",
        )  # fmt: skip
    return None


def _values_in(text: str, key: str) -> tuple[str, ...]:
    """Return the words of a constraint that could be values, whatever its grammar."""
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").partition(key)[2].split()
    found = [word.lstrip("=!<>").strip("\"'") for word in words]
    return tuple(word for word in found if word and word not in {"in", "not", "exists"}) or ("true",)


def _taint(case: Case, at: int, node: Node) -> Remedy:
    taints = unbearable(case.shape.placement, node.spec.taints)
    said = " and ".join(repr(taint_text(taint)) for taint in taints)
    return Remedy(
        kind=RemedyKind.TAINT, node=node.id, name=taint_text(taints[0]),
        sentence=f"tolerate {said}, or take {'it' if len(taints) == 1 else 'them'} off {case.node_name(at)}",
    )  # fmt: skip


def _activate(case: Case, at: int, node: Node) -> Remedy:
    return Remedy(
        kind=RemedyKind.AVAILABILITY, node=node.id,
        sentence=f"let {case.node_name(at)} take tasks again: `pilothouse node activate {node.id}`",
    )  # fmt: skip


def _limit(case: Case, at: int, node: Node) -> Remedy:
    most = case.shape.placement.max_replicas_per_node
    return Remedy(
        kind=RemedyKind.LIMIT, node=node.id, name="max_replicas_per_node", value=str(most + 1),
        sentence=f"raise max_replicas_per_node to {most + 1}: then it fits on {case.node_name(at)}",
    )  # fmt: skip


def _pool(case: Case, at: int, node: Node) -> Remedy:
    del at
    pool = case.shape.pool.value
    return Remedy(
        kind=RemedyKind.LIMIT, node=node.id, name=f"pools.{pool}",
        sentence=f"let the pool {pool!r} have more, or reserve less of the others: "
        f"{case.fleet.pools.refusal(case.fleet.columns, case.shape.pool, case.need)}",
    )  # fmt: skip


def _come_back(case: Case, at: int, node: Node) -> Remedy:
    return Remedy(
        kind=RemedyKind.WAIT, node=node.id,
        sentence=f"it is placed once {case.node_name(at)} is ready again ({node.message or 'its agent is away'})",
    )  # fmt: skip


_PROPOSALS = {
    "constraints": _label,
    "taints": _taint,
    "availability": _activate,
    "max-per-node": _limit,
    "pool": _pool,
    "ready": _come_back,
}


def _node(case: Case, at: int) -> Node:
    node = case.fleet.columns.nodes[at]
    assert node is not None
    return node
