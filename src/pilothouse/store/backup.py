"""Copies of the store that prove they are whole, putting them back, and checking a store's file.

A backup is one file: a line of JSON that says what follows and how it hashes, then a SQLite file. A server may put it
into a tar file together with the key of its secrets; `restore` takes both. A restore is decided in one rename: before
it the old state is untouched, after it the next opening finishes what is left to do.
"""

import os
import pathlib
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from typing import IO

import msgspec

from pilothouse.errors import InvalidRequestError, PilothouseError, StoreCorruptError
from pilothouse.model.base import Object
from pilothouse.model.objects import Secret
from pilothouse.model.release import FileVersion
from pilothouse.store import rows
from pilothouse.store.copy import Whole, write_file
from pilothouse.store.database import check_schema, connect, load, translate
from pilothouse.store.directory import (
    FILE,
    REPLACED,
    REPLACED_KEY,
    RESTORED,
    RESTORED_KEY,
    finish_restore,
    lock,
    private_file,
    sync_directory,
)

STORE_MEMBER = "pilothouse.db"
KEY_MEMBER = "secrets.key"
_FORMAT = 1
_HEAD_BYTES = 4096
_CHUNK = 1 << 20


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a backup.

    Attributes:
        pilothouse_backup: The version of this format.
        schema: Of the SQLite file.
        at: When it was made.
        bytes: How long the SQLite file after this line is.
        blake2b: Its hash, in hexadecimal digits.
    """

    pilothouse_backup: int
    schema: int
    revision: int
    objects: int
    commits: int
    at: float
    bytes: int
    blake2b: str


class Contents(msgspec.Struct, frozen=True):
    """What a whole store file holds; *secrets* says that a key is needed to read all of it."""

    schema: int
    revision: int
    objects: int
    commits: int
    secrets: bool


def verify(path: pathlib.Path, *, live: bool) -> Contents:
    """Check every page, row and commit of a store file, and return what it holds.

    Args:
        path: The file.
        live: Somebody may be writing to it.

    Raises:
        StoreCorruptError: It is damaged.
        StoreUnavailableError: It cannot be read, or a newer Pilothouse wrote it.
    """
    try:
        with closing(connect(path, "ro" if live else "immutable")) as connection:
            connection.execute("BEGIN")
            schema = check_schema(connection, path)
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise StoreCorruptError(f"{path}: {verdict}. {rows.CURE}")
            objects, _, revision, _ = load(connection)
            commits = _check_commits(connection)
    except sqlite3.Error as error:
        raise translate(error, path) from error
    return Contents(schema, revision, len(objects), commits, any(map(_is_sealed, objects)))


def _is_sealed(obj: Object) -> bool:
    """Whether a key is needed to read all of *obj*."""
    return isinstance(obj, Secret) or (isinstance(obj, FileVersion) and obj.kind == "secret")


def write_backup(source: pathlib.Path, target: pathlib.Path, now: float) -> Manifest:
    """Copy the store file *source*, which may be in use, to the new file *target*, whole or not at all.

    Raises:
        InvalidRequestError: *target* exists already.
        StoreFullError, StoreUnavailableError, StoreCorruptError: It could not be copied, or is damaged.
    """

    def copy_file(copy: pathlib.Path) -> None:
        private_file(copy)
        with closing(connect(source, "ro")) as old, closing(sqlite3.connect(copy)) as new:
            # In one step, so that it is one snapshot, whatever is written meanwhile.
            old.backup(new, pages=-1)

    return _pack(copy_file, target, now)


def write_backup_of(whole: Whole, target: pathlib.Path, now: float) -> Manifest:
    """Write *whole* to the new file *target* as `write_backup` would; raises the same."""
    return _pack(lambda copy: write_file(copy, whole), target, now)


def _pack(make: Callable[[pathlib.Path], None], target: pathlib.Path, now: float) -> Manifest:
    """Have a store file made, check it, and put it into *target* behind the line that says what it is."""
    if target.exists():
        raise InvalidRequestError(f"{target} exists already; name a file that does not, so that no backup is lost")
    copy, whole = (target.with_name(target.name + suffix) for suffix in (".copy", ".part"))
    try:
        with _errors_about(target):
            make(copy)
            found = verify(copy, live=False)
            manifest = Manifest(
                pilothouse_backup=_FORMAT,
                schema=found.schema,
                revision=found.revision,
                objects=found.objects,
                commits=found.commits,
                at=now,
                bytes=copy.stat().st_size,
                blake2b=_hash_of(copy),
            )
            with copy.open("rb") as file, open(private_file(whole), "r+b") as out:
                out.write(msgspec.json.encode(manifest) + b"\n")
                shutil.copyfileobj(file, out, _CHUNK)
                out.flush()
                os.fsync(out.fileno())
            whole.rename(target)
            sync_directory(target.parent)
            return manifest
    finally:
        copy.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)


def restore(file: pathlib.Path, data_directory: pathlib.Path, *, overwrite: bool = False) -> Manifest:
    """Make *data_directory* hold what *file* holds; no server may use it meanwhile.

    What it held is kept beside it as `store.db.replaced`. If this is interrupted, the directory holds either the old
    state or the new one.

    Args:
        file: What `pilothouse backup` wrote.
        data_directory: Made if it is not there.
        overwrite: Allow it to replace a store.

    Raises:
        InvalidRequestError: *file* is not a backup, or there is a store already and *overwrite* is False.
        StoreCorruptError: *file* is damaged; nothing was changed.
        StoreUnavailableError: A server uses the directory, or a newer Pilothouse wrote the backup.
        StoreFullError: There is no room; nothing was changed.
    """
    part, key = (data_directory / f"{name}.part" for name in (RESTORED, RESTORED_KEY))
    with _errors_about(data_directory):
        data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        locked = lock(data_directory)
        try:
            finish_restore(data_directory, locked)
            if (data_directory / FILE).exists() and not overwrite:
                raise InvalidRequestError(
                    f"{data_directory} holds a store already; say that it may be overwritten, or name another directory"
                )
            # What an interrupted restore had begun belongs to that one.
            (data_directory / RESTORED_KEY).unlink(missing_ok=True)
            with _opened(file) as (packed, packed_key):
                manifest = _unpack(file, packed, part)
                if verify(part, live=False).secrets and packed_key is None and tarfile.is_tarfile(file):
                    raise InvalidRequestError(f"{file} is incomplete: it has secrets, but not the key that opens them")
                if packed_key is not None:
                    _write_file(packed_key, key)
                    key.rename(data_directory / RESTORED_KEY)
            for name in (REPLACED, f"{REPLACED}-wal", REPLACED_KEY):
                (data_directory / name).unlink(missing_ok=True)
            part.rename(data_directory / RESTORED)
            sync_directory(data_directory)
            finish_restore(data_directory, locked)
        finally:
            part.unlink(missing_ok=True)
            key.unlink(missing_ok=True)
            os.close(locked)
    return manifest


def check_directory(data_directory: pathlib.Path) -> Contents:
    """Check the store of a data directory, whether or not a server runs on it, and return what it holds.

    Raises:
        InvalidRequestError: There is no store.
        StoreCorruptError: It is damaged.
        StoreUnavailableError: It cannot be read, or a newer Pilothouse wrote it.
    """
    path = data_directory / FILE
    if not path.exists():
        raise InvalidRequestError(f"{data_directory} holds no store; name the data directory of a server")
    return verify(path, live=True)


@contextmanager
def _opened(file: pathlib.Path) -> Iterator[tuple[IO[bytes], IO[bytes] | None]]:
    """Open a backup, alone or in a tar file with the key."""
    if not tarfile.is_tarfile(file):
        with file.open("rb") as plain:
            yield plain, None
        return
    try:
        with tarfile.open(file, "r:") as tar:
            names = tar.getnames()
            packed = tar.extractfile(STORE_MEMBER) if STORE_MEMBER in names else None
            if packed is None:
                raise InvalidRequestError(f"{file} is not a backup of Pilothouse: it holds no {STORE_MEMBER}")
            yield packed, tar.extractfile(KEY_MEMBER) if KEY_MEMBER in names else None
    except tarfile.TarError as error:
        raise StoreCorruptError(f"{file} is damaged: {error}. Use another backup") from error


def _unpack(file: pathlib.Path, packed: IO[bytes], target: pathlib.Path) -> Manifest:
    """Write the SQLite file of a backup to *target*, and return the manifest it agrees with."""
    head = packed.readline(_HEAD_BYTES)
    try:
        manifest = msgspec.json.decode(head, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(
            f"{file} is not a backup of Pilothouse; name a file `pilothouse backup` made"
        ) from error
    if manifest.pilothouse_backup != _FORMAT:
        raise InvalidRequestError(f"{file} was made by a newer Pilothouse; restore it with that version")
    _write_file(packed, target)
    if target.stat().st_size != manifest.bytes or _hash_of(target) != manifest.blake2b:
        raise StoreCorruptError(f"{file} is damaged: it is not what its first line says. Use another backup")
    return manifest


def _write_file(source: IO[bytes], target: pathlib.Path) -> None:
    with open(private_file(target), "r+b") as out:
        shutil.copyfileobj(source, out, _CHUNK)
        out.flush()
        os.fsync(out.fileno())


def _hash_of(path: pathlib.Path) -> str:
    hashed = blake2b(digest_size=32)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()


def _check_commits(connection: sqlite3.Connection) -> int:
    count, expected = 0, None
    for row in connection.execute("SELECT * FROM commits ORDER BY revision"):
        commit = rows.commit_of(row)
        if expected not in {None, commit.revision}:
            raise StoreCorruptError(f"commit {expected} is missing. {rows.CURE}")
        count, expected = count + 1, commit.revision + 1
    return count


@contextmanager
def _errors_about(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except PilothouseError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise translate(error, path) from error
