"""The guard process. Runs as a script by itself, imports nothing of ours, and needs neither the engine nor the network.

    guard.py DIRECTORY

What it acts on is files in DIRECTORY, which the agent writes: `lease`, the present term and when it ends on the clock
that goes on while the machine sleeps, and `tasks/ID`, one for each fenced task. When the term has ended, or another has
begun, it freezes and kills everything in the control groups of that term's tasks, and writes `done/ID` about it. It
reads the clock before it does anything, so having been stopped itself changes nothing. It ends by itself when nothing
has been left to guard for a while.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
import zlib

MAGIC = "PH1"
LEASE_BYTES = 128
KILL_SECONDS = 4.0
LOOK_SECONDS = 1.0
PENDING_SECONDS = 0.1
EAGER_SECONDS = 60.0
FREEZE_SECONDS = 0.25
IDLE_SECONDS = 60.0
_SECOND = 1_000_000_000
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


class Lease:
    """One term of the node's lease; *until* is in nanoseconds on CLOCK_BOOTTIME."""

    def __init__(self, term: int, until: int) -> None:
        self.term = term
        self.until = until


class Entry:
    """One fenced task: its container's id, the term it was started in, and its first process as far as known.

    Attributes:
        began: When process *pid* began, in the kernel's ticks: a pid that was given to another since is not killed.
    """

    def __init__(self, task: str, container: str, term: int, pid: int = 0, began: int = 0) -> None:
        self.task = task
        self.container = container
        self.term = term
        self.pid = pid
        self.began = began


def lease_line(lease: Lease, boot: str) -> bytes:
    """Return the content of the lease file: as long as any other, with a checksum, to be written in place."""
    text = f"{MAGIC} {boot} {lease.term} {lease.until} "
    return f"{text}{zlib.crc32(text.encode())}".ljust(LEASE_BYTES - 1).encode() + b"\n"


def parse_lease(content: bytes, boot: str) -> Lease | None:
    """Return what a lease file says; None if it is of another start of the machine, or half written."""
    parts = content.decode("ascii", "replace").split()
    if len(parts) != 5 or parts[0] != MAGIC or parts[1] != boot:
        return None
    text = f"{MAGIC} {parts[1]} {parts[2]} {parts[3]} "
    if str(zlib.crc32(text.encode())) != parts[4]:
        return None
    return Lease(int(parts[2]), int(parts[3]))


def entry_text(entry: Entry) -> str:
    """Return the content of a task's file."""
    return f"{entry.container} {entry.term} {entry.pid} {entry.began}\n"


def parse_entry(task: str, text: str) -> Entry | None:
    """Return what a task's file says, None if it says nothing."""
    parts = text.split()
    if len(parts) != 4:
        return None
    return Entry(task, parts[0], int(parts[1]), int(parts[2]), int(parts[3]))


def due(entries: list[Entry], lease: Lease | None, now: int) -> list[Entry]:
    """Return the tasks that must not run at *now*: of the present term once it is over, and of any before it."""
    if lease is None:
        return []
    return [entry for entry in entries if entry.term < lease.term or now >= lease.until]


def began(pid: int) -> int:
    """Return when a process began, 0 if it does not run."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return 0 if len(fields) < 20 or fields[0] in {"Z", "X"} else int(fields[19])


def hierarchies(mounts: str) -> list[tuple[str, bool]]:
    """Return the roots in which containers have control groups that can be frozen, and whether each is version 2."""
    found = []
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        _, where, kind, options = fields[:4]
        if kind == "cgroup2":
            found.append((where, True))
        elif kind == "cgroup" and "freezer" in options.split(","):
            found.append((where, False))
    return found


def groups(roots: list[tuple[str, bool]], containers: list[str]) -> dict[str, list[tuple[str, bool]]]:
    """Return the control groups of each container: every engine names them by the container's id."""
    found: dict[str, list[tuple[str, bool]]] = {container: [] for container in containers}
    for root, second in roots:
        pending = [root]
        while pending:
            path = pending.pop()
            for name in _directories(path):
                owner = next((container for container in containers if container in name), None)
                if owner is None:
                    pending.append(f"{path}/{name}")
                else:
                    found[owner].append((f"{path}/{name}", second))
    return found


def members(group: str) -> list[int]:
    """Return the processes in a control group and in those below it."""
    found, pending = [], [group]
    while pending:
        path = pending.pop()
        found += [int(pid) for pid in _read(f"{path}/cgroup.procs").split()]
        pending += [f"{path}/{name}" for name in _directories(path)]
    return found


def freeze(group: str, second: bool, frozen: bool) -> None:
    """Freeze or thaw a control group; who cannot be frozen is killed all the same."""
    if second:
        _write(f"{group}/cgroup.freeze", "1" if frozen else "0")
    else:
        _write(f"{group}/freezer.state", "FROZEN" if frozen else "THAWED")


def is_frozen(group: str, second: bool) -> bool:
    """Whether everything in a control group stands still."""
    if second:
        return "frozen 1" in _read(f"{group}/cgroup.events")
    return _read(f"{group}/freezer.state").strip() == "FROZEN"


class Guard:
    """The process's state; a new one finds everything in the files again."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.boot = _read("/proc/sys/kernel/random/boot_id").strip()
        self.roots = hierarchies(_read("/proc/self/mounts"))
        self.lease: Lease | None = None
        self.checked = -1
        self.over: set[tuple[str, str]] = set()
        self.idle_since = now()

    def turn(self) -> float | None:
        """Look once and kill what must not run; return how long to wait, or None to end."""
        if not os.path.isdir(self.directory):
            return None
        at = now()
        # A file that cannot be read changes nothing: the term that is known ends by itself.
        self.lease = parse_lease(_read(f"{self.directory}/lease").encode(), self.boot) or self.lease
        _write(f"{self.directory}/seen", str(at).ljust(24))
        if self.lease is None:
            return self._idle(at, LOOK_SECONDS)
        ended = at >= self.lease.until
        if not ended and self.lease.term == self.checked:
            self.idle_since = at
            return min(LOOK_SECONDS, (self.lease.until - at) / _SECOND)
        entries = self.entries()
        pending = [entry for entry in due(entries, self.lease, at) if (entry.task, entry.container) not in self.over]
        if pending:
            self.kill(pending, at)
        elif not ended:
            self.checked = self.lease.term
        if entries:
            self.idle_since = at
        # An engine starts nothing that it was asked for so long ago, but who knows.
        soon = pending and at - self.lease.until < EAGER_SECONDS * _SECOND
        return self._idle(at, PENDING_SECONDS if soon else LOOK_SECONDS)

    def _idle(self, at: int, wait: float) -> float | None:
        return None if at - self.idle_since > IDLE_SECONDS * _SECOND else wait

    def entries(self) -> list[Entry]:
        """Return every task that is registered."""
        found = []
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(f"{self.directory}/tasks")):
                entry = None if "." in name else parse_entry(name, _read(f"{self.directory}/tasks/{name}"))
                if entry is not None:
                    found.append(entry)
        return found

    def kill(self, entries: list[Entry], since: int) -> None:
        """Kill everything of these tasks, all at once, and write down of each what was killed.

        A task of which nothing is found yet stays pending: its start may be under way in the engine.
        """
        where = groups(self.roots, [entry.container for entry in entries])
        every = [group for entry in entries for group in where[entry.container]]
        until = time.monotonic() + FREEZE_SECONDS
        for path, second in every:
            freeze(path, second, frozen=True)
        # Where a kernel has both versions, what one has frozen does not freeze in the other.
        while time.monotonic() < until and not all(
            any(is_frozen(path, second) for path, second in found) for found in where.values() if found
        ):
            time.sleep(0.005)
        killed = {entry.task: self._signal(entry, where[entry.container]) for entry in entries}
        for path, second in every:
            freeze(path, second, frozen=False)
        until = time.monotonic() + KILL_SECONDS
        left = self._left(entries, where)
        while left and time.monotonic() < until:
            for entry in entries:
                killed[entry.task] |= self._signal(entry, where[entry.container])
            time.sleep(0.01)
            left = self._left(entries, where)
        for entry in entries:
            if killed[entry.task] and entry.task not in left:
                self.over.add((entry.task, entry.container))
                self._tell(entry, len(killed[entry.task]), since)

    def _signal(self, entry: Entry, where: list[tuple[str, bool]]) -> set[int]:
        """Send SIGKILL to every process of a task, and return whom."""
        found = set()
        for path, second in where:
            inside = members(path)
            if second and inside:
                _write(f"{path}/cgroup.kill", "1")
            for pid in inside:
                found.add(pid)
                _kill(pid)
        if not where and entry.pid and began(entry.pid) == entry.began:
            # Its control group cannot be seen from here; with the first process of its namespace all others die.
            found.add(entry.pid)
            _kill(entry.pid)
        return found

    def _left(self, entries: list[Entry], where: dict[str, list[tuple[str, bool]]]) -> set[str]:
        """Return the tasks of which something runs still; what only waits to be collected by its parent does not."""
        left = set()
        for entry in entries:
            inside = [pid for path, _ in where[entry.container] for pid in members(path)]
            if any(began(pid) for pid in inside) or (
                not where[entry.container] and began(entry.pid) == entry.began > 0
            ):
                left.add(entry.task)
        return left

    def _tell(self, entry: Entry, killed: int, since: int) -> None:
        term = self.lease.until if self.lease else 0
        text = f"{entry.container} {entry.term} {killed} {term} {since} {now()} {time.time():.3f}\n"
        part, path = f"{self.directory}/done/{entry.task}.part", f"{self.directory}/done/{entry.task}"
        _write(part, text, os.O_CREAT | os.O_TRUNC)
        with contextlib.suppress(OSError):
            os.rename(part, path)


def now() -> int:
    """Return nanoseconds on the clock that goes on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _read(path: str) -> str:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        parts = []
        while part := os.read(file, 65536):
            parts.append(part)
        return b"".join(parts).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(file)


def _write(path: str, text: str, flags: int = 0) -> None:
    """Write to a file; one that is not there, or refuses, is somebody else's to notice."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    except OSError:
        return
    with contextlib.suppress(OSError):
        os.write(file, text.encode())
    os.close(file)


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as found:
            return [each.name for each in found if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def harden() -> None:
    """Stay in memory, be the last that the kernel kills for want of it, and be on time on a busy machine."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)
    _write("/proc/self/oom_score_adj", "-900")
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def main(directory: str) -> None:
    """Guard until nothing has been left to guard for a while."""
    for each in (signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    guard = Guard(directory)
    _write(f"{directory}/seen", "0".ljust(24), os.O_CREAT)
    harden()
    # What the kill path needs is in memory before there is anything to kill.
    guard.kill([], 0)
    groups(guard.roots, ["none"])
    while (wait := guard.turn()) is not None:
        time.sleep(wait)


if __name__ == "__main__":
    # A process of its own: it outlives whoever started it, and says who it is.
    if pid := os.fork():
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(nothing, target)
    os.closerange(3, 65536)
    main(sys.argv[1])
