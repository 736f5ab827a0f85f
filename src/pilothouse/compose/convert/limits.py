"""What a container may use: its service's keys and `deploy.resources`, which must agree, and devices by capability."""

from pilothouse.compose import quantities
from pilothouse.compose.reader import Reader
from pilothouse.model.container import Blkio, DeviceRequest, Limits, ThrottleDevice, Ulimit, WeightDevice
from pilothouse.model.spec import Resources


def limits(service: Reader) -> Limits:
    """Return the limits of *service*."""
    resources = service.child("deploy").child("resources")
    most, least = resources.child("limits"), resources.child("reservations")
    swappiness = service.integer("mem_swappiness")
    return Limits(
        cpu_nano=_agreed(
            service, "cpus", service.parsed("cpus", quantities.cpu_nano), most.parsed("cpus", quantities.cpu_nano)
        ),
        cpu_shares=service.integer("cpu_shares") or 0,
        cpu_period_us=_microseconds(service, "cpu_period"),
        cpu_quota_us=_microseconds(service, "cpu_quota"),
        cpu_rt_period_us=_microseconds(service, "cpu_rt_period"),
        cpu_rt_runtime_us=_microseconds(service, "cpu_rt_runtime"),
        cpuset=service.text("cpuset"),
        memory_bytes=_agreed(service, "mem_limit", service.byte_count("mem_limit"), most.byte_count("memory")),
        memory_reservation_bytes=_agreed(
            service, "mem_reservation", service.byte_count("mem_reservation"), least.byte_count("memory")
        ),
        memory_swap_bytes=service.byte_count("memswap_limit") or 0,
        memory_swappiness=swappiness,
        pids=_agreed(service, "pids_limit", service.integer("pids_limit"), most.integer("pids")),
        oom_score_adj=service.integer("oom_score_adj") or 0,
        oom_kill_disable=service.flag("oom_kill_disable"),
        blkio=_blkio(service.child("blkio_config")) if service.has("blkio_config") else None,
    )


def reservations(service: Reader) -> Resources:
    """Return the capacity *service* asks to be kept for each of its tasks."""
    kept = service.child("deploy").child("resources").child("reservations")
    generic: dict[str, int] = {}
    for entry in kept.children("generic_resources"):
        declared = entry.child("discrete_resource_spec")
        generic[declared.text("kind")] = declared.integer("value") or 0
    return Resources(
        cpu_nano=kept.parsed("cpus", quantities.cpu_nano) or 0,
        memory_bytes=kept.byte_count("memory") or service.byte_count("mem_reservation") or 0,
        pids=kept.integer("pids") or 0,
        generic=generic,
    )


def ulimits(service: Reader) -> dict[str, Ulimit]:
    """Return the ulimits; one number is both the soft and the hard limit."""
    parent = service.child("ulimits")
    found: dict[str, Ulimit] = {}
    for name in sorted(parent.names()):
        if isinstance(parent.raw(name), dict):
            both = parent.child(name)
            hard = both.integer("hard")
            soft = both.integer("soft")
        else:
            soft = hard = parent.integer(name)
        if soft is None or hard is None:
            parent.error(name, "needs a soft and a hard limit; write one number, or {soft: 1024, hard: 4096}")
            continue
        found[name] = Ulimit(soft=soft, hard=hard)
    return found


def device_requests(service: Reader) -> tuple[DeviceRequest, ...]:
    """Return the device requests of `gpus` and of `deploy.resources.reservations.devices`."""
    found = []
    if service.raw("gpus") == "all":
        found.append(DeviceRequest(capabilities=("gpu",), count=-1))
    else:
        found.extend(_request(entry, ("gpu",)) for entry in service.children("gpus"))
    reserved = service.child("deploy").child("resources").child("reservations")
    found.extend(_request(entry, ()) for entry in reserved.children("devices"))
    return tuple(found)


def _request(entry: Reader, implied: tuple[str, ...]) -> DeviceRequest:
    wanted = entry.texts("capabilities")
    capabilities = (*(c for c in implied if c not in wanted), *wanted)
    ids = entry.texts("device_ids")
    count = -1 if entry.raw("count") == "all" else entry.integer("count")
    if not capabilities:
        entry.error("capabilities", "is needed to choose a device; write for example [gpu]")
    if count is not None and ids:
        entry.error("count", "and device_ids exclude each other; write one of them")
    return DeviceRequest(
        capabilities=capabilities,
        driver=entry.text("driver"),
        count=count if count is not None or ids else -1,
        device_ids=ids,
        options=entry.pairs("options"),
    )


def _agreed(service: Reader, key: str, own: int | None, deployed: int | None) -> int:
    if own and deployed and own != deployed:
        service.error(key, "and deploy.resources say different things; keep one of the two")
    return deployed or own or 0


def _microseconds(service: Reader, key: str) -> int:
    return service.parsed(key, _to_microseconds) or 0


def _to_microseconds(value: object) -> int:
    try:
        return quantities.integer(value)
    except ValueError:
        return round(quantities.seconds(value) * 1_000_000)


def _blkio(blkio: Reader) -> Blkio:
    return Blkio(
        weight=blkio.integer("weight") or 0,
        weight_device=tuple(
            WeightDevice(path=_either(d, "path"), weight=_either_count(d, "weight"))
            for d in blkio.children("weight_device")
        ),
        device_read_bps=_throttles(blkio, "device_read_bps"),
        device_write_bps=_throttles(blkio, "device_write_bps"),
        device_read_iops=_throttles(blkio, "device_read_iops"),
        device_write_iops=_throttles(blkio, "device_write_iops"),
    )


def _throttles(blkio: Reader, key: str) -> tuple[ThrottleDevice, ...]:
    return tuple(ThrottleDevice(path=_either(d, "path"), rate=_either_count(d, "rate")) for d in blkio.children(key))


def _either(entry: Reader, key: str) -> str:
    """Return *key*, which the loaded model spells with a capital here (the reference implementation does)."""
    return entry.text(key) or entry.text(key.capitalize())


def _either_count(entry: Reader, key: str) -> int:
    return entry.byte_count(key) or entry.byte_count(key.capitalize()) or 0
