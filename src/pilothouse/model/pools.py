"""Which class of work a service is, and how its tasks are laid out if nobody said so. Pure."""

from pilothouse.model.container import MountKind
from pilothouse.model.placement import Packing, Pool
from pilothouse.model.spec import TaskSpec


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
    return Packing.PACK if pool_of(spec, job=job) is Pool.BATCH else Packing.SPREAD


def keeps_data(spec: TaskSpec) -> bool:
    """Whether a task writes to a volume or a host path, so that what it leaves behind is on its node."""
    kept = {MountKind.VOLUME, MountKind.BIND}
    return any(mount.kind in kept and mount.source and not mount.read_only for mount in spec.container.mounts)
