"""The whole state as values, and as a new file: what a backup, a restore and a move from store to store pass on.

Blocking. Knows no backend that runs; whoever hands a `Whole` over has read it at one revision.
"""

import pathlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing

import msgspec

from pilothouse.model.base import Object
from pilothouse.store import rows
from pilothouse.store.database import APPLICATION_ID, MIGRATIONS, Database
from pilothouse.store.directory import private_file
from pilothouse.store.interface import Commit


class Whole(msgspec.Struct, frozen=True):
    """Everything a store holds at one revision.

    Attributes:
        commits: The newest ones, without a gap, as many as are kept.
        epoch: Of the newest term.
    """

    revision: int
    objects: tuple[Object, ...]
    commits: tuple[Commit, ...]
    epoch: int


def read_directory(directory: pathlib.Path) -> tuple[Whole, Database]:
    """Return what the store in *directory* holds, and the store itself, open and locked; close it.

    Raises:
        StoreUnavailableError: Another process uses it.
        StoreCorruptError: It is damaged.
    """
    database, objects = Database.open(directory)
    try:
        commits = database.read_commits()
    except BaseException:
        database.close(clean=False)
        raise
    return Whole(database.revision, tuple(objects), commits, database.epoch), database


def write_file(path: pathlib.Path, whole: Whole) -> None:
    """Make *path* a store file that holds *whole*; it is durable once it was renamed and its directory synced."""
    private_file(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        run = connection.execute
        run("PRAGMA synchronous=FULL")
        run("BEGIN IMMEDIATE")
        for statements in MIGRATIONS:
            for statement in statements:
                run(statement)
        run(f"PRAGMA application_id={APPLICATION_ID}")
        run(f"PRAGMA user_version={len(MIGRATIONS)}")
        run("UPDATE term SET epoch = ?", (whole.epoch,))
        kept = [rows.object_row(obj) for obj in whole.objects]
        connection.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?)", kept)
        logged = [rows.commit_row(prepared, digest) for prepared, digest in chained(whole)]
        connection.executemany("INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?)", logged)
        run("COMMIT")


def chained(whole: Whole) -> Sequence[tuple[rows.Prepared, int]]:
    """Return each commit as bytes with the digest of all objects after it, oldest first."""
    digest = digest_of(whole.objects)
    found = []
    for commit in reversed(whole.commits):
        found.append((rows.prepare(commit), digest))
        for change in commit.changes:
            digest ^= _hash(change.before) ^ _hash(change.after)
    return found[::-1]


def digest_of(objects: Sequence[Object]) -> int:
    """Return the digest of objects: the exclusive or of their hashes."""
    digest = 0
    for obj in objects:
        digest ^= _hash(obj)
    return digest


def _hash(obj: Object | None) -> int:
    return 0 if obj is None else int.from_bytes(rows.object_row(obj)[4], "big")
