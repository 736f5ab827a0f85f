"""Whose room a task of a higher class may take, when no node suits it. Pure.

A victim is at least `PREEMPTION_GAP` lower in class, lets itself be preempted and keeps no data on its node. Of all
nodes the one is taken where the victims matter least: none that would leave its service below what an update of it
may take down, if that can be avoided; then the lowest class, then the fewest, then the newest.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.roster import Entry
from pilothouse.control.scheduler.rules import RULES
from pilothouse.control.scheduler.shape import Shape
from pilothouse.control.scheduler.words import broken_rules
from pilothouse.model.counts import count
from pilothouse.model.names import display_name
from pilothouse.model.placement import PREEMPTION_GAP
from pilothouse.model.states import TaskState

_AMOUNTS = frozenset({"cpu", "memory", "pids", "generic"})
_QUARTER = 4


class Preemption(NamedTuple):
    """The node a task can have, and the tasks on it that have to go first."""

    at: int
    victims: tuple[Entry, ...]


def preemption(case: Case, taken: Collection[str]) -> Preemption | None:
    """Return whose room the task may take; None if nobody's would do, or if enough becomes free by itself.

    Args:
        case: The task and the fleet, on which no node suits it.
        taken: Ids of the tasks whose room somebody takes already.
    """
    candidates = _places(case)
    if case.whole or not len(candidates):
        return None
    wanted = set(candidates)
    leaving: dict[int, dict[str, int]] = {}
    victims: dict[int, list[Entry]] = {}
    for entry in case.fleet.roster.entries.values():
        if entry.at not in wanted:
            continue
        if entry.task.desired_state is TaskState.SHUTDOWN or entry.task.id in taken:
            _add(leaving.setdefault(entry.at, {}), entry)
        elif may_be_preempted(entry, case.shape):
            victims.setdefault(entry.at, []).append(entry)
    if any(_fits(case, at, room) for at, room in leaving.items()):
        return None
    minimum = _Minimum(case, taken)
    found = [
        Preemption(at, chosen)
        for at, there in victims.items()
        if (chosen := _fewest(case, at, there, leaving.get(at, {}), minimum))
    ]
    rank = case.fleet.columns.rank
    return min(found, key=lambda each: (*_weight(each.victims, minimum), int(rank[each.at])), default=None)


def outranks_any(case: Case) -> bool:
    """Whether anything is placed that the task may take room from."""
    most = case.shape.priority - PREEMPTION_GAP
    return any(muster.shape.priority <= most for muster in case.fleet.roster.services.values())


def may_be_preempted(entry: Entry, by: Shape) -> bool:
    """Whether a task of the shape *by* may take the room of a placed one."""
    shape = entry.shape
    return (
        shape.placement.preemptible
        and shape.priority <= by.priority - PREEMPTION_GAP
        and not shape.keeps_data
        and not entry.waits
        and entry.task.desired_state < TaskState.SHUTDOWN
    )


def why_preempted(case: Case, victim: Entry) -> str:
    """Return the reason that the history of a victim gives."""
    beneficiary, name = case.task, case.node_name(victim.at)
    who = f"{display_name(beneficiary)} of {beneficiary.app}" if beneficiary is not None else case.shape.service
    return (
        f"its room on {name} goes to {who}, which has a priority of {case.shape.priority} against its "
        f"{victim.shape.priority} and found no other node"
    )


def why_waiting(case: Case, found: Preemption) -> str:
    """Return what the beneficiary waits for."""
    names = ", ".join(f"{display_name(entry.task)} of {entry.task.app}" for entry in found.victims)
    classes = " and ".join(str(each) for each in sorted({entry.shape.priority for entry in found.victims}))
    return (
        f"waits for its room on {case.node_name(found.at)}: {names} {'is' if len(found.victims) == 1 else 'are'} "
        f"stopped for it, {count(len(found.victims), 'task')} of priority {classes} against its {case.shape.priority}"
    )


class _Minimum:
    """How many tasks of a service may be away at once: a quarter, at least one, but never the only one."""

    def __init__(self, case: Case, taken: Collection[str]) -> None:
        self._roster = case.fleet.roster
        self._away: dict[str, int] = {}
        for task_id in taken:
            entry = self._roster.entries.get(task_id)
            if entry is not None:
                self._away[entry.shape.service_id] = self._away.get(entry.shape.service_id, 0) + 1

    def below(self, victims: tuple[Entry, ...]) -> int:
        """Return how many of *victims* would leave their service with too few."""
        wanted: dict[str, int] = {}
        for entry in victims:
            wanted[entry.shape.service_id] = wanted.get(entry.shape.service_id, 0) + 1
        return sum(max(0, number - self._spare(service_id)) for service_id, number in wanted.items())

    def _spare(self, service_id: str) -> int:
        there = sum(self._roster.counts(service_id).values())
        may_go = max(1, there // _QUARTER) if there > 1 else 0
        return max(0, may_go - self._away.get(service_id, 0))


def _places(case: Case) -> list[int]:
    """Return the places where nothing but room is missing."""
    others = ~case.fleet.columns.there
    for rule, mask in zip(RULES, broken_rules(case), strict=True):
        if rule.name not in _AMOUNTS:
            others |= mask
    return [int(at) for at in np.flatnonzero(~others).tolist() if at not in case.special]


def _fewest(
    case: Case, at: int, there: list[Entry], leaving: dict[str, int], minimum: _Minimum
) -> tuple[Entry, ...] | None:
    """Return the victims on one node: the least important until it fits, without those that then turn out needless."""
    there.sort(key=lambda entry: (minimum.below((entry,)), entry.shape.priority, -entry.task.created_at, entry.task.id))
    room, chosen = dict(leaving), list[Entry]()
    for entry in there:
        if _fits(case, at, room):
            break
        _add(room, entry)
        chosen.append(entry)
    if not _fits(case, at, room):
        return None
    for entry in reversed(list(chosen)):
        _add(room, entry, -1)
        if _fits(case, at, room):
            chosen.remove(entry)
        else:
            _add(room, entry)
    return tuple(chosen)


def _weight(victims: tuple[Entry, ...], minimum: _Minimum) -> tuple[int, int, int, float]:
    newest = min((-entry.task.created_at for entry in victims), default=0.0)
    return (minimum.below(victims), max(entry.shape.priority for entry in victims), len(victims), newest)


def _add(room: dict[str, int], entry: Entry, times: int = 1) -> None:
    for kind, amount in entry.taken:
        room[kind] = room.get(kind, 0) + amount * times


def _fits(case: Case, at: int, room: dict[str, int]) -> bool:
    columns = case.fleet.columns
    return all(int(columns.free_of(kind)[at]) + room.get(kind, 0) >= amount for kind, amount in case.need_at(at))
