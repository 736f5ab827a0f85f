"""Which pending tasks are decided together: those that have to be on one node, and those that are all alike.

A unit is one task, or the tasks of a slot of services that share a container or a local volume: it fits as a whole or
waits as a whole. A request is equal units of one service that take turns with nobody, or a single unit.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.shape import Shape
from pilothouse.model.objects import Task

Pending = tuple[Task, Shape]
_Key = tuple[str, str, int, str]
"""App, service, slot, and in global modes the node."""


class Request(NamedTuple):
    """What is decided at once.

    Attributes:
        units: Each in the order in which its parts are named; more than one only if they are all alike and single.
    """

    units: list[list[Pending]]

    @property
    def size(self) -> int:
        """How many tasks it is about."""
        return sum(map(len, self.units))

    @property
    def batch(self) -> bool:
        """Whether its units are alike, fresh and single."""
        task, _ = self.units[0][0]
        return len(self.units[0]) == 1 and not task.node_id

    @property
    def lead(self) -> Pending:
        """The first task."""
        return self.units[0][0]


def requests(fleet: Fleet, pending: Iterable[Pending]) -> list[Request]:
    """Return what to decide, in order: the higher priority first, then the older."""
    ordered = sorted(pending, key=lambda each: (-each[1].priority, each[0].created_at, each[0].slot, each[0].id))
    tied = _tied(fleet, ordered)
    made: list[Request] = []
    alike: dict[object, Request] = {}
    done: set[str] = set()
    for task, shape in ordered:
        if task.id in done:
            continue
        unit = tied.get(task.id)
        if unit is not None:
            done.update(other.id for other, _ in unit)
            made.append(Request([unit]))
        elif task.node_id or fleet.roster.turn(task):
            made.append(Request([[(task, shape)]]))
        elif (known := alike.get(shape)) is not None:
            known.units.append([(task, shape)])
        else:
            alike[shape] = Request([[(task, shape)]])
            made.append(alike[shape])
    return made


def _tied(fleet: Fleet, pending: list[Pending]) -> dict[str, list[Pending]]:
    """Return, by task id, the units of more than one task."""
    if not any(shape.partners or shape.volumes for _, shape in pending):
        return {}
    by_key: dict[_Key, Pending] = {}
    for task, shape in pending:
        if shape.counted:
            by_key.setdefault(_key(task), (task, shape))
    ties = _Ties()
    users: dict[tuple[str, int, str], str] = {}
    for key, (task, shape) in by_key.items():
        ties.find(task.id)
        for name in shape.partners:
            other = by_key.get((task.app, name, task.slot, key[3])) or _lowest(fleet, by_key, task, name)
            if other is not None:
                ties.tie(other[0].id, task.id)
        for volume in fleet.volumes.keys() & shape.volumes:
            ties.tie(task.id, users.setdefault((volume, task.slot, key[3]), task.id))
    units: dict[str, list[Pending]] = {}
    for each in by_key.values():
        units.setdefault(ties.find(each[0].id), []).append(each)
    return {task.id: unit for unit in units.values() if len(unit) > 1 for task, _ in unit}


class _Ties:
    """Which tasks belong together, whatever ties them."""

    def __init__(self) -> None:
        self._to: dict[str, str] = {}

    def find(self, one: str) -> str:
        """Return the name of the unit a task is in."""
        while (other := self._to.setdefault(one, one)) != one:
            one = other
        return one

    def tie(self, one: str, other: str) -> None:
        """Put two tasks, and all they are tied to, in one unit."""
        self._to[self.find(one)] = self.find(other)


def _lowest(fleet: Fleet, by_key: dict[_Key, Pending], task: Task, name: str) -> Pending | None:
    """Return the pending task of a partner that has no such slot: the lowest, unless one is placed already."""
    if f"{task.app}/{name}" in fleet.roster.services or not task.slot:
        return None
    found = [each for key, each in by_key.items() if key[:2] == (task.app, name)]
    return min(found, key=lambda each: each[0].slot, default=None)


def _key(task: Task) -> _Key:
    return (task.app, task.service, task.slot, "" if task.slot else task.node_id)
