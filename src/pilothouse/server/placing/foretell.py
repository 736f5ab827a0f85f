"""Where the new tasks of a deployment would go, what would find no place, and what would be apart. Pure.

All new tasks are placed together on a copy of the fleet, by the scheduler's own rules and in its order. What an update
stops later is counted as there; a task that waits for the one it replaces shares that one's room.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pilothouse.control.orchestrators.scene import key_of
from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.matrix import explain
from pilothouse.control.scheduler.place import place
from pilothouse.control.scheduler.preempt import preemption
from pilothouse.control.scheduler.shape import Shape
from pilothouse.control.scheduler.write import Shapes, read_fleet
from pilothouse.model.counts import listed
from pilothouse.model.names import display_name
from pilothouse.model.node import Node
from pilothouse.model.objects import Task
from pilothouse.model.placement_api import Planned
from pilothouse.model.release_api import PlannedAction
from pilothouse.model.spec import ServiceSpec, UpdateOrder
from pilothouse.model.states import TaskState
from pilothouse.server.deploy.pace import at_once, is_staged, rule_of
from pilothouse.server.deploy.prospect import Prospect
from pilothouse.server.placing.imagined import imagined
from pilothouse.server.placing.simulate import node_name
from pilothouse.store.interface import ReadTx

MOST_SHOWN = 100
"""So many places of one service are told one by one."""

_NEW_TASKS = frozenset({PlannedAction.CREATE, PlannedAction.REPLACE, PlannedAction.SCALE})


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to place tasks on.

    Attributes:
        live: Every task that has not ended.
        then: The store as it would be right after the deployment.
    """

    nodes: Sequence[Node]
    live: Sequence[Task]
    then: ReadTx

    @property
    def several(self) -> bool:
        """Whether there is a choice of nodes at all."""
        return len(self.nodes) > 1


def places(prospects: Sequence[Prospect], ground: Ground, base: int) -> dict[str, tuple[Planned, ...]]:
    """Return where the new tasks of each service would go, by its name; *base* is the stable release to go back to."""
    known = Shapes()
    fleet, pending = read_fleet(ground.then, known), list[tuple[Task, Shape]]()
    for prospect in prospects:
        if prospect.action in _NEW_TASKS and prospect.after is not None:
            pending += [(task, known.of(task)) for task in _new_tasks(prospect, base)]
    outcome = place(fleet, pending)
    shapes = {task.id: shape for task, shape in pending}
    names = {node.id: node_name(node) for node in ground.nodes}
    found: dict[str, list[Planned]] = {}
    for task in outcome.placed:
        told = Planned(task=display_name(task), node=names[task.node_id], sentence=task.placement_message)
        found.setdefault(task.service, []).append(told)
    for task, why in outcome.left:
        found.setdefault(task.service, []).append(_waiting(fleet, task, shapes[task.id], why))
    return {name: tuple(sorted(each, key=lambda told: (bool(told.node), told.task))) for name, each in found.items()}


def _new_tasks(prospect: Prospect, base: int) -> Iterator[Task]:
    """Yield the tasks that would be made, those that wait for the one they replace marked as such."""
    assert prospect.after is not None, "what goes gets no tasks"
    held = {key_of(task) for task in prospect.stops}
    beside = 0
    if is_staged(prospect, base) or rule_of(prospect, base).order is UpdateOrder.START_FIRST:
        beside = at_once(prospect, base)
    for key in prospect.wanted:
        if key in prospect.missing:
            yield imagined(prospect.after, key)
        elif prospect.action is PlannedAction.REPLACE and key in held:
            yield imagined(prospect.after, key, waits=beside <= 0)
            beside -= 1


def _waiting(fleet: Fleet, task: Task, shape: Shape, why: str) -> Planned:
    """Return why *task* would wait: whose room it takes, else what the smallest change would be."""
    found = preemption(Case(fleet, shape, task), ())
    if found is not None:
        node = fleet.columns.nodes[found.at]
        assert node is not None, "a place without a node takes no task"
        victims = tuple(
            f"{each.task.app}/{display_name(each.task)} (priority {each.shape.priority})" for each in found.victims
        )
        said = f"takes the room of {listed(victims)}, which {'is' if len(victims) == 1 else 'are'} stopped for it"
        return Planned(task=display_name(task), node=node_name(node), sentence=said, displaces=victims)
    remedies = explain(fleet, task, shape).remedies
    cure = f"; the smallest change: {remedies[0].sentence}" if remedies else ""
    return Planned(task=display_name(task), sentence=f"{why}{cure}")


def unplaced(planned: Sequence[Planned]) -> Iterator[str]:
    """Yield a sentence if new tasks would wait for a place, and one if they would take the room of others."""
    waiting = [each for each in planned if not each.node]
    if waiting:
        more = f" ({len(waiting)} of them)" if len(waiting) > 1 else ""
        yield f"{waiting[0].task}{more} would wait for a place: {waiting[0].sentence}"
    for each in planned:
        if each.displaces:
            yield f"{each.task} {each.sentence}; write `priority` lower, or make room"


def apart(prospects: Sequence[Prospect], planned: Mapping[str, Sequence[Planned]], ground: Ground) -> tuple[str, ...]:
    """Return which services of an app would be on different nodes although they share a network, each as a sentence.

    Where some of them name others in `depends_on` or `links`, only these are told of.
    """
    names = {node.id: node_name(node) for node in ground.nodes}
    where: dict[str, set[str]] = {}
    networks: dict[str, list[ServiceSpec]] = {}
    for prospect in prospects:
        if prospect.after is None or prospect.spec.mode.job:
            continue
        stopped = {task.id for task in prospect.stops}
        mine = [task for task in ground.live if task.service_id == prospect.after.id and task.id not in stopped]
        there = {names[task.node_id] for task in mine if task.node_id in names and _runs_on(task)}
        where[prospect.name] = there | {each.node for each in planned.get(prospect.name, ()) if each.node}
        for network in _networks(prospect.spec):
            networks.setdefault(network, []).append(prospect.spec)
    said = []
    for network, services in sorted(networks.items()):
        clauses = list(_unreached(services, where))
        if clauses:
            more = f", and {len(clauses) - 5} more" if len(clauses) > 5 else ""
            said.append(
                f"on the network {network} containers reach each other only on their own node: "
                f"{'; '.join(clauses[:5])}{more}; `x-pilothouse.placement.near` keeps services together"
            )
    return tuple(said)


def _runs_on(task: Task) -> bool:
    return task.step < 0 and task.desired_state is not TaskState.SHUTDOWN


def _networks(spec: ServiceSpec) -> tuple[str, ...]:
    container = spec.task.container
    if container.network_mode:
        return ()
    return tuple(dict.fromkeys(each.network for each in container.networks)) or ("default",)


def _unreached(services: Sequence[ServiceSpec], where: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield which of the services on one network would have no task of another beside them, and where."""
    members = {spec.name for spec in services}
    needs = {spec.name: _neighbours(spec) & members for spec in services}
    asked = any(needs.values())
    for spec in services:
        for other in sorted(needs[spec.name] if asked else members - {spec.name}):
            missing = where[spec.name] - where[other]
            if missing and where[other]:
                yield f"{spec.name} on {listed(sorted(missing))} would not reach {other}"


def _neighbours(spec: ServiceSpec) -> set[str]:
    links = {link.partition(":")[0] for link in spec.task.container.links}
    return {edge.service for edge in spec.depends_on} | links
