"""The embedded store: SQLite with group commit, durable before it acknowledges.

Two states are held in memory. Updates run on the *head*, which includes commits on their way to the disk, so that
they need not wait for each other; views and watches see only what is *durable*. When a write fails, every commit that
is not durable is taken back from the head, newest first, and its caller is told: they were built on each other, so
they fail together. Why it is done this way: docs/adr/0002.
"""

import asyncio
import pathlib
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import PilothouseError, StoreUnavailableError, TermOverError
from pilothouse.model.states import Writer
from pilothouse.store import transaction
from pilothouse.store.backup import verify, write_backup
from pilothouse.store.database import Database, connect, read_commits, translate
from pilothouse.store.interface import Change, Commit, ReadTx, WriteTx
from pilothouse.store.rows import Prepared, prepare
from pilothouse.store.state import State
from pilothouse.store.watch import KEPT_COMMITS, WatchQueue
from pilothouse.store.writer import Entry, Reports, WriterThread

R = TypeVar("R")
KEPT_IN_MEMORY = 1_000


@dataclass(frozen=True, slots=True)
class _Waiting:
    commit: Commit | None
    done: asyncio.Future[None]


class SQLiteStore:
    """Keeps `store.interface.Store` in one file; made by `open`, used on one event loop.

    Attributes:
        path: The file.
    """

    def __init__(self, database: Database, head: State, durable: State, clock: Clock, keep: int) -> None:
        self.path: pathlib.Path = database.path
        self._database = database
        self._clock = clock
        self._keep = keep
        self._head = head
        self._durable = durable
        self._waiting: deque[_Waiting] = deque()
        self._era = 0
        self._closed = False
        self._refusal: PilothouseError | None = None
        self._when_taken_over: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._queue = WatchQueue(durable.revision, min(keep, KEPT_IN_MEMORY), self._older)
        self._writer = WriterThread(database, keep, Reports(self._report_durable, self._report_failed))

    @classmethod
    async def open(cls, directory: pathlib.Path, clock: Clock | None = None, keep: int = KEPT_COMMITS) -> "SQLiteStore":
        """Open the store in *directory*, which no other process may use meanwhile; make it if it is not there.

        Args:
            directory: The data directory.
            clock: Stamps commits.
            keep: How many commits watches and `history` can go back, also after a restart.

        Raises:
            StoreUnavailableError: Another process uses it, it cannot be written, or a newer Pilothouse wrote it.
            StoreFullError: There is no room to open it.
            StoreCorruptError: It is damaged; the message names what and says what to do.
        """
        database, head, durable = await asyncio.to_thread(_load, directory)
        store = cls(database, head, durable, clock or SystemClock(), keep)
        store._writer.start()
        return store

    async def view(self, fn: Callable[[ReadTx], R]) -> R:
        return transaction.read(self._durable, fn)

    async def update(self, writer: Writer, fn: Callable[[WriteTx], R]) -> R:
        self._check_open()
        try:
            result, changes = transaction.write(self._head, writer, fn)
        except BaseException:
            # What *fn* saw and complained about may not be durable yet; if it never will be, that is the news.
            await self._settled()
            raise
        if changes:
            await self._queue_up(self._prepared(writer, changes))
        else:
            await self._settled()
        return result

    def _prepared(self, writer: Writer, changes: tuple[Change, ...]) -> Prepared:
        """Turn a commit into bytes while its author can still be told that this cannot be done."""
        try:
            return prepare(Commit(self._head.revision, self._clock.now(), writer, changes))
        except BaseException:
            self._head.undo(changes, self._head.revision - 1)
            raise

    def _check_open(self) -> None:
        if self._refusal is not None:
            raise type(self._refusal)(str(self._refusal))

    async def raise_epoch(self, name: str) -> int:
        """Begin a term (`store.terms.Raising`); what another process still had under way is refused from now on."""
        self._check_open()
        await self._queue_up(None, name)
        return self._database.epoch

    def when_taken_over(self, tell: Callable[[], None]) -> None:
        """Call *tell* once a write found that another process began a term (`store.terms.Raising`)."""
        self._when_taken_over = tell

    def watch(self, since: int) -> AsyncIterator[Commit]:
        return self._queue.read(since)

    async def history(self, since: int, limit: int) -> tuple[Commit, ...]:
        oldest = min(max(since, self._durable.revision - self._keep), self._durable.revision)
        found = self._queue.after(oldest, limit)
        return await self._older(oldest, limit) if found is None else found

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._refusal = StoreUnavailableError("the store is closed")
            await asyncio.to_thread(self._writer.stop)
            while self._waiting:
                await asyncio.wait([self._waiting[-1].done])
            self._queue.close()

    async def backup(self, target: pathlib.Path) -> None:
        """Write one snapshot of the whole store to the new file *target*; reads and writes go on meanwhile.

        Raises:
            InvalidRequestError: *target* exists already.
            StoreFullError, StoreUnavailableError, StoreCorruptError: It could not be copied, or is damaged.
        """
        await asyncio.to_thread(write_backup, self.path, target, self._clock.now())

    async def check(self) -> str:
        """Return "" if every page, row and commit on disk is whole, else what is wrong."""
        try:
            await asyncio.to_thread(verify, self.path, live=True)
        except PilothouseError as error:
            return str(error)
        return ""

    async def _settled(self) -> None:
        """Return once everything the head held at the call is durable; raise if it will never be."""
        if self._waiting:
            await self._queue_up(None)

    async def _queue_up(self, prepared: Prepared | None, candidate: str = "") -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(_Waiting(None if prepared is None else prepared.commit, done))
        self._writer.add(Entry(self._era, prepared, candidate))
        await done

    async def _older(self, since: int, limit: int) -> tuple[Commit, ...]:
        """Read commits that memory does not hold any more, but none that is not durable or not kept."""
        until = self._durable.revision
        return await asyncio.to_thread(_read_older, self.path, max(since, until - self._keep), until, limit)

    def _report_durable(self, count: int) -> None:
        self._loop.call_soon_threadsafe(self._acknowledge, count)

    def _report_failed(self, error: PilothouseError, broken: bool) -> None:
        self._loop.call_soon_threadsafe(self._take_back, error, broken)

    def _acknowledge(self, count: int) -> None:
        settled = [self._waiting.popleft() for _ in range(count)]
        commits = [each.commit for each in settled if each.commit is not None]
        for commit in commits:
            self._durable.apply(commit.changes, commit.revision)
        self._queue.publish(commits)
        for each in settled:
            if not each.done.done():
                each.done.set_result(None)

    def _take_back(self, error: PilothouseError, broken: bool) -> None:
        if broken and self._refusal is None:
            self._refusal = error
        if isinstance(error, TermOverError):
            self._when_taken_over()
        self._era += 1
        while self._waiting:
            each = self._waiting.pop()
            if each.commit is not None:
                self._head.undo(each.commit.changes, each.commit.revision - 1)
            if not each.done.done():
                each.done.set_exception(type(error)(str(error)))


def _load(directory: pathlib.Path) -> tuple[Database, State, State]:
    database, objects = Database.open(directory)
    return database, State(objects, database.revision), State(objects, database.revision)


def _read_older(path: pathlib.Path, since: int, until: int, limit: int) -> tuple[Commit, ...]:
    try:
        connection = connect(path, "ro")
        try:
            return read_commits(connection, since, until, limit)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translate(error, path) from error
