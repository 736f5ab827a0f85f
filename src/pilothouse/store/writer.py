"""The one thread that writes: takes everything that waits, writes it in one transaction, syncs once, then reports.

Knows nothing of the state in memory. After a failure it drops what was queued before the failure was dealt with,
because those commits were built on commits that did not happen; the *era* of an entry tells which those are.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pilothouse.errors import PilothouseError, StoreUnavailableError, TermOverError
from pilothouse.log import event
from pilothouse.store.database import Database, translate
from pilothouse.store.rows import Prepared

MAX_GROUP = 512
CHECKPOINT_BYTES = 16 << 20
IDLE_CHECKPOINT_BYTES = 1 << 20
_FORGET_AT_ONCE = 500
_IDLE_SECONDS = 0.2
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """A commit to write; without one, a mark that is passed once everything before it is durable.

    Attributes:
        candidate: With a name, a term begins for it.
    """

    era: int
    commit: Prepared | None
    candidate: str = ""


@dataclass(frozen=True, slots=True)
class Reports:
    """Whom the thread tells, from inside the thread.

    Attributes:
        durable: So many entries, in the order they were queued, are done.
        failed: Nothing that was queued and not yet reported durable will happen; True if nothing may be written again.
    """

    durable: Callable[[int], None]
    failed: Callable[[PilothouseError, bool], None]


@dataclass(slots=True)
class _Due:
    """What has to be done besides writing, and how urgent it is."""

    wal_bytes: int = 0
    forget_left: int = 0
    commits_since_forget: int = field(default=0)


class WriterThread:
    """Owns the database from `start` to `stop`.

    Args:
        database: What it writes to.
        keep: How many commits stay readable; older ones are deleted when there is time.
        reports: Whom it tells.
    """

    def __init__(self, database: Database, keep: int, reports: Reports) -> None:
        self._database = database
        self._keep = keep
        self._reports = reports
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._dead_era = -1
        self._broken = False
        self._due = _Due()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Queue an entry."""
        self._queue.put(entry)

    def stop(self) -> None:
        """Write what is queued, close the database and end; blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (group := self._next_group()) is not None:
                self._write(group)
        finally:
            self._close()

    def _next_group(self) -> list[Entry] | None:
        first = self._wait()
        if first is None:
            return None
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                break
            if entry is None:
                self._queue.put(None)
                break
            group.append(entry)
        return group

    def _wait(self) -> Entry | None:
        while True:
            try:
                return self._queue.get(timeout=_IDLE_SECONDS if self._anything_due() else None)
            except queue.Empty:
                self._tidy(urgent=False)

    def _write(self, group: Sequence[Entry]) -> None:
        live = [entry for entry in group if entry.era > self._dead_era]
        if not live:
            return
        commits = [entry.commit for entry in live if entry.commit is not None]
        candidates = [entry.candidate for entry in live if entry.candidate]
        try:
            if self._broken and (commits or candidates):
                raise StoreUnavailableError("the store takes no more writes")
            for name in candidates:
                self._database.raise_epoch(name)
            if commits:
                written = self._database.write(commits)
                self._due.wal_bytes += 3 * written + 4 * _PAGE_BYTES
                self._due.commits_since_forget += len(commits)
        except (sqlite3.Error, StoreUnavailableError, TermOverError) as error:
            self._fail(live[0].era, error)
            return
        except BaseException as error:
            self._fail(live[0].era, error)
            raise
        self._reports.durable(len(live))
        self._tidy(urgent=True)

    def _fail(self, era: int, error: BaseException) -> None:
        """Report that nothing of *era* that waits will happen; go on only if the file is surely as it was."""
        told: PilothouseError | None = None
        if isinstance(error, sqlite3.Error):
            told = translate(error, self._database.path)
        self._dead_era = era
        self._broken = self._broken or not _harmless(error)
        if isinstance(error, TermOverError):
            told = error
        elif told is None or self._broken:
            told = StoreUnavailableError(
                f"a write to {self._database.path} failed ({error!r}), and nobody can know what the disk holds now; "
                "no more writes are taken. Look at the disk, then restart the server"
            )
        event("error", "store.write_failed", error=repr(error), broken=self._broken)
        # What the log holds can go into the file, if there is room for that, and then its own room is free again.
        self._due.wal_bytes = CHECKPOINT_BYTES + 1
        self._tidy(urgent=True)
        self._reports.failed(told, self._broken)

    def _anything_due(self) -> bool:
        return not self._broken and (self._much_to_forget(1) or self._due.wal_bytes > IDLE_CHECKPOINT_BYTES)

    def _much_to_forget(self, share: int) -> bool:
        """Whether more than a hundredth of what is kept, times *share*, waits to be forgotten."""
        return self._due.commits_since_forget + self._due.forget_left > share * self._keep // 100

    def _tidy(self, *, urgent: bool) -> None:
        """Forget old commits and make a checkpoint: when idle, or when either has waited for too long."""
        due = self._due
        if self._broken:
            return
        try:
            if self._much_to_forget(25 if urgent else 1):
                due.forget_left = self._database.forget(self._database.revision - self._keep, _FORGET_AT_ONCE)
                due.commits_since_forget = 0
            if due.wal_bytes > (CHECKPOINT_BYTES if urgent else IDLE_CHECKPOINT_BYTES):
                self._database.checkpoint()
                due.wal_bytes = 0
        except sqlite3.Error as error:
            due.wal_bytes = due.forget_left = due.commits_since_forget = 0
            if not _harmless(error):
                self._break(error)

    def _break(self, error: sqlite3.Error) -> None:
        # Everything reported durable still is; what comes next is refused, because the disk has begun to lie.
        self._broken = True
        event("error", "store.write_failed", error=repr(error), broken=True, message="the store takes no more writes")

    def _close(self) -> None:
        try:
            self._database.close(clean=not self._broken)
        except (sqlite3.Error, OSError) as error:
            event("error", "store.close_failed", error=repr(error))


def _harmless(error: BaseException) -> bool:
    """Whether after *error* the file surely holds what it held before: the disk was full, or somebody had it locked."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF if isinstance(error, sqlite3.Error) else 0
    return code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
