"""Pending tasks to nodes: takes requests in their order, books what is placed, and says why the rest waits. Pure.

The fleet that is handed in is changed: what was placed is booked in it, so that the next decision sees it.
"""

import functools
import math
from collections.abc import Iterable

import msgspec
import numpy as np
from msgspec.structs import replace

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.choose import Chosen, choose, one_at_a_time
from pilothouse.control.scheduler.columns import Ints
from pilothouse.control.scheduler.facts import Level
from pilothouse.control.scheduler.fleet import Claim, Fleet
from pilothouse.control.scheduler.preempt import outranks_any, preemption, why_preempted, why_waiting
from pilothouse.control.scheduler.shape import Shape
from pilothouse.control.scheduler.uncollected import uncollected
from pilothouse.control.scheduler.units import Pending, Request, requests
from pilothouse.control.scheduler.words import nowhere, why_there
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
        preempted: The placed tasks that are to go, each with the task its room is for, and the reason.
        nodes: The version of each node with placed tasks, as it was when that was decided.
    """

    placed: list[Task] = []
    left: list[tuple[Task, str]] = []
    volumes: dict[str, Volume] = {}
    preempted: list[tuple[Task, str, str]] = []
    nodes: dict[str, int] = {}

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
    with uncollected():
        _place_all(fleet, wanted, outcome)


def _place_all(fleet: Fleet, wanted: list[Request], outcome: Outcome) -> None:
    while True:
        before = len(outcome.placed)
        _pass(fleet, wanted, outcome)
        again = {task.id for task, _ in outcome.left if _waits_for_others(task)}
        if not again or len(outcome.placed) == before:
            outcome.nodes = _versions(fleet, outcome.placed)
            return
        wanted = [left for request in wanted if (left := _only(request, again)) is not None]
        tried = {task.id for request in wanted for task, _ in request.pending}
        outcome.left = [(task, why) for task, why in outcome.left if task.id not in tried]


def _versions(fleet: Fleet, placed: list[Task]) -> dict[str, int]:
    nodes, place = fleet.columns.nodes, fleet.columns.place
    return {node_id: 0 if (node := nodes[place[node_id]]) is None else node.version
            for node_id in {task.node_id for task in placed}}  # fmt: skip


def _only(request: Request, some: set[str]) -> Request | None:
    """Return what of a request is about some tasks: a unit as a whole."""
    if any(task.id in some for task, _ in request.unit):
        return request
    tasks = [task for task in request.tasks if task.id in some]
    return request._replace(tasks=tasks) if tasks else None


def _waits_for_others(task: Task) -> bool:
    placement = task.spec.placement
    return any(not each.apart and not each.weight for each in placement.affinities) or bool(
        task.spec.container.volumes_from or task.spec.container.network_mode or task.spec.container.privileges.ipc
        or task.spec.container.privileges.pid
    )  # fmt: skip


def _pass(fleet: Fleet, wanted: list[Request], outcome: Outcome) -> None:
    for request in _kin_together(fleet, wanted, outcome):
        if request.unit:
            _place_unit(fleet, request.unit, outcome)
        elif len(request.tasks) == 1 or one_at_a_time(request.shape):
            for task in request.tasks:
                _place_unit(fleet, ((task, request.shape),), outcome)
        else:
            _place_batch(fleet, request, outcome)


def _place_unit(fleet: Fleet, unit: tuple[Pending, ...], outcome: Outcome) -> None:
    """Place the tasks of a unit on one node, or none of them."""
    names = frozenset(task.service for task, _ in unit)
    claims = {task.id: claim for task, _ in unit if (claim := fleet.release(task.id)) is not None}
    cases = [Case(fleet, shape, task, beside=names - {task.service}) for task, shape in unit]
    chosen = choose(cases, 1)
    if not len(chosen.nodes):
        _leave(fleet, cases, claims, outcome)
        return
    for case in cases:
        assert case.task is not None
        _settle(fleet, case.shape, [case.task], chosen, outcome)


def _leave(fleet: Fleet, cases: list[Case], claims: dict[str, Claim], outcome: Outcome) -> None:
    """Say why a unit has no place, or for whose room it waits."""
    task = cases[0].task
    if len(cases) == 1 and task is not None:
        claim = claims.get(task.id)
        if claim is None or not fleet.holds(claim):
            claim = _take_room(fleet, cases[0], outcome)
        if claim is not None:
            fleet.hold(task.id, claim)
            outcome.note(task, claim.why)
            return
    why = nowhere(cases)
    for case in cases:
        if case.task is not None:
            outcome.note(case.task, why)


def _take_room(fleet: Fleet, case: Case, outcome: Outcome) -> Claim | None:
    """Choose the tasks whose room a more important one gets, if there are any."""
    found = preemption(case, fleet.taken()) if case.task is not None and outranks_any(case) else None
    if found is None or case.task is None:
        return None
    outcome.preempted += [(each.task, case.task.id, why_preempted(case, each)) for each in found.victims]
    victims = frozenset(each.task.id for each in found.victims)
    return Claim(found.at, case.need_at(found.at), victims, why_waiting(case, found))


def _place_batch(fleet: Fleet, request: Request, outcome: Outcome) -> None:
    tasks, shape = request.tasks, request.shape
    chosen = choose([Case(fleet, shape)], len(tasks))
    found = int(chosen.times.sum())
    if found:
        _settle(fleet, shape, tasks[:found], chosen, outcome)
    why = ""
    for task in tasks[found:]:
        claim = None if why else _take_room(fleet, Case(fleet, shape, task), outcome)
        if claim is not None:
            fleet.hold(task.id, claim)
        else:
            why = why or nowhere([Case(fleet, shape)])
        outcome.note(task, why if claim is None else claim.why)


def _settle(fleet: Fleet, shape: Shape, tasks: list[Task], chosen: Chosen, outcome: Outcome) -> None:
    """Write down and book where *tasks* go."""
    places = chosen.places.tolist()
    placed = _assigned(fleet, tasks, places, why_there(fleet, shape, chosen.suit))
    if len(placed) > 1 and not shape.whole:
        fleet.book_alike(shape, chosen.nodes, chosen.times)
        fleet.roster.add_alike(placed, shape, places)
    else:
        for task in placed:
            fleet.put_task(task, shape)
    outcome.placed += placed
    for task in placed if shape.volumes else ():
        _bind_volumes(fleet, shape, task.node_id, outcome)


def _assigned(fleet: Fleet, tasks: list[Task], places: list[int], why: str) -> list[Task]:
    """Return *tasks* as they are to be written, each with its place."""
    nodes, assigned = fleet.columns.nodes, TaskState.ASSIGNED
    where = {
        at: (node.id, f"placed on {node.description.hostname or node.id}{why}")
        for at in set(places)
        if (node := nodes[at]) is not None
    }
    return [
        replace(task, node_id=node_id, placement_message=said, state=assigned)
        for task, (node_id, said) in zip(tasks, map(where.__getitem__, places), strict=True)
    ]


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
        shape = request.shape
        if 0 < len(request.tasks) <= _FEW and shape.simple and _has_none(fleet, shape):
            kin.setdefault((shape.kin, len(request.tasks)), []).append(request)
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


def _values(fleet: Fleet, level: Level) -> Ints:
    """Return the codes of the values that any node has."""
    return np.unique(level.codes[fleet.columns.there])


def _has_none(fleet: Fleet, shape: Shape) -> bool:
    return shape.service_id not in fleet.roster.services and not fleet.roster.bound_to(shape.service_id)


def _place_kin(fleet: Fleet, alike: list[Request], outcome: Outcome) -> bool:
    """Place the tasks of services that are alike all at once, so that each is spread; return whether that worked."""
    services, each = len(alike), len(alike[0].tasks)
    shape = alike[0].shape
    chosen = choose([Case(fleet, shape)], services * each, services=services)
    if int(chosen.times.sum()) < services * each or not _even(fleet, shape, chosen, services):
        return False
    # In the order of values and nodes every service takes each so many-th place: so no two of them are near each other.
    in_order = chosen.places[_by_level(fleet, shape, chosen.places)]
    places = in_order.reshape(each, services).T.ravel().tolist()
    fleet.book_alike(shape, chosen.nodes, chosen.times)
    tasks = [task for request in alike for task in request.tasks]
    placed = _assigned(fleet, tasks, places, why_there(fleet, shape, chosen.suit))
    for number, request in enumerate(alike):
        mine = slice(number * each, (number + 1) * each)
        fleet.roster.add_alike(placed[mine], request.shape, places[mine])
    outcome.placed += placed
    return True


def _by_level(fleet: Fleet, shape: Shape, places: Ints) -> Ints:
    keys = [places, *(fleet.facts.level(each.level).codes[places] for each in reversed(shape.placement.spread))]
    return np.lexsort(keys)


def _even(fleet: Fleet, shape: Shape, chosen: Chosen, services: int) -> bool:
    """Whether a service that takes each so many-th place is spread as well as if it were placed alone."""
    if len(shape.placement.spread) > 1 or any(each.targets for each in shape.placement.spread):
        return False
    for each in shape.placement.spread:
        level = fleet.facts.level(each.level)
        found = np.bincount(level.codes[chosen.nodes], weights=chosen.times, minlength=len(level.values))
        used = fleet.facts.kept(("values", each.level), functools.partial(_values, fleet, level))
        if math.ceil(int(found[used].max()) / services) - int(found[used].min()) // services > 1:
            return False
    return True
