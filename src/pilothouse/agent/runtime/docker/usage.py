"""What containers use, read from their control groups: the engine's own answer takes a second per container.

`/proc/PID/cgroup` says where to look; both hierarchies are known: the unified one (v2) and one per controller (v1).
"""

import pathlib

import msgspec

_UNLIMITED_V1 = 1 << 62
ROOT = pathlib.Path("/sys/fs/cgroup")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One reading; units as in `model.wire.TaskUsage`."""

    cpu_nano_total: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    pids: int = 0


def groups_of(text: str) -> dict[str, str]:
    """Return the path of each controller's group ("" is the unified hierarchy) from a `/proc/PID/cgroup`."""
    groups = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def read_usage(groups: dict[str, str], root: pathlib.Path = ROOT) -> Usage:
    """Return what the processes in *groups* use.

    Raises:
        OSError: The groups are gone: the container ended.
    """
    return _read_v1(groups, root) if "memory" in groups else _read_v2(root / groups[""].lstrip("/"))


def _read_v1(groups: dict[str, str], root: pathlib.Path) -> Usage:
    cpu, memory, pids = (root / c / groups[c].lstrip("/") for c in ("cpuacct", "memory", "pids"))
    limit = _number(memory / "memory.limit_in_bytes")
    used = _number(memory / "memory.usage_in_bytes") - _fields(memory / "memory.stat").get("total_inactive_file", 0)
    return Usage(
        cpu_nano_total=_number(cpu / "cpuacct.usage"),
        memory_bytes=max(0, used),
        memory_limit_bytes=limit if limit < _UNLIMITED_V1 else 0,
        pids=_number(pids / "pids.current"),
    )


def _read_v2(group: pathlib.Path) -> Usage:
    used = _number(group / "memory.current") - _fields(group / "memory.stat").get("inactive_file", 0)
    return Usage(
        cpu_nano_total=_fields(group / "cpu.stat").get("usage_usec", 0) * 1000,
        memory_bytes=max(0, used),
        memory_limit_bytes=_number(group / "memory.max"),
        pids=_number(group / "pids.current"),
    )


def _number(path: pathlib.Path) -> int:
    text = path.read_text().strip()
    return 0 if text == "max" else int(text)


def _fields(path: pathlib.Path) -> dict[str, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
