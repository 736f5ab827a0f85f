"""What tests of moves share: a world of several nodes, and people who want tasks elsewhere."""

from msgspec.structs import replace

from pilothouse.model.cluster import Disruption, DisruptionKind
from pilothouse.model.container import ContainerSpec, Mount, MountKind
from pilothouse.model.node import Availability, Node
from pilothouse.model.states import Writer
from tests.control.world import World, node, spec

REASON = "node1 is drained: a new kernel"
WRITES = ContainerSpec(image="db:1", mounts=(Mount(kind=MountKind.VOLUME, source="data", target="/data"),))


def world_of(*services, nodes=3, **fields):
    return World(*services, nodes=tuple(node(f"node{number}") for number in range(1, nodes + 1)), **fields)


def running(*services, nodes=3, **fields):
    """A world in which *services* run as the first stable release says."""
    world = world_of(nodes=nodes, **fields)
    world.release(*services, base=0)
    world.rest()
    return world.pass_time(60)


def database(**fields):
    return spec("db", container=fields.pop("container", WRITES), **fields)


def ask(world, *tasks, kind=DisruptionKind.DRAIN, reason=REASON, writer=Writer.NODES, **fields):
    """Somebody wants *tasks* replaced."""
    world.writer = writer
    for task in tasks:
        world.put(
            Disruption(
                id=task.id, app=task.app, service=task.service, kind=kind, reason=reason, requested_at=world.now,
                requested_by=writer.value, **fields,
            )
        )  # fmt: skip


def take_back(world, *tasks):
    world.writer = Writer.NODES
    for task in tasks:
        world.delete(world.get(Disruption, task.id))


def drain(world, node_id, **fields):
    """A person drains a node, and everything on it is asked to go."""
    world.writer = Writer.API
    found = world.get(Node, node_id)
    world.put(replace(found, spec=replace(found.spec, availability=Availability.DRAIN)))
    ask(world, *[task for task in world.live_everywhere() if task.node_id == node_id], **fields)
