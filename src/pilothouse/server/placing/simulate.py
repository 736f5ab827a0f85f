"""What losing nodes would lead to: which tasks would be made again where, which could not, what each app loses. Pure.

The scheduler's own rules decide on a copy of the fleet without those nodes, in its own order. Only placing is foretold:
not how long it takes, and not whether the containers start.
"""

from collections.abc import Collection, Iterable, Sequence

from pilothouse.control.scheduler.place import place
from pilothouse.control.scheduler.write import Shapes, read_fleet
from pilothouse.errors import NotFoundError
from pilothouse.model.counts import count, listed
from pilothouse.model.names import display_name
from pilothouse.model.node import Node
from pilothouse.model.objects import Service, Task
from pilothouse.model.placement_api import AppLoss, Moved, Simulation
from pilothouse.model.states import TaskState
from pilothouse.server.placing.imagined import again
from pilothouse.store.interface import ReadTx

MOST_NAMED = 5


def lose(tx: ReadTx, names: Collection[str]) -> Simulation:
    """Return what losing the nodes called *names* would lead to.

    Raises:
        NotFoundError: There is no node of one of these names.
    """
    nodes = tx.find(Node)
    lost = frozenset(find_node(nodes, name).id for name in names)
    live = [task for task in tx.find(Task) if not task.state.terminal]
    hit = [task for task in live if task.node_id in lost and task.desired_state is not TaskState.SHUTDOWN]
    services = {service.id: service for service in tx.find(Service) if not service.removing}
    replaced = [task for task in hit if _is_made_again(task, services.get(task.service_id))]
    shapes = Shapes()
    fleet = read_fleet(tx, shapes)
    for node_id in lost:
        fleet.drop_node(node_id)
    outcome = place(fleet, [(task, shapes.of(task)) for task in map(again, replaced)])
    names_of = {node.id: node_name(node) for node in nodes}
    went = {
        task.replaces: (names_of.get(task.node_id, task.node_id), task.placement_message) for task in outcome.placed
    }
    stays = {task.replaces: why for task, why in outcome.left}
    moves = [_move(task, names_of, went, stays) for task in sorted(hit, key=lambda t: (t.app, t.service, t.slot, t.id))]
    apps = tuple(_apps(services, live, hit, frozenset(went), lost))
    return Simulation(
        lost=tuple(sorted(lost)), sentence=_sentence(lost, names_of, moves, apps), moves=tuple(moves), apps=apps
    )


def find_node(nodes: Sequence[Node], name: str) -> Node:
    """Return the node whose id, or whose machine's name, is *name*.

    Raises:
        NotFoundError: There is none.
    """
    for node in nodes:
        if node.id == name:
            return node
    found = [node for node in nodes if node.description.hostname == name]
    if len(found) == 1:
        return found[0]
    known = ", ".join(node.id for node in nodes[:20]) or "none"
    why = f"{len(found)} nodes are called" if found else "there is no node called"
    raise NotFoundError(f"{why} {name[:80]!r}; the ids of the nodes are: {known}")


def node_name(node: Node) -> str:
    """Return what people call *node*."""
    return node.description.hostname or node.id


def _is_made_again(task: Task, service: Service | None) -> bool:
    """Whether another would be made for *task*: one for each node is lost with its node, and so is what is removed."""
    return service is not None and "global" not in service.spec.mode.value and task.step < 0


def _move(task: Task, names: dict[str, str], went: dict[str, tuple[str, str]], stays: dict[str, str]) -> Moved:
    target, sentence = went.get(task.id, ("", stays.get(task.id, "")))
    if not target and not sentence:
        sentence = "is one of a service with one task on each node, so no other is made for it"
        if task.step >= 0:
            sentence = "runs a step of a release, which is tried again"
    return Moved(
        app=task.app,
        task=display_name(task),
        source=names.get(task.node_id, task.node_id),
        target=target,
        sentence=sentence,
    )


def _apps(
    services: dict[str, Service],
    live: Iterable[Task],
    hit: Sequence[Task],
    placed: frozenset[str],
    lost: frozenset[str],
) -> Iterable[AppLoss]:
    left: dict[str, int] = {}
    for task in live:
        if task.node_id not in lost and task.node_id and task.step < 0 and task.desired_state is TaskState.RUNNING:
            left[task.service_id] = left.get(task.service_id, 0) + 1
    for app in sorted({task.app for task in hit}):
        mine = [task for task in hit if task.app == app and task.step < 0]
        ids = sorted({task.service_id for task in mine} & services.keys())
        interrupted, gone, fewer = list[str](), list[str](), list[str]()
        for service_id in ids:
            tasks = [task for task in mine if task.service_id == service_id]
            back = sum(task.id in placed for task in tasks)
            name = services[service_id].name
            if not left.get(service_id, 0):
                (interrupted if back else gone).append(name)
            if back < len(tasks) and _counts(services[service_id]) and name not in gone:
                fewer.append(name)
        yield AppLoss(
            app=app,
            survives=not gone,
            interrupted=tuple(interrupted),
            gone=tuple(gone),
            fewer=tuple(fewer),
            sentence=_app_sentence(app, interrupted, gone, fewer),
        )


def _counts(service: Service) -> bool:
    """Whether a task fewer is one that is missing; of one for each node it is not."""
    return "global" not in service.spec.mode.value


def _app_sentence(app: str, interrupted: list[str], gone: list[str], fewer: list[str]) -> str:
    said: list[str] = []
    if gone:
        said.append(f"loses {listed(gone)}, which no other node can take")
    if interrupted:
        they_are = "it is" if len(interrupted) == 1 else "they are"
        said.append(f"has nobody who answers for {listed(interrupted)} until {they_are} made again")
    if fewer:
        said.append(f"has fewer tasks of {listed(fewer)} than it should")
    return f"{app} {'; '.join(said)}" if said else f"{app} goes on: every service keeps a task elsewhere"


def _sentence(lost: frozenset[str], names: dict[str, str], moves: Sequence[Moved], apps: Sequence[AppLoss]) -> str:
    which = listed(sorted(names[node] for node in lost)) if len(lost) <= MOST_NAMED else f"these {len(lost)} nodes"
    if not moves:
        return f"without {which} nothing would change: no task is there"
    again_ = sum(bool(move.target) for move in moves)
    broken = [app.app for app in apps if not app.survives]
    said = f"without {which} {again_} of {count(len(moves), 'task')} would be made again on other nodes"
    return f"{said}; {listed(broken)} would not survive it" if broken else f"{said}, and every app survives it"
