"""What an app asks of the nodes that there are too few of, so that it could never be had. Pure.

A fixed host port that the engine publishes is one of each node, so as many tasks can have it as there are nodes that
could take them. Nodes that are away or take nothing at the moment count: they may come back.
"""

from collections.abc import Iterator, Sequence

from pilothouse.model.counts import count
from pilothouse.model.node import Node
from pilothouse.model.spec import AppSpec, Mode, ServiceSpec
from pilothouse.model.suits import could_run
from pilothouse.model.validate.ports import collisions, taken_twice, too_few

REPLICAS_PER_NODE = 1_000
TASKS_PER_NODE = 10_000
_COUNTED = frozenset({Mode.REPLICATED, Mode.REPLICATED_JOB})


def crowded(spec: AppSpec, nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return why the tasks of *spec* do not go on *nodes*, each as "PATH: why, and what to write instead"."""
    ports = (*_replicas(spec, nodes), *_neighbours(spec, nodes)) if nodes else ()
    return (*_sizes(spec, max(1, len(nodes))), *ports)


def _sizes(spec: AppSpec, nodes: int) -> Iterator[str]:
    """Yield what is more than engines can stand."""
    where = "one host" if nodes == 1 else count(nodes, "node")
    tasks = 0
    for service in spec.services:
        if service.mode not in _COUNTED:
            continue
        tasks += service.replicas
        if service.replicas > REPLICAS_PER_NODE * nodes:
            path = f"services.{service.name}.deploy.replicas"
            yield f"{path}: {service.replicas:,} cannot run on {where}; write 0 to {REPLICAS_PER_NODE * nodes:,}"
    if tasks > TASKS_PER_NODE * nodes:
        most = f"at most {TASKS_PER_NODE * nodes:,} can run"
        yield f"services: {tasks:,} replicas in all are too many for {where}; {most}"


def suiting(service: ServiceSpec, nodes: Sequence[Node]) -> frozenset[str]:
    """Return the ids of the nodes that *service* could run on."""
    return frozenset(node.id for node in nodes if could_run(service, node))


def _replicas(spec: AppSpec, nodes: Sequence[Node]) -> Iterator[str]:
    for service in spec.services:
        if service.mode not in _COUNTED or service.replicas < 2:
            continue
        room = len(suiting(service, nodes))
        for index, port in enumerate(service.task.container.ports):
            if port.fixed and not port.ingress and service.replicas > room:
                path = f"services.{service.name}.ports[{index}].published"
                yield f"{path}: {too_few(port, service.replicas, room)}"


def _neighbours(spec: AppSpec, nodes: Sequence[Node]) -> Iterator[str]:
    services = {service.name: service for service in spec.services}
    for path, port, (other, held) in collisions(spec.services):
        one, two = (services[_service(each)] for each in (other, path))
        if port.ingress or held.ingress or one is two:
            continue  # refused by validation, whatever nodes there are
        rooms = [suiting(service, nodes) for service in (one, two)]
        wanted = sum(_tasks(service, room) for service, room in zip((one, two), rooms, strict=True))
        if wanted > len(rooms[0] | rooms[1]):
            there = f" ({count(wanted, 'task')} on {count(len(rooms[0] | rooms[1]), 'node')})" if len(nodes) > 1 else ""
            yield f"{path}.published: {taken_twice(port, other)}{there}"


def _service(path: str) -> str:
    """Return the name of the service in "services.NAME.ports[INDEX]"; a name may hold dots."""
    return path.removeprefix("services.").rpartition(".ports[")[0]


def _tasks(service: ServiceSpec, room: frozenset[str]) -> int:
    return service.replicas if service.mode in _COUNTED else len(room)
