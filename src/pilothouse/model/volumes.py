"""Which volumes have their data on one node, so that tasks follow it there. Pure."""

from pilothouse.model.spec import VolumeSpec

_DRIVERS = frozenset({"", "local"})
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p"})


def is_local(spec: VolumeSpec) -> bool:
    """Whether the data of a volume is on the node that made it, and nowhere else."""
    return spec.driver in _DRIVERS and spec.driver_opts.get("type", "").lower() not in _REMOTE
