"""Why a node should get no more work, from what was measured on it: pure, with a gap between beginning and end.

What runs is never touched by pressure; only new work stays away.
"""

from pilothouse.model.base import Value

DISK_BEGINS, DISK_ENDS = 0.90, 0.85
"""Shares of a file system, of its room and of its inodes, that are used when pressure begins and ends."""

MEMORY_BEGINS, MEMORY_ENDS = 0.05, 0.08
"""Shares of the machine's memory that are available when pressure begins and ends."""

ENGINE_SECONDS = 6.0
"""An engine that has not done what it was asked for so long is in trouble; shorter is a restart."""


class Room(Value, frozen=True, kw_only=True):
    """How full the file system of the engine's data is; a file system may count no inodes at all (0 of 0)."""

    path: str
    total_bytes: int
    free_bytes: int
    total_files: int = 0
    free_files: int = 0


class Memory(Value, frozen=True, kw_only=True):
    """What the kernel says can be used without swapping."""

    total_bytes: int
    available_bytes: int


class Engine(Value, frozen=True, kw_only=True):
    """How the engine does: for how long it has failed, and what it says; nothing if it works."""

    failing_seconds: float = 0.0
    problem: str = ""


def disk(room: Room, *, before: bool) -> str:
    """Return the sentence about a full disk, "" if there is room; *before* is whether it was full a moment ago."""
    limit = DISK_ENDS if before else DISK_BEGINS
    used = _used(room.total_bytes, room.free_bytes)
    if used >= limit:
        return f"the engine's disk ({room.path}) is {used * 100:.0f} % full"
    files = _used(room.total_files, room.free_files)
    if files >= limit:
        return f"the engine's disk ({room.path}) has {files * 100:.0f} % of its inodes in use"
    return ""


def fullest(room: Room) -> float:
    """Return the share of a disk that is used, of its room or of its inodes, whichever is more."""
    return max(_used(room.total_bytes, room.free_bytes), _used(room.total_files, room.free_files))


def memory(seen: Memory, *, before: bool) -> str:
    """Return the sentence about scarce memory, or ""."""
    share = seen.available_bytes / seen.total_bytes if seen.total_bytes else 1.0
    if share >= (MEMORY_ENDS if before else MEMORY_BEGINS):
        return ""
    return f"only {seen.available_bytes >> 20} MiB of its {seen.total_bytes >> 20} MiB of memory are available"


def engine(seen: Engine) -> str:
    """Return the sentence about an engine that does not work, or ""."""
    if not seen.problem or seen.failing_seconds < ENGINE_SECONDS:
        return ""
    return f"its container engine does not work: {seen.problem}"


def _used(total: int, free: int) -> float:
    return (total - free) / total if total else 0.0


def parse_memory(text: str) -> Memory:
    """Return what /proc/meminfo says."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def size(name: str) -> int:
        return int(fields.get(name, "0").split()[0]) * 1024

    return Memory(total_bytes=size("MemTotal"), available_bytes=size("MemAvailable"))
