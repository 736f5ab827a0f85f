"""From a task to the one container the engine has to make, as pure functions: every name resolved, nothing looked up.

What is not there yet (a network that was just deployed, a neighbour that still starts) is a TemporaryError; what this
release cannot do is a PermanentError that says so.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from pilothouse.agent.runtime.interface import ContainerPlan, EndpointPlan, PlannedMount
from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.model.base import Value
from pilothouse.model.container import Mount, MountKind, NetworkAttachment
from pilothouse.model.hardening import harden
from pilothouse.model.names import INSTALLATION_LABEL, RESERVED_LABEL_PREFIX, TASK_LABEL, container_name, display_name
from pilothouse.model.objects import Network, Task, Volume
from pilothouse.model.steps import hook_spec
from pilothouse.model.wire import Assignment

T = TypeVar("T", Network, Volume)
_PLACEHOLDER = re.compile(r"\{\{\s*\.([A-Za-z.]+)\s*\}\}")
_INTERFACE_NAME = "com.docker.network.endpoint.ifname"
_HOOK_LABEL = f"{RESERVED_LABEL_PREFIX}hook"


class Surroundings(Value, frozen=True, kw_only=True):
    """What the plan of a task needs to know beside the task.

    Attributes:
        assignment: Of this node.
        installation: Whose container it will be.
        hostname: The node's.
        neighbours: The engine's id of the container that stands for each service of the task's app, where one runs.
        files: Path on the node of each of the task's secrets and configs, by its target in the container.
    """

    assignment: Assignment
    installation: str = ""
    hostname: str = ""
    neighbours: Mapping[str, str] = {}
    files: Mapping[str, str] = {}


def plan_container(task: Task, around: Surroundings) -> ContainerPlan:
    """Return the container of *task*.

    Raises:
        TemporaryError: Something it refers to is not on the node yet.
        PermanentError: It asks for something this release cannot do.
    """
    spec = task.spec.container
    mode = _shared(spec.network_mode, "network_mode", around)
    return ContainerPlan(
        name=container_name(task),
        task_id=task.id,
        image=_image(task),
        spec=harden(msgspec.structs.replace(spec, hostname=_fill_in(spec.hostname, task, around.hostname))),
        mounts=_mounts(task, around),
        endpoints=() if mode else _endpoints(task, around, _aliases(task, around.assignment)),
        # The proxy listens on the others, for all tasks of the service.
        ports=tuple(port for port in task.ports if not port.ingress),
        network_mode=mode,
        ipc=_shared(spec.privileges.ipc, "ipc", around),
        pid=_shared(spec.privileges.pid, "pid", around),
        uts=_shared(spec.privileges.uts, "uts", around),
        volumes_from=tuple(_volumes_from(source, around) for source in spec.volumes_from),
        labels={**spec.labels, **_labels(task, around)},
    )


def plan_hook(task: Task, index: int, around: Surroundings, image: str) -> ContainerPlan:
    """Return the container that runs the task's `pre_start` hook number *index* from *image* (an id).

    It has the task's files, volumes and networks, but neither its names nor its ports.
    """
    spec = hook_spec(task.spec, index).container
    mode = _shared(spec.network_mode, "network_mode", around)
    return ContainerPlan(
        name=hook_name(task, index),
        task_id=task.id,
        image=image,
        spec=harden(spec),
        mounts=_mounts(task, around),
        endpoints=() if mode else _endpoints(task, around, ()),
        network_mode=mode,
        volumes_from=tuple(_volumes_from(source, around) for source in spec.volumes_from),
        labels={**spec.labels, **_labels(task, around), _HOOK_LABEL: f"pre_start.{index}"},
    )


def hook_name(task: Task, index: int) -> str:
    """Return the engine name of the container of the task's own `pre_start` hook number *index*."""
    return f"ph.{task.app}.{task.service}.pre-start-{index}.{task.slot}.{task.id}"


def hook_names(task: Task) -> tuple[str, ...]:
    """Return the names of the containers of the hooks that run for this task alone."""
    return tuple(hook_name(task, index) for index, hook in enumerate(task.spec.pre_start) if hook.per_replica)


def networks_of(task: Task, assignment: Assignment) -> tuple[Network, ...]:
    """Return the networks the task's container must be on.

    Raises:
        TemporaryError: One of them is not in the assignment yet.
    """
    spec = task.spec.container
    keys = () if spec.network_mode else tuple(attached.network for attached in spec.networks)
    return tuple(_find("network", key, task.app, assignment.networks) for key in keys)


def volumes_of(task: Task, assignment: Assignment) -> tuple[Volume, ...]:
    """Return the named volumes the task's container mounts.

    Raises:
        TemporaryError: One of them is not in the assignment yet.
    """
    named = (mount for mount in task.spec.container.mounts if mount.kind is MountKind.VOLUME and mount.source)
    return tuple(_find("volume", mount.source, task.app, assignment.volumes) for mount in named)


def neighbours_of(task: Task) -> frozenset[str]:
    """Return the services of the app whose running container the task's own cannot be made without."""
    spec = task.spec.container
    shared = (spec.network_mode, spec.privileges.ipc, spec.privileges.pid, spec.privileges.uts)
    found = {value.removeprefix("service:") for value in shared if value.startswith("service:")}
    found |= {s.partition(":")[0] for s in spec.volumes_from if not s.startswith("container:")}
    return frozenset(found)


def _image(task: Task) -> str:
    return task.image.id or task.image.digest or task.image.ref


def _mounts(task: Task, around: Surroundings) -> tuple[PlannedMount, ...]:
    spec = task.spec.container
    made = [_mount(mount, task, around.assignment) for mount in spec.mounts]
    for grant in (*spec.secrets, *spec.configs):
        if grant.target not in around.files:
            raise TemporaryError(f"the content of {grant.source} is not on this node yet")
        path = around.files[grant.target]
        made.append(PlannedMount(kind="bind", source=path, target=grant.target, read_only=True))
    return tuple(made)


def _mount(mount: Mount, task: Task, assignment: Assignment) -> PlannedMount:
    if mount.kind is MountKind.IMAGE:
        raise PermanentError(
            f"volumes: the mount at {mount.target} is of `type: image`, which is not supported: use a volume"
        )
    if mount.subpath:
        raise PermanentError(
            f"volumes: the mount at {mount.target} has a `subpath`, which is not supported: mount it whole"
        )
    source = mount.source
    if mount.kind is MountKind.VOLUME and source:
        source = _find("volume", source, task.app, assignment.volumes).spec.name
    return PlannedMount(
        kind=mount.kind.value,
        target=mount.target,
        source=source,
        read_only=mount.read_only,
        nocopy=mount.nocopy,
        propagation=mount.propagation,
        create_host_path=mount.kind is MountKind.BIND and mount.create_host_path,
        selinux=mount.selinux,
        size_bytes=mount.size_bytes,
        mode=mount.mode,
    )


def _endpoints(task: Task, around: Surroundings, names: tuple[str, ...]) -> tuple[EndpointPlan, ...]:
    networks = networks_of(task, around.assignment)
    pairs = zip(task.spec.container.networks, networks, strict=True)
    made = [_endpoint(attached, network, names) for attached, network in pairs]
    mac = task.spec.container.mac_address
    if made and mac and names and not any(endpoint.mac_address for endpoint in made):
        made[0] = msgspec.structs.replace(made[0], mac_address=mac)
    return tuple(made)


def _endpoint(attached: NetworkAttachment, network: Network, names: tuple[str, ...]) -> EndpointPlan:
    plain = EndpointPlan(network=network.spec.name, key=attached.network)
    if not names:
        # Of a hook: it may reach others, but nobody should find it.
        return plain
    options = {_INTERFACE_NAME: attached.interface_name} if attached.interface_name else {}
    return msgspec.structs.replace(
        plain,
        aliases=tuple(dict.fromkeys((*names, *attached.aliases))),
        ipv4_address=attached.ipv4_address,
        ipv6_address=attached.ipv6_address,
        link_local_ips=attached.link_local_ips,
        mac_address=attached.mac_address,
        driver_opts={**options, **attached.driver_opts},
        gateway_priority=attached.gateway_priority,
    )


def _aliases(task: Task, assignment: Assignment) -> tuple[str, ...]:
    """Return the names others find the task by: its service's, its own, and what other services link it as.

    A step has none: nobody should find it.
    """
    if task.step >= 0:
        return ()
    linked = (
        link.partition(":")[2]
        for other in assignment.tasks
        if other.app == task.app
        for link in other.spec.container.links
        if link.partition(":")[0] == task.service
    )
    names = (task.service, task.spec.container.container_name, display_name(task), *sorted(linked))
    return tuple(dict.fromkeys(name for name in names if name))


def _labels(task: Task, around: Surroundings) -> dict[str, str]:
    ours = {INSTALLATION_LABEL: around.installation} if around.installation else {}
    if task.step >= 0:
        ours[_HOOK_LABEL] = f"pre_start.{task.step}"
    return {
        **ours,
        "com.docker.compose.project": task.app,
        "com.docker.compose.service": task.service,
        "com.docker.compose.container-number": str(task.slot or 1),
        "com.docker.compose.oneoff": str(task.step >= 0),
        TASK_LABEL: task.id,
        f"{RESERVED_LABEL_PREFIX}app": task.app,
        f"{RESERVED_LABEL_PREFIX}service": task.service,
        f"{RESERVED_LABEL_PREFIX}slot": str(task.slot),
    }


def _shared(value: str, key: str, around: Surroundings) -> str:
    """Return a namespace as the engine calls it."""
    kind, _, name = value.partition(":")
    return f"container:{_neighbour(name, key, around)}" if kind == "service" else value


def _volumes_from(source: str, around: Surroundings) -> str:
    if source.startswith("container:"):
        return source.removeprefix("container:")
    name, colon, mode = source.partition(":")
    return f"{_neighbour(name, 'volumes_from', around)}{colon}{mode}"


def _neighbour(service: str, key: str, around: Surroundings) -> str:
    if service not in around.neighbours:
        raise TemporaryError(f"waits for a container of {service} on this node, because {key} refers to it", 0.2)
    return around.neighbours[service]


def _find(kind: str, key: str, app: str, among: Iterable[T]) -> T:
    for found in among:
        if found.app == app and found.spec.key == key:
            return found
    raise TemporaryError(f"the {kind} {app}/{key} is not known to this node yet", 0.2)


def _fill_in(hostname: str, task: Task, node: str) -> str:
    """Return *hostname* with Swarm's placeholders replaced; unknown ones are left as they are."""
    known = {
        "Service.Name": task.service,
        "Service.ID": task.service_id,
        "Task.ID": task.id,
        "Task.Name": display_name(task),
        "Task.Slot": str(task.slot),
        "Node.ID": task.node_id,
        "Node.Hostname": node,
    }
    return _PLACEHOLDER.sub(lambda found: known.get(found[1], found[0]), hostname)
