"""What placing asks about a task and nothing else, so that thousands of equal ones are decided together. Pure.

Tasks of one service that were made from the same have one shape. Shapes of different services that differ in nothing
but whose they are, are kin.
"""

import functools
from collections.abc import Iterable

import msgspec

from pilothouse.model.container import ContainerSpec, DeviceRequest, MountKind
from pilothouse.model.objects import PortBinding, ResolvedImage, Task
from pilothouse.model.placement import Affinity, Packing, Placement, Pool, Toleration
from pilothouse.model.pools import keeps_data, packing_of, pool_of
from pilothouse.model.spec import Resources, TaskSpec

CPU, MEMORY, PIDS = "cpu", "memory", "pids"
GENERIC = "generic:"
BASE = (CPU, MEMORY, PIDS)
"""The amounts every node says; those after `GENERIC` are what its owner declared."""

_ENCODER = msgspec.json.Encoder(order="deterministic")

Need = tuple[tuple[str, int], ...]
"""Amounts by kind, those of zero left out."""
Terms = tuple[tuple[str, ...], tuple[Toleration, ...], str, str, tuple[str, ...]]
"""Constraints, tolerations, the platform asked for, that of the image, and the nodes that have the image."""


class Bond(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An affinity with its service's whole id."""

    service_id: str
    level: str
    apart: bool
    weight: int


class Shape(msgspec.Struct, frozen=True, eq=False, gc=False, kw_only=True):
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
        terms: Equal for shapes that may go to the same nodes, as long as no amounts are asked for.
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
    terms: Terms

    @property
    def priority(self) -> int:
        """Of its class: the greater goes first."""
        return self.placement.priority

    @property
    def kin(self) -> bytes:
        """Equal for shapes that differ in nothing but the service; those that are not simple have no kin."""
        return _ENCODER.encode((self.need, self.placement, self.terms, self.pool, self.packing))

    @property
    def simple(self) -> bool:
        """Whether nothing but its node and level counts ties one of its tasks to another."""
        return not (self.ports or self.partners or self.volumes or self.bonds or self.whole or not self.counted)


def shape_of(task: Task, *, job: bool = False) -> Shape:
    """Return the shape of *task*; *job* says that its service's tasks are meant to end."""
    spec, placement = task.spec, task.spec.placement
    engine = tuple(port for port in task.ports if not port.ingress) if task.ports else ()
    bonds = tuple(map(functools.partial(_bond, task.app), placement.affinities)) if placement.affinities else ()
    need, whole, devices = needs(spec)
    volumes = _volumes(task.app, spec.container)
    partners = partners_of(spec.container)
    pool, packing = pool_of(spec, job=job), packing_of(spec, job=job)
    able = (spec.container.platform, task.image.platform, task.image.nodes)
    terms = (placement.constraints, placement.tolerations, *able)
    return Shape(
        app=task.app, service=task.service, service_id=task.service_id, need=need, whole=whole,
        devices=devices, placement=placement, platform=spec.container.platform, image=task.image,
        ports=engine, partners=partners, volumes=volumes, bonds=bonds, pool=pool,
        packing=packing, counted=task.step < 0, keeps_data=keeps_data(spec), terms=terms,
    )  # fmt: skip


def needs(spec: TaskSpec) -> tuple[Need, tuple[str, ...], tuple[str, ...]]:
    """Return what a task reserves, the kinds of which it wants all, and those that only device requests name."""
    reserved = spec.reservations
    if not spec.container.gpus and not reserved.generic:
        base = ((CPU, reserved.cpu_nano), (MEMORY, reserved.memory_bytes), (PIDS, reserved.pids))
        return (base[:2] if base[0][1] and base[1][1] and not base[2][1] else _without_zeros(base)), (), ()
    amounts = amounts_of(reserved)
    if not spec.container.gpus:
        return _without_zeros(sorted(amounts.items())), (), ()
    written = set(amounts)
    whole: list[str] = []
    for request in spec.container.gpus:
        kind = GENERIC + device_kind(request)
        number = len(request.device_ids) or request.count
        if number is None or number < 0:
            whole.append(kind)
        else:
            amounts[kind] = amounts.get(kind, 0) + number
    need = _without_zeros(sorted(amounts.items()))
    return need, tuple(sorted(set(whole))), tuple(sorted(({*amounts, *whole}) - written))


def _without_zeros(amounts: Iterable[tuple[str, int]]) -> Need:
    return tuple(each for each in amounts if each[1])


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
    if not (spec.volumes_from or any(shared)):
        return ()
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


def _bond(app: str, affinity: Affinity) -> Bond:
    return Bond(_whole_id(app, affinity.service), affinity.level, affinity.apart, affinity.weight)


def _whole_id(app: str, service: str) -> str:
    return service if "/" in service else f"{app}/{service}"
