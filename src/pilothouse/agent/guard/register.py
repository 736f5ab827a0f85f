"""The agent's side of the guard's files: what is fenced and until when, and what the guard did.

The lease file is as long as ever and written in place, so that a full disk cannot end a lease; every other file is
replaced as a whole.
"""

import os
import pathlib

from pilothouse.agent.guard.guard import Entry, Lease, began, entry_text, lease_line, parse_entry, parse_lease
from pilothouse.agent.lease import Term
from pilothouse.errors import TemporaryError
from pilothouse.model.base import Value

_SECOND = 1_000_000_000
BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")


class Killed(Value, frozen=True, kw_only=True):
    """What the guard did to a task.

    Attributes:
        processes: How many it killed.
        late_seconds: Between the end of the lease and the moment at which nothing was left.
        at: Wall-clock seconds.
    """

    processes: int
    late_seconds: float
    at: float


class Register:
    """The files in one directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        """Take up what an agent before this one left; what is of another start of the machine is thrown away."""
        self.directory = directory
        self._boot = BOOT_ID.read_text().strip()
        for path in (directory, directory / "tasks", directory / "done"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lease = directory / "lease"
        if self._read_lease() is None:
            for path in (*(directory / "tasks").iterdir(), *(directory / "done").iterdir()):
                path.unlink()
            self._replace(self._lease, lease_line(Lease(0, 0), self._boot).decode())
            os.chmod(self._lease, 0o600)

    def _read_lease(self) -> Lease | None:
        return parse_lease(self._lease.read_bytes(), self._boot) if self._lease.exists() else None

    @property
    def term(self) -> Term:
        """The term that was written last."""
        found = self._read_lease() or Lease(0, 0)
        return Term(number=found.term, until=found.until / _SECOND)

    def keep(self, term: Term) -> None:
        """Write when the lease ends; the guard acts on nothing else."""
        line = lease_line(Lease(term.number, int(term.until * _SECOND)), self._boot)
        file = os.open(self._lease, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(file, line, 0)
        finally:
            os.close(file)

    def enter(self, task_id: str, container_id: str, term: int, pid: int = 0, hook: str = "") -> None:
        """Have a task guarded: before its container is started, and once more when its first process is known.

        Each of its hooks that runs in a container of its own is entered beside it.

        Raises:
            TemporaryError: The file cannot be written, so the task must not be started.
        """
        try:
            name = f"{task_id}-{hook}" if hook else task_id
            text = entry_text(Entry(name, container_id, term, pid, began(pid) if pid else 0))
            self._replace(self.directory / "tasks" / name, text)
        except OSError as error:
            raise TemporaryError(f"the guard cannot be told of it: {error}") from error

    def entered(self, task_id: str) -> int | None:
        """Return the number of the term in which a task was entered, None if it is not."""
        entry = self._entry(task_id)
        return entry.term if entry else None

    def _entry(self, task_id: str) -> Entry | None:
        path = self.directory / "tasks" / task_id
        return parse_entry(task_id, path.read_text()) if path.exists() else None

    def leave(self, task_id: str) -> None:
        """Forget a task of which nothing is left."""
        for place in ("tasks", "done") if task_id else ():
            for path in (self.directory / place / task_id, *(self.directory / place).glob(f"{task_id}-*")):
                path.unlink(missing_ok=True)

    def killed(self, task_id: str) -> Killed | None:
        """Return what the guard did to a task, None if it did nothing."""
        path = self.directory / "done" / task_id
        parts = path.read_text().split() if path.exists() else []
        if len(parts) != 7:
            return None
        ended, dead = int(parts[3]), int(parts[5])
        return Killed(processes=int(parts[2]), late_seconds=max(0.0, (dead - ended) / _SECOND), at=float(parts[6]))

    def sweep(self, task_ids: set[str]) -> None:
        """Forget every task but these."""
        for path in (*(self.directory / "tasks").iterdir(), *(self.directory / "done").iterdir()):
            if path.name.partition("-")[0] not in task_ids:
                path.unlink(missing_ok=True)

    @property
    def seen(self) -> float:
        """When the guard looked last, on the clock that goes on while the machine sleeps; 0 if it never did."""
        path = self.directory / "seen"
        return int((path.read_text() or "0").strip() or "0") / _SECOND if path.exists() else 0.0

    def _replace(self, path: pathlib.Path, text: str) -> None:
        part = path.with_name(f"{path.name}.part")
        part.write_text(text)
        part.rename(path)
