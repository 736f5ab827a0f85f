"""Which class of work a service is, and how its tasks are laid out if nobody said so. Pure."""

from pilothouse.model.container import MountKind
from pilothouse.model.placement import Packing, Pool
from pilothouse.model.spec import TaskSpec

_KEPT = frozenset({MountKind.VOLUME, MountKind.BIND})


def pool_of(spec: TaskSpec, *, job: bool) -> Pool:
    """Return the pool a task is in: as written, else BATCH for jobs and DATASTORES for what keeps data."""
    if spec.placement.pool is not None:
        return spec.placement.pool
    if job:
        return Pool.BATCH
    return Pool.DATASTORES if keeps_data(spec) else Pool.SERVICES


def packing_of(spec: TaskSpec, *, job: bool) -> Packing:
    """Return how its tasks are laid out: as written, else packed for BATCH, so that large tasks find a whole node."""
    if spec.placement.packing is not None:
        return spec.placement.packing
    batch = spec.placement.pool is Pool.BATCH or (job and spec.placement.pool is None)
    return Packing.PACK if batch else Packing.SPREAD


def keeps_data(spec: TaskSpec) -> bool:
    """Whether a task writes to a volume or a host path, so that what it leaves behind is on its node."""
    return any(mount.kind in _KEPT and mount.source and not mount.read_only for mount in spec.container.mounts)
