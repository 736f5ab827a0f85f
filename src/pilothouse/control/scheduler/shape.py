"""What placing asks about a task and nothing else, so that thousands of equal ones are decided together. Pure.

Tasks of one service that were made from the same have one shape. Shapes of different services that differ in nothing
but whose they are, are kin.
"""

import dataclasses
from collections.abc import Iterable

import msgspec

from pilothouse.model.container import ContainerSpec, DeviceRequest, MountKind
from pilothouse.model.objects import PortBinding, ResolvedImage, Task
from pilothouse.model.placement import Packing, Placement, Pool
from pilothouse.model.pools import keeps_data, packing_of, pool_of
from pilothouse.model.spec import Resources, TaskSpec

CPU, MEMORY, PIDS = "cpu", "memory", "pids"
GENERIC = "generic:"
BASE = (CPU, MEMORY, PIDS)
"""The amounts every node says; those after `GENERIC` are what its owner declared."""

Need = tuple[tuple[str, int], ...]
"""Amounts by kind, those of zero left out."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Bond:
    """An affinity with its service's whole id."""

    service_id: str
    level: str
    apart: bool
    weight: int


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What placing asks about some tasks of one service.

    Attributes:
        need: What each reserves.
        image: What the image is: the platform it is for, and the nodes that have it if no other can get it.
        whole: Kinds of which it takes all that a node has.
        devices: Kinds that only a device request names: where no node declares any, they are left to the engine.
        partners: Names of services of the app beside whose task of the slot it has to run.
        volumes: Ids of the named volumes it mounts.
        counted: It is in a slot, so it counts as a task of its service.
        keeps_data: It writes to a volume or host path.
        kin: Equal for shapes that differ in nothing but the service.
    """

    app: str
    service: str
    service_id: str
    need: Need
    whole: tuple[str, ...]
    devices: tuple[str, ...]
    placement: Placement
    platform: str
    image: ResolvedImage
    ports: tuple[PortBinding, ...]
    partners: tuple[str, ...]
    volumes: tuple[str, ...]
    bonds: tuple[Bond, ...]
    pool: Pool
    packing: Packing
    counted: bool
    keeps_data: bool
    kin: bytes

    @property
    def priority(self) -> int:
        """Of its class: the greater goes first."""
        return self.placement.priority

    @property
    def simple(self) -> bool:
        """Whether nothing but its node and level counts ties one of its tasks to another."""
        return not (self.ports or self.partners or self.volumes or self.bonds or self.whole or not self.counted)


def shape_of(task: Task, *, job: bool = False) -> Shape:
    """Return the shape of *task*; *job* says that its service's tasks are meant to end."""
    spec, placement = task.spec, task.spec.placement
    engine = tuple(port for port in task.ports if not port.ingress)
    bonds = tuple(
        Bond(_whole_id(task.app, each.service), each.level, each.apart, each.weight) for each in placement.affinities
    )
    need, whole, devices = needs(spec)
    volumes = _volumes(task.app, spec.container)
    partners = partners_of(spec.container)
    pool, packing = pool_of(spec, job=job), packing_of(spec, job=job)
    able = (spec.container.platform, task.image.platform, task.image.nodes)
    kin = msgspec.json.encode((need, whole, placement, able, pool, packing, task.step < 0), order="deterministic")
    return Shape(
        app=task.app, service=task.service, service_id=task.service_id, need=need, whole=whole,
        devices=devices, placement=placement, platform=spec.container.platform, image=task.image,
        ports=engine, partners=partners, volumes=volumes, bonds=bonds, pool=pool,
        packing=packing, counted=task.step < 0, keeps_data=keeps_data(spec), kin=kin,
    )  # fmt: skip


def needs(spec: TaskSpec) -> tuple[Need, tuple[str, ...], tuple[str, ...]]:
    """Return what a task reserves, the kinds of which it wants all, and those that only device requests name."""
    amounts = amounts_of(spec.reservations)
    if not spec.container.gpus:
        return tuple((kind, amount) for kind, amount in sorted(amounts.items()) if amount), (), ()
    written = set(amounts)
    whole: list[str] = []
    for request in spec.container.gpus:
        kind = GENERIC + device_kind(request)
        number = len(request.device_ids) or request.count
        if number is None or number < 0:
            whole.append(kind)
        else:
            amounts[kind] = amounts.get(kind, 0) + number
    need = tuple((kind, amount) for kind, amount in sorted(amounts.items()) if amount)
    return need, tuple(sorted(set(whole))), tuple(sorted(({*amounts, *whole}) - written))


def amounts_of(resources: Resources) -> dict[str, int]:
    """Return amounts by kind."""
    base = {CPU: resources.cpu_nano, MEMORY: resources.memory_bytes, PIDS: resources.pids}
    return {**base, **{GENERIC + kind: amount for kind, amount in resources.generic.items()}}


def device_kind(request: DeviceRequest) -> str:
    """Return the generic resource that a device request counts as: its first capability that names a thing."""
    named = [each for each in request.capabilities if each not in {"compute", "utility", "graphics", "video"}]
    return (named or list(request.capabilities) or [request.driver or "device"])[0]


def partners_of(spec: ContainerSpec) -> tuple[str, ...]:
    """Return the services of the app whose container this one shares something with."""
    shared = (spec.network_mode, spec.privileges.ipc, spec.privileges.pid, spec.privileges.uts)
    found = {value.removeprefix("service:") for value in shared if value and value.startswith("service:")}
    if spec.volumes_from:
        found |= {each.partition(":")[0] for each in spec.volumes_from if not each.startswith("container:")}
    return tuple(sorted(found))


def total(needs: Iterable[Need]) -> Need:
    """Return the sum of several needs."""
    found: dict[str, int] = {}
    for need in needs:
        for kind, amount in need:
            found[kind] = found.get(kind, 0) + amount
    return tuple(sorted(found.items()))


def _volumes(app: str, spec: ContainerSpec) -> tuple[str, ...]:
    if not spec.mounts:
        return ()
    named = {mount.source for mount in spec.mounts if mount.kind is MountKind.VOLUME and mount.source}
    return tuple(f"{app}/{key}" for key in sorted(named))


def _whole_id(app: str, service: str) -> str:
    return service if "/" in service else f"{app}/{service}"
