"""Which volumes are one machine's alone, and which services share one. Pure.

The data of a local volume is on the node where it was made and nowhere else, so every task that mounts it goes there.
"""

from collections.abc import Iterable

from pilothouse.model.container import ContainerSpec, MountKind
from pilothouse.model.spec import VolumeSpec

_NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "gfs2", "glusterfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3"}
)


def is_local(spec: VolumeSpec) -> bool:
    """Tell whether the volume's data is on one node only.

    A volume of another driver is that driver's, and one that mounts a network file system is reached from everywhere.
    An external volume was made on some node by somebody, so it is local unless its driver says otherwise.
    """
    if spec.driver not in {"", "local"}:
        return False
    return spec.driver_opts.get("type", "").lower() not in _NETWORK_FILE_SYSTEMS


def volumes_of(container: ContainerSpec) -> tuple[str, ...]:
    """Return the keys of the named volumes that *container* mounts, each once, in the order they are written."""
    named = (mount.source for mount in container.mounts if mount.kind is MountKind.VOLUME and mount.source)
    return tuple(dict.fromkeys(named))


def local_volumes_of(container: ContainerSpec, volumes: Iterable[VolumeSpec]) -> tuple[str, ...]:
    """Return those of `volumes_of` that are local; *volumes* are those of the app."""
    local = {spec.key for spec in volumes if is_local(spec)}
    return tuple(key for key in volumes_of(container) if key in local)


def companions(container: ContainerSpec) -> tuple[str, ...]:
    """Return the services of the app whose task *container* must be beside: it uses something of their containers.

    That is `network_mode`, `ipc`, `pid`, `uts` and `cgroup` of `service:NAME`, and `volumes_from`.
    """
    privileges = container.privileges
    namespaces = (container.network_mode, privileges.ipc, privileges.pid, privileges.uts, privileges.cgroup)
    named = [value.removeprefix("service:") for value in namespaces if value.startswith("service:")]
    named += [source.partition(":")[0] for source in container.volumes_from if not source.startswith("container:")]
    return tuple(dict.fromkeys(named))
