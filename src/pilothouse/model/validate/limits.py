"""Limits and reservations: amounts an engine and a kernel accept."""

import re
from collections.abc import Iterator

from pilothouse.model.container import Blkio, ContainerSpec, Limits, ThrottleDevice
from pilothouse.model.spec import Resources
from pilothouse.model.validate.grammar import Finding, one_of, within

LARGEST_MEMORY = 2**50
LARGEST_CPU_NANO = 10_000 * 10**9
LEAST_MEMORY = 6 * 2**20  # what an engine accepts
_CPUSET = re.compile(r"\d{1,5}(?:-\d{1,5})?(?:,\d{1,5}(?:-\d{1,5})?)*\Z", re.ASCII)
_ULIMITS = frozenset(
    {
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    }
)


def limits(path: str, container: ContainerSpec) -> Iterator[Finding]:
    """Yield what is wrong with the limits of a container."""
    yield from _cpu(path, container.limits)
    yield from _memory(path, container.limits)
    yield from within(f"{path}.pids_limit", container.limits.pids, -1, 2**22)
    yield from within(f"{path}.oom_score_adj", container.limits.oom_score_adj, -1000, 1000)
    yield from within(f"{path}.shm_size", container.shm_size_bytes, 0, LARGEST_MEMORY)
    if container.limits.blkio is not None:
        yield from _blkio(f"{path}.blkio_config", container.limits.blkio)
    for name, ulimit in container.ulimits.items():
        where = f"{path}.ulimits.{name[:80]}"
        yield from one_of(where, name, _ULIMITS)
        for key, value in (("soft", ulimit.soft), ("hard", ulimit.hard)):
            yield from within(f"{where}.{key}", value, -1, 2**62)
        if ulimit.hard != -1 and (ulimit.soft > ulimit.hard or ulimit.soft == -1):
            yield where, f"the soft limit {ulimit.soft} is above the hard limit {ulimit.hard}; lower it"


def reservations(path: str, kept: Resources) -> Iterator[Finding]:
    """Yield what is wrong with the capacity a task reserves."""
    where = f"{path}.deploy.resources.reservations"
    yield from within(f"{where}.cpus", kept.cpu_nano, 0, LARGEST_CPU_NANO)
    yield from within(f"{where}.memory", kept.memory_bytes, 0, LARGEST_MEMORY)
    yield from within(f"{where}.pids", kept.pids, 0, 2**22)
    for kind, count in kept.generic.items():
        yield from within(f"{where}.generic_resources.{kind[:80] or '?'}", count, 1, 10**9)
        if not kind:
            yield f"{where}.generic_resources", "a kind is needed; write kind: and a name"


def _cpu(path: str, limit: Limits) -> Iterator[Finding]:
    yield from within(f"{path}.cpus", limit.cpu_nano, 0, LARGEST_CPU_NANO)
    if limit.cpu_shares:
        yield from within(f"{path}.cpu_shares", limit.cpu_shares, 2, 262_144)
    for key, value in (("cpu_period", limit.cpu_period_us), ("cpu_rt_period", limit.cpu_rt_period_us)):
        if value:
            yield from within(f"{path}.{key}", value, 1_000, 1_000_000)
    if limit.cpu_quota_us not in {0, -1}:
        yield from within(f"{path}.cpu_quota", limit.cpu_quota_us, 1_000, 10**12)
    yield from within(f"{path}.cpu_rt_runtime", limit.cpu_rt_runtime_us, 0, max(limit.cpu_rt_period_us, 1_000_000))
    if limit.cpu_nano and (limit.cpu_period_us or limit.cpu_quota_us):
        yield f"{path}.cpus", "says the same as cpu_period and cpu_quota; keep one of the two ways"
    if limit.cpuset and not _CPUSET.match(limit.cpuset):
        yield f"{path}.cpuset", f"{limit.cpuset[:80]!r} is no set of CPUs; write one such as 0,2-3"


def _memory(path: str, limit: Limits) -> Iterator[Finding]:
    memory, kept, swap = limit.memory_bytes, limit.memory_reservation_bytes, limit.memory_swap_bytes
    if memory:
        yield from _amount(f"{path}.mem_limit", memory)
    if kept:
        yield from _amount(f"{path}.mem_reservation", kept)
    if memory and kept > memory:
        yield f"{path}.mem_reservation", "is more than the memory limit; lower it or raise the limit"
    if swap != -1 and not 0 <= swap <= LARGEST_MEMORY:
        yield f"{path}.memswap_limit", f"{swap} is no amount; write memory plus swap, or -1 for unlimited swap"
    if swap > 0 and not memory:
        yield f"{path}.memswap_limit", "needs mem_limit beside it: it is memory plus swap"
    elif 0 < swap < memory:
        yield f"{path}.memswap_limit", "is memory plus swap and cannot be less than mem_limit"
    if limit.memory_swappiness is not None:
        yield from within(f"{path}.mem_swappiness", limit.memory_swappiness, -1, 100)


def _amount(path: str, count: int) -> Iterator[Finding]:
    if not LEAST_MEMORY <= count <= LARGEST_MEMORY:
        yield path, f"{count:,} bytes cannot be given to a container; write 6m to 1024t"


def _blkio(path: str, blkio: Blkio) -> Iterator[Finding]:
    if blkio.weight:
        yield from within(f"{path}.weight", blkio.weight, 10, 1000)
    for index, device in enumerate(blkio.weight_device):
        yield from within(f"{path}.weight_device[{index}].weight", device.weight, 10, 1000)
        yield from _device(f"{path}.weight_device[{index}].path", device.path)
    for key in ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops"):
        throttles: tuple[ThrottleDevice, ...] = getattr(blkio, key)
        for index, throttle in enumerate(throttles):
            yield from within(f"{path}.{key}[{index}].rate", throttle.rate, 0, 2**62)
            yield from _device(f"{path}.{key}[{index}].path", throttle.path)


def _device(path: str, device: str) -> Iterator[Finding]:
    if not device.startswith("/"):
        yield path, f"{device[:80]!r} must be the absolute path of a device, such as /dev/sda"
