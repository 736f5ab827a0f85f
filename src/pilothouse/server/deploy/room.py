"""What new tasks would find taken: places on nodes, and host ports that other apps have. Pure."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pilothouse.control.orchestrators.scene import Key, key_of
from pilothouse.control.scheduler.table import Table
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ClusterSpec
from pilothouse.model.container import Port
from pilothouse.model.names import display_name
from pilothouse.model.node import Node
from pilothouse.model.objects import Service, Task, Volume
from pilothouse.model.release_api import PlannedAction
from pilothouse.model.spec import Mode, UpdateOrder
from pilothouse.server.deploy.pace import at_once, is_staged, rule_of
from pilothouse.server.deploy.prospect import Prospect
from pilothouse.server.placing.imagined import imagined
from pilothouse.store.interface import ReadTx

_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - addresses a user may have written
_NEW_TASKS = frozenset({PlannedAction.CREATE, PlannedAction.REPLACE, PlannedAction.SCALE})
Holders = Mapping[tuple[str, int], list[tuple[str, str]]]
"""For each protocol and host port, (host address, who has it)."""


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What is on the nodes beside the app.

    Attributes:
        live: Every task that has not ended, of every app.
        volumes: As they will be, of every app.
        held: Which host ports tasks and services of other apps have.
        base: The app's newest stable release, 0 if there is none.
    """

    nodes: tuple[Node, ...] = ()
    live: tuple[Task, ...] = ()
    volumes: tuple[Volume, ...] = ()
    cluster: ClusterSpec | None = None
    held: Holders = {}
    base: int = 0


def around(tx: ReadTx, app: str, base: int, volumes: Iterable[Volume] = ()) -> Around:
    """Return what is around *app*; *volumes* are those that will be."""
    cluster = tx.get(Cluster, CLUSTER_ID)
    live = tuple(task for task in tx.find(Task) if not task.state.terminal)
    others = [s for s in tx.find(Service) if s.app != app and not s.removing]
    return Around(
        nodes=tuple(tx.find(Node)),
        live=live,
        volumes=tuple(volumes),
        cluster=cluster.spec if cluster else None,
        held=_held(others, [t for t in live if t.app != app]),
        base=base,
    )


def no_place(prospect: Prospect, here: Around) -> Iterator[str]:
    """Yield a sentence if new tasks would not find a place on the one node while the old ones still have theirs.

    Where there are several nodes it is told for each task where it would go (`server.placing.foretell`).
    """
    if prospect.action not in _NEW_TASKS or len(here.nodes) != 1:
        return
    table = Table(here.nodes, here.live, here.volumes, here.cluster)
    start_first = is_staged(prospect, here.base) or rule_of(prospect, here.base).order is UpdateOrder.START_FIRST
    beside = prospect.action is PlannedAction.REPLACE and start_first
    refused = [
        placed.message
        for key in _first_ones(prospect, here.base)
        if not (placed := table.place(_imagined(prospect, key, beside=beside), job=prospect.spec.mode.job)).node_id
    ]
    if not refused:
        return
    if beside:
        other = "`strategy: rolling`" if is_staged(prospect, here.base) else "`order: stop-first`"
        cure = f"reserve less, make room, or write {other}"
        yield f"an old and a new task need their places at once, and there is not enough: {refused[0]}; {cure}"
    else:
        yield f"{len(refused)} of its tasks would wait for a place: {refused[0]}; reserve less, or make room"


def _first_ones(prospect: Prospect, base: int) -> list[Key]:
    """Return the slots that get a new task before any other is done."""
    held = {key_of(task) for task in prospect.stops}
    if prospect.action is PlannedAction.REPLACE and held:
        return [key for key in prospect.wanted if key in held][: at_once(prospect, base)]
    return list(prospect.missing)


def _imagined(prospect: Prospect, key: Key, *, beside: bool) -> Task:
    assert prospect.after is not None, "what goes gets no tasks"
    return imagined(prospect.after, key, waits=prospect.action is PlannedAction.REPLACE and not beside)


def ports_of_others(prospect: Prospect, here: Around) -> Iterator[str]:
    """Yield a sentence for each published port that another app has, so that new tasks would wait for it."""
    if prospect.action not in _NEW_TASKS or not prospect.wanted:
        return
    for port in prospect.spec.task.container.ports:
        if port.published is None or (port.fixed and not port.ingress and len(here.nodes) > 1):
            continue
        taken = {
            number: who
            for number in range(port.published[0], port.published[1] + 1)
            for who in _holders(port, number, here.held)[:1]
        }
        free = port.published[1] - port.published[0] + 1 - len(taken)
        needed = 1 if port.ingress or prospect.spec.mode is Mode.GLOBAL else len(prospect.wanted)
        if taken and free < needed:
            number, who = next(iter(taken.items()))
            yield (
                f"host port {number}/{port.protocol} belongs to {who}, so its tasks would wait until it is free; "
                "publish another port"
            )


def _holders(port: Port, number: int, held: Holders) -> list[str]:
    found = held.get((port.protocol, number), [])
    return [who for host_ip, who in found if host_ip == port.host_ip or {host_ip, port.host_ip} & _ANY]


def _held(services: Iterable[Service], tasks: Iterable[Task]) -> Holders:
    found: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for service in services:
        if service.spec.mode in {Mode.REPLICATED, Mode.REPLICATED_JOB} and not service.spec.replicas:
            continue
        for port in service.spec.task.container.ports:
            if port.published is not None and port.published[0] == port.published[1]:
                found.setdefault((port.protocol, port.published[0]), []).append((port.host_ip, service.id))
    for task in tasks:
        for binding in task.ports:
            who = f"{task.app}/{display_name(task)}"
            found.setdefault((binding.protocol, binding.host_port), []).append((binding.host_ip, who))
    return found
