"""How a service is updated, as far as its spec alone decides it: order, parallelism, and what counts as a success."""

from pilothouse.control.orchestrators.scene import is_ready
from pilothouse.model.container import ContainerSpec, MountKind
from pilothouse.model.objects import Health, Task
from pilothouse.model.spec import ServiceSpec, TaskSpec, UpdateOrder

SETTLE_SECONDS = 5.0
"""How long a task that nothing checks must run before it counts as a success of the update."""


def update_order(spec: ServiceSpec) -> UpdateOrder:
    """Return whether old tasks of *spec* go before or after new ones: as written where that can work."""
    container = spec.task.container
    if spec.update.order is UpdateOrder.START_FIRST and _one_host_port(container):
        return UpdateOrder.STOP_FIRST
    if spec.update.order is not None:
        return spec.update.order
    return UpdateOrder.STOP_FIRST if _cannot_run_twice(container) else UpdateOrder.START_FIRST


def parallelism(spec: ServiceSpec, count: int) -> int:
    """Return how many of *count* slots are worked on at once."""
    written = spec.update.parallelism
    if written is None:
        return max(1, count // 4)
    return written or max(1, count)


def settled_at(task: Task, spec: ServiceSpec) -> float | None:
    """Return from when on *task* counts as a success of an update, or None if it is not ready."""
    if not is_ready(task):
        return None
    started = task.status.since if task.status.started_at is None else task.status.started_at
    checked = task.status.health is not Health.NONE or _is_checked(spec.task)
    return started + max(spec.update.monitor_seconds or 0.0, 0.0 if checked else SETTLE_SECONDS)


def _cannot_run_twice(container: ContainerSpec) -> bool:
    """Whether two containers of one slot would be in each other's way: a port, an address, a name, or data."""
    fixed = any(at.ipv4_address or at.ipv6_address or at.mac_address for at in container.networks)
    shared = {MountKind.VOLUME, MountKind.BIND}
    writes = any(mount.kind in shared and mount.source and not mount.read_only for mount in container.mounts)
    host = container.network_mode == "host"
    return bool(container.ports or container.container_name or container.mac_address or fixed or writes or host)


def _one_host_port(container: ContainerSpec) -> bool:
    return any(port.published is not None and port.published[0] == port.published[1] for port in container.ports)


def _is_checked(spec: TaskSpec) -> bool:
    check = spec.container.healthcheck
    probed = spec.probes.startup or spec.probes.ready
    return probed is not None or (check is not None and check.test not in {(), ("NONE",)})
