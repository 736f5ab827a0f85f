"""Which pending tasks are decided together: those that have to be on one node, and those that are all alike.

A unit is the tasks of a slot of services that share a container or a local volume: it fits as a whole or waits as a
whole.
"""

import operator
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.shape import Shape
from pilothouse.control.scheduler.uncollected import uncollected
from pilothouse.model.objects import Task

Pending = tuple[Task, Shape]
_Key = tuple[str, str, int, str]
"""App, service, slot, and in global modes the node."""


class Request(NamedTuple):
    """What is decided at once.

    Attributes:
        shape: Of all of *tasks*, or of the first of *unit*.
        tasks: New ones of one shape that take turns with nobody and may go anywhere; the older first.
        unit: In place of those: tasks that go together, or one that needs a look of its own.
    """

    shape: Shape
    tasks: list[Task]
    unit: tuple[Pending, ...] = ()

    @property
    def size(self) -> int:
        """How many tasks it is about."""
        return len(self.unit) or len(self.tasks)

    @property
    def pending(self) -> list[Pending]:
        """Return its tasks with their shapes."""
        return list(self.unit) or [(task, self.shape) for task in self.tasks]


Alike = dict[Shape, list[Task]]
"""Pending tasks by shape."""


def requests(fleet: Fleet, pending: Iterable[Pending]) -> list[Request]:
    """Return what to decide, in order: the higher priority first, then the older."""
    every: Alike = {}
    add_pending(every, pending)
    return requests_of(fleet, every)


def add_pending(every: Alike, pending: Iterable[Pending]) -> None:
    """Add tasks to *every*."""
    with uncollected():
        for task, shape in pending:
            tasks = every.get(shape)
            if tasks is None:
                every[shape] = [task]
            else:
                tasks.append(task)


def requests_of(fleet: Fleet, every: Alike) -> list[Request]:
    """Return what to decide as `requests` does, of tasks that are sorted by shape already."""
    with uncollected():
        return _requests(fleet, every)


def _requests(fleet: Fleet, every: Alike) -> list[Request]:
    tied = _tied(fleet, every)
    made: list[Request] = []
    for shape, tasks in every.items():
        alike = [task for task in tasks if task.id not in tied] if tied else tasks
        if len(alone := _alone(fleet, shape, alike)):
            made += [Request(shape, [], ((task, shape),)) for task in alone.values()]
            alike = [task for task in alike if task.id not in alone]
        if alike:
            alike.sort(key=_age)
            made.append(Request(shape, alike))
    for unit in {id(unit): unit for unit in tied.values()}.values():
        unit.sort(key=lambda each: (-each[1].priority, *_age(each[0])))
        made.append(Request(unit[0][1], [], tuple(unit)))
    made.sort(key=_turn)
    return made


def _turn(request: Request) -> tuple[int, float, int, str]:
    first = request.unit[0][0] if request.unit else request.tasks[0]
    return (-request.shape.placement.priority, first.created_at, first.slot, first.id)


_age: Callable[[Task], tuple[float, int, str]] = operator.attrgetter("created_at", "slot", "id")


def _alone(fleet: Fleet, shape: Shape, tasks: list[Task]) -> dict[str, Task]:
    """Return, by id, those of *tasks* that need a look of their own."""
    if shape.partners or fleet.roster.sharing(shape.service_id):
        return {task.id: task for task in tasks}
    if shape.service_id in fleet.roster.services or fleet.claims:
        claims, turn = fleet.claims, fleet.roster.turn
        return {task.id: task for task in tasks if task.node_id or task.id in claims or turn(task)}
    return {task.id: task for task in tasks if task.node_id}


def _tied(fleet: Fleet, every: Alike) -> dict[str, list[Pending]]:
    """Return, by task id, the units of more than one task."""
    if not any(shape.partners or shape.volumes for shape in every):
        return {}
    by_key: dict[_Key, Pending] = {}
    for shape, tasks in every.items():
        for task in tasks if shape.counted else ():
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
