"""The store's file on disk: opening, locking, migrating, loading, and writing groups of commits.

Blocking; used by one thread at a time. WAL and `synchronous=FULL` always: with less, a power cut loses what was
acknowledged. Checkpoints are made here and not by SQLite itself, because SQLite hides their errors.
"""

import errno
import os
import pathlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Literal

from pilothouse.errors import PilothouseError, StoreCorruptError, StoreFullError, StoreUnavailableError, TermOverError
from pilothouse.model.base import Object
from pilothouse.model.format import FORMAT_ID, Format, check_readable, number_in
from pilothouse.store import rows
from pilothouse.store.directory import (
    FILE,
    check_log_is_there,
    finish_restore,
    lock,
    mark,
    private_file,
    sync_directory,
)
from pilothouse.store.interface import Commit
from pilothouse.store.tables import NAMES

APPLICATION_ID = 0x50696C6F  # "Pilo"

_V1 = (
    "CREATE TABLE objects (kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL,"
    " hash BLOB NOT NULL, PRIMARY KEY (kind, id)) STRICT",
    "CREATE TABLE commits (revision INTEGER PRIMARY KEY, at REAL NOT NULL, writer TEXT NOT NULL,"
    " changes BLOB NOT NULL, digest BLOB NOT NULL, hash BLOB NOT NULL) STRICT",
)

_V2 = (
    "CREATE TABLE term (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL, name TEXT NOT NULL) STRICT",
    "INSERT INTO term VALUES (1, 0, '')",
)

MIGRATIONS: list[tuple[str, ...]] = [_V1, _V2]
"""The statements that lead from schema N to N + 1; a landed one is never edited."""

_BUSY_SECONDS = 5.0
_LOG_BYTES = 64 << 20
_SQLITE_PRIMARY = 0xFF


def translate(error: sqlite3.Error | OSError, path: pathlib.Path) -> PilothouseError:
    """Return *error* as one of ours, saying what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & _SQLITE_PRIMARY
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFullError(f"there is no room for {path}; make room on its disk, then writes go on by themselves")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StoreCorruptError(f"{path}: {error}. {rows.CURE}")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreUnavailableError(f"another program holds a lock on {path}; end it, then try again")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailableError(f"{path} could not be read or written: {error} ({name})")


def connect(path: pathlib.Path, mode: Literal["rw", "ro", "immutable"]) -> sqlite3.Connection:
    """Open an existing file; the caller may use the connection from any one thread at a time.

    Args:
        path: The file.
        mode: "immutable" is "ro" for a file nobody writes to; it needs no log file and takes no locks.
    """
    uri = f"{path.absolute().as_uri()}?" + ("mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}")
    found = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    found.execute("PRAGMA trusted_schema=OFF")
    return found


def close_as_it_is(connection: sqlite3.Connection, path: pathlib.Path) -> None:
    """Close without what SQLite does at the last closing: to move the log into the file and to delete it.

    What is damaged, or what a failed sync left, is to stay as it is. A connection that may only read cannot move the
    log, so one is made the last.
    """
    try:
        with closing(connect(path, "ro")) as last:
            last.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            connection.close()
    except sqlite3.Error:
        # Then SQLite cannot read the file at all, and does nothing to the log either.
        connection.close()


class Database:
    """An open store file with the lock on its directory.

    Attributes:
        path: The file.
        revision: The newest revision in it.
        epoch: The newest term, as far as this process knows.
    """

    def __init__(self, path: pathlib.Path, connection: sqlite3.Connection, locked: int) -> None:
        self.path = path
        self.revision = 0
        self.epoch = 0
        self._connection = connection
        self._lock = locked
        self._hashes: dict[tuple[str, str], int] = {}
        self._digest = 0

    @classmethod
    def open(cls, directory: pathlib.Path) -> tuple["Database", list[Object]]:
        """Open the store in *directory*, making both if need be; return it and every object in it.

        Raises:
            StoreUnavailableError: Another process uses it, it cannot be written, or a newer Pilothouse wrote it.
            StoreFullError: There is no room to open it.
            StoreCorruptError: It is damaged.
            SkewError: It has a format that this version does not read.
        """
        path = directory / FILE
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            locked = lock(directory)
        except OSError as error:
            raise translate(error, directory) from error
        try:
            finish_restore(directory, locked)
            check_log_is_there(path, locked)
            connection = _open_file(path)
            try:
                found = cls(path, connection, locked)
                objects = found._load()
                mark(locked, f"process {os.getpid()}\n".encode())
            except BaseException:
                close_as_it_is(connection, path)
                raise
        except BaseException as error:
            os.close(locked)
            if isinstance(error, sqlite3.Error | OSError):
                raise translate(error, path) from error
            raise
        return found, objects

    def write(self, commits: Sequence[rows.Prepared]) -> int:
        """Write *commits* in one transaction; they are durable on return. Return about how many bytes that took.

        Raises:
            TermOverError: Another process began a term on the file; nothing of it is in the file.
            sqlite3.Error: Nothing of it is in the file, unless writing or syncing itself failed.
        """
        objects: dict[tuple[str, str], rows.ObjectRow | None] = {}
        hashes: dict[tuple[str, str], int] = {}
        logged, digest = [], self._digest
        for prepared in commits:
            for key, row in prepared.written.items():
                after = 0 if row is None else int.from_bytes(row[4], "big")
                digest ^= hashes.get(key, self._hashes.get(key, 0)) ^ after
                hashes[key] = after
            objects.update(prepared.written)
            logged.append(rows.commit_row(prepared, digest))
        self._execute(objects, logged)
        self._hashes.update(hashes)
        self._digest, self.revision = digest, commits[-1].commit.revision
        return sum(len(row[3]) for row in logged)

    def _execute(self, objects: dict[tuple[str, str], rows.ObjectRow | None], logged: Iterable[rows.CommitRow]) -> None:
        with self._transaction() as run:
            run.executemany(
                "INSERT INTO objects VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE"
                " SET version = excluded.version, body = excluded.body, hash = excluded.hash",
                [row for row in objects.values() if row is not None],
            )
            gone = [key for key, row in objects.items() if row is None]
            if gone:
                run.executemany("DELETE FROM objects WHERE kind = ? AND id = ?", gone)
            run.executemany("INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?)", logged)

    def raise_epoch(self, name: str) -> None:
        """Begin a term for *name*; durable on return.

        Raises:
            TermOverError: Another process began one since this one opened the file.
            sqlite3.Error: Nothing changed, unless writing or syncing itself failed.
        """
        with self._transaction() as run:
            run.execute("UPDATE term SET epoch = ?, name = ?", (self.epoch + 1, name))
        self.epoch += 1

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Write in one transaction, if the term is still the newest there is."""
        run = self._connection
        run.execute("BEGIN IMMEDIATE")
        try:
            epoch, name = run.execute("SELECT epoch, name FROM term").fetchone()
            if epoch != self.epoch:
                raise TermOverError(
                    f"another process ({name}) began term {epoch} on {self.path}, after term {self.epoch} of this one; "
                    "this one writes nothing any more. Restart it if it is the one that should run"
                )
            yield run
            run.execute("COMMIT")
        except BaseException:
            if run.in_transaction:
                run.execute("ROLLBACK")
            raise

    def read_commits(self) -> tuple[Commit, ...]:
        """Return every kept commit, oldest first."""
        return read_commits(self._connection, 0, self.revision, self.revision)

    def forget(self, revision: int, limit: int) -> int:
        """Delete up to *limit* of the oldest commits up to *revision*; return how many are left to delete."""
        first = self._connection.execute("SELECT min(revision) FROM commits").fetchone()[0]
        if first is None or first > revision:
            return 0
        until = min(revision, first + limit - 1)
        self._connection.execute("DELETE FROM commits WHERE revision <= ?", (until,))
        return int(revision - until)

    def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the file, as far as no reader needs the old pages."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self, *, clean: bool) -> None:
        """Close the file and give the lock back.

        Args:
            clean: Nothing went wrong while it was open. Else the log stays as it is, for the next opening to judge.
        """
        try:
            if clean:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                # The mark goes before the log file does: a log that is missing while the mark stands was lost.
                mark(self._lock, b"")
                self._connection.close()
            else:
                close_as_it_is(self._connection, self.path)
        finally:
            os.close(self._lock)

    def _load(self) -> list[Object]:
        objects, hashes, self.revision, self._digest = load(self._connection)
        self._hashes = hashes
        (self.epoch,) = self._connection.execute("SELECT epoch FROM term").fetchone()
        return objects


def load(connection: sqlite3.Connection) -> tuple[list[Object], dict[tuple[str, str], int], int, int]:
    """Return every object, the hash of each, the newest revision and the digest of all hashes.

    Raises:
        StoreCorruptError: A row does not match its hash, or rows are missing or out of date.
        SkewError: It has a format that this version does not read.
    """
    if connection.execute("SELECT 1 FROM commits LIMIT 1").fetchone() is not None:
        said = connection.execute("SELECT body FROM objects WHERE kind = ? AND id = ?", (NAMES[Format], FORMAT_ID))
        check_readable(number_in(next((body for (body,) in said), None)), "the store")
    objects, hashes, digest = [], {}, 0
    for row in connection.execute("SELECT kind, id, version, body, hash FROM objects ORDER BY kind, id"):
        objects.append(rows.object_of(row))
        hashes[row[0], row[1]] = int.from_bytes(row[4], "big")
        digest ^= hashes[row[0], row[1]]
    last = connection.execute("SELECT * FROM commits ORDER BY revision DESC LIMIT 1").fetchone()
    revision, *_, expected = (0, 0) if last is None else rows.check_commit(last)
    if digest != expected:
        raise StoreCorruptError(f"the objects are not those of commit {revision}, the newest one. {rows.CURE}")
    return objects, hashes, int(revision), digest


def read_commits(connection: sqlite3.Connection, since: int, until: int, limit: int) -> tuple[Commit, ...]:
    """Return up to *limit* commits after *since* and not after *until*, oldest first.

    Raises:
        StoreCorruptError: One of them does not match its hash.
    """
    query = "SELECT * FROM commits WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT ?"
    return tuple(rows.commit_of(row) for row in connection.execute(query, (since, until, limit)))


def check_schema(connection: sqlite3.Connection, path: pathlib.Path) -> int:
    """Return the schema version of an existing file, 0 for an empty one.

    Raises:
        StoreCorruptError: It is not a store of Pilothouse.
        StoreUnavailableError: A newer Pilothouse wrote it.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables and not version:
        return 0
    if application != APPLICATION_ID:
        raise StoreCorruptError(f"{path} is not a store of Pilothouse. {rows.CURE}")
    if version > len(MIGRATIONS):
        raise StoreUnavailableError(
            f"{path} was written by a newer Pilothouse (schema {version}, this one knows {len(MIGRATIONS)}); "
            "install that version, or restore a backup this version made"
        )
    return int(version)


def _open_file(path: pathlib.Path) -> sqlite3.Connection:
    # Made here first, so that at no moment anybody else may read it; SQLite gives its other files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    connection = connect(path, "rw")
    try:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StoreUnavailableError(f"{path} is on a file system that cannot keep a write-ahead log; move it")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}")
        _migrate(connection, path)
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreCorruptError(f"{path}: {verdict}. {rows.CURE}")
        sync_directory(path.parent)
        sync_directory(path.parent.parent)
    except BaseException:
        close_as_it_is(connection, path)
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: pathlib.Path) -> None:
    version = check_schema(connection, path)
    if version == len(MIGRATIONS):
        return
    if version:
        _copy_before_migration(connection, path, version)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _copy_before_migration(connection: sqlite3.Connection, path: pathlib.Path, version: int) -> None:
    copy, part = path.with_name(f"{path.name}.schema-{version}"), path.with_name(f"{path.name}.part")
    target = sqlite3.connect(private_file(part))
    try:
        connection.backup(target)
    finally:
        target.close()
    part.rename(copy)
    sync_directory(path.parent)
