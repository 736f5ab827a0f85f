"""Pending tasks to nodes: takes requests in their order, books what is placed, and says why the rest waits. Pure.

The fleet that is handed in is changed: what was placed is booked in it, so that the next decision sees it.
"""

import math
from collections.abc import Iterable

import msgspec
import numpy as np
from msgspec.structs import replace

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.choose import Chosen, choose, one_at_a_time
from pilothouse.control.scheduler.columns import Ints
from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.shape import Shape
from pilothouse.control.scheduler.units import Pending, Request, requests
from pilothouse.control.scheduler.words import nowhere, placed_on
from pilothouse.model.objects import Task, Volume
from pilothouse.model.states import TaskState

_FEW = 8
"""Services with more new tasks than this are decided one by one also where they are alike."""


class Outcome(msgspec.Struct):
    """What became of the tasks.

    Attributes:
        placed: As they are to be written.
        left: Those that no node suits, with the sentence that says why.
        volumes: Those that got a node with the first task that uses them, as they are to be written, by id.
    """

    placed: list[Task] = []
    left: list[tuple[Task, str]] = []
    volumes: dict[str, Volume] = {}

    def note(self, task: Task, why: str) -> None:
        """Note that *task* has no place."""
        self.left.append((task, why))


def place(fleet: Fleet, pending: Iterable[Pending]) -> Outcome:
    """Place every task that a node suits."""
    outcome = Outcome()
    place_requests(fleet, requests(fleet, pending), outcome)
    return outcome


def place_requests(fleet: Fleet, wanted: list[Request], outcome: Outcome) -> None:
    """Place what is asked for, and again what waits for others of it, until nothing more finds a place."""
    while True:
        before = len(outcome.placed)
        _pass(fleet, wanted, outcome)
        again = [(task, why) for task, why in outcome.left if _waits_for_others(task)]
        if not again or len(outcome.placed) == before:
            return
        tried = {task.id for task, _ in again}
        outcome.left = [(task, why) for task, why in outcome.left if task.id not in tried]
        shapes = {task.id: shape for request in wanted for unit in request.units for task, shape in unit}
        wanted = requests(fleet, [(task, shapes[task.id]) for task, _ in again])


def _waits_for_others(task: Task) -> bool:
    placement = task.spec.placement
    return any(not each.apart and not each.weight for each in placement.affinities) or bool(
        task.spec.container.volumes_from or task.spec.container.network_mode or task.spec.container.privileges.ipc
        or task.spec.container.privileges.pid
    )  # fmt: skip


def _pass(fleet: Fleet, wanted: list[Request], outcome: Outcome) -> None:
    for request in _kin_together(fleet, wanted, outcome):
        if not request.batch:
            _place_unit(fleet, request.units[0], outcome)
        elif len(request.units) == 1 or one_at_a_time(request.lead[1]):
            for unit in request.units:
                _place_unit(fleet, unit, outcome)
        else:
            _place_batch(fleet, request, outcome)


def _place_unit(fleet: Fleet, unit: list[Pending], outcome: Outcome) -> None:
    """Place the tasks of a unit on one node, or none of them."""
    names = frozenset(task.service for task, _ in unit)
    cases = [Case(fleet, shape, task, beside=names - {task.service}) for task, shape in unit]
    chosen = choose(cases, 1)
    if not len(chosen.places):
        why = nowhere(cases)
        for task, _ in unit:
            outcome.note(task, why)
        return
    for case in cases:
        assert case.task is not None
        _settle(fleet, case.shape, [case.task], chosen, outcome)


def _place_batch(fleet: Fleet, request: Request, outcome: Outcome) -> None:
    tasks, shape = [unit[0][0] for unit in request.units], request.lead[1]
    case = Case(fleet, shape)
    chosen = choose([case], len(tasks))
    found = len(chosen.places)
    _settle(fleet, shape, tasks[:found], chosen, outcome)
    if found < len(tasks):
        why = nowhere([Case(fleet, shape)])
        for task in tasks[found:]:
            outcome.note(task, why)


def _settle(fleet: Fleet, shape: Shape, tasks: list[Task], chosen: Chosen, outcome: Outcome) -> None:
    """Write down and book where *tasks* go."""
    places = chosen.places.tolist()
    said = {at: placed_on(fleet, shape, at, chosen.suit) for at in set(places)}
    nodes = fleet.columns.nodes
    placed = [
        replace(task, node_id=node.id, placement_message=said[at], state=TaskState.ASSIGNED)
        for task, at in zip(tasks, places, strict=True)
        if (node := nodes[at]) is not None
    ]
    if len(placed) > 1 and not shape.whole:
        fleet.put_alike(placed, shape, places)
    else:
        for task in placed:
            fleet.put_task(task, shape)
    outcome.placed += placed
    for task in placed if shape.volumes else ():
        _bind_volumes(fleet, shape, task.node_id, outcome)


def _bind_volumes(fleet: Fleet, shape: Shape, node_id: str, outcome: Outcome) -> None:
    for volume_id in shape.volumes:
        volume = fleet.volumes.get(volume_id)
        if volume is not None and node_id not in volume.nodes:
            nodes = tuple(dict.fromkeys((*volume.nodes, *(fleet.nodes_of(volume_id) or ()), node_id)))
            outcome.volumes[volume_id] = fleet.volumes[volume_id] = replace(volume, nodes=nodes)


def _kin_together(fleet: Fleet, wanted: list[Request], outcome: Outcome) -> Iterable[Request]:
    """Yield what has to be decided on its own, after having placed together small services that are alike."""
    kin: dict[tuple[bytes, int], list[Request]] = {}
    for request in wanted:
        shape = request.lead[1]
        if request.batch and len(request.units) <= _FEW and shape.simple and _has_none(fleet, shape):
            kin.setdefault((shape.kin, len(request.units)), []).append(request)
    together: dict[int, list[Request]] = {}
    done: set[int] = set()
    for alike in kin.values():
        if len(alike) > 1:
            together[id(alike[0])] = alike
            done.update(id(each) for each in alike)
    for request in wanted:
        if id(request) not in done:
            yield request
        elif id(request) in together and not _place_kin(fleet, together[id(request)], outcome):
            yield from together[id(request)]


def _has_none(fleet: Fleet, shape: Shape) -> bool:
    return shape.service_id not in fleet.roster.services and not fleet.roster.bound_to(shape.service_id)


def _place_kin(fleet: Fleet, alike: list[Request], outcome: Outcome) -> bool:
    """Place the tasks of services that are alike all at once, so that each is spread; return whether that worked."""
    services, each = len(alike), len(alike[0].units)
    shape = alike[0].lead[1]
    chosen = choose([Case(fleet, shape)], services * each, services=services)
    if len(chosen.places) < services * each or not _even(fleet, shape, chosen.places, services):
        return False
    # In the order of values and nodes every service takes each so many-th place: so no two of them are near each other.
    places = chosen.places[_by_level(fleet, shape, chosen.places)]
    for number, request in enumerate(alike):
        mine = Chosen(places[number::services], chosen.suit)
        _settle(fleet, request.lead[1], [unit[0][0] for unit in request.units], mine, outcome)
    return True


def _by_level(fleet: Fleet, shape: Shape, places: Ints) -> Ints:
    keys = [places, *(fleet.facts.level(each.level).codes[places] for each in reversed(shape.placement.spread))]
    return np.lexsort(keys)


def _even(fleet: Fleet, shape: Shape, places: Ints, services: int) -> bool:
    """Whether a service that takes each so many-th place is spread as well as if it were placed alone."""
    if len(shape.placement.spread) > 1 or any(each.targets for each in shape.placement.spread):
        return False
    if int(np.bincount(places).max()) > services:
        return False
    for each in shape.placement.spread:
        level = fleet.facts.level(each.level)
        found = np.bincount(level.codes[places], minlength=len(level.values))
        used = np.unique(level.codes[fleet.columns.there])
        if math.ceil(int(found[used].max()) / services) - int(found[used].min()) // services > 1:
            return False
    return True
