"""Tasks that do not exist, as the scheduler would see them: to ask where they would go. Pure."""

from msgspec.structs import replace

from pilothouse.control.orchestrators.scene import Key
from pilothouse.model.container import Port
from pilothouse.model.objects import PortBinding, Service, Task
from pilothouse.model.states import TaskState


def imagined(service: Service, key: Key, *, waits: bool = False) -> Task:
    """Return a task of *service* for the slot *key* that has all it needs but a node.

    Args:
        service: As it is or would be.
        key: The slot, and in global modes the node.
        waits: It takes over from the one in its slot, which stops first.
    """
    return Task(
        id=f"planned-{service.app}-{service.name}-{key[0]}-{key[1]}",
        app=service.app,
        service=service.name,
        slot=key[0],
        node_id=key[1],
        spec=service.spec.task,
        image=service.image,
        fingerprint="planned",
        desired_state=TaskState.READY if waits else TaskState.RUNNING,
        state=TaskState.PENDING,
        ports=fixed_ports(service.spec.task.container.ports),
    )


def fixed_ports(ports: tuple[Port, ...]) -> tuple[PortBinding, ...]:
    """Return the host ports that a task is given in any case: those of the engine with one number."""
    return tuple(
        PortBinding(target=port.target, host_port=port.published[0], protocol=port.protocol, host_ip=port.host_ip)
        for port in ports
        if port.published is not None and port.fixed and not port.ingress
    )


def again(task: Task) -> Task:
    """Return what would be made in the place of a *task* that is lost with its node."""
    return replace(
        task,
        id=f"again-{task.id}",
        node_id="",
        state=TaskState.PENDING,
        desired_state=TaskState.RUNNING,
        placement_message="",
        replaces=task.id,
    )
