"""What stands in the store's file: the rows of objects and commits, and the hashes that tell a damaged one.

Pure: bytes in, values out. SQLite's pages carry no checksum, so every row carries one. Each commit also carries the
exclusive or of the hashes of all objects after it, so that a row that vanished or came back from the past is found.
"""

from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from pilothouse.errors import InvalidRequestError, StoreCorruptError
from pilothouse.model.base import Object
from pilothouse.model.format import Format, check_readable
from pilothouse.model.states import Writer
from pilothouse.store.interface import Change, Commit
from pilothouse.store.tables import BY_NAME, NAMES, decode, encode

HASH_BYTES = 16
_SHORT = 64 << 10
"""Of bytes that are copied faster than hashed in two steps."""

ObjectRow = tuple[str, str, int, bytes, bytes]
"""kind, id, version, body, hash."""

CommitRow = tuple[int, float, str, bytes, bytes, bytes]
"""revision, at, writer, changes, digest of all objects after it, hash."""

CURE = "Stop the server, keep the damaged file, and restore the last backup with `pilothouse restore FILE`"


class _LoggedChange(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    before: msgspec.Raw
    after: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Prepared:
    """A commit as bytes, all but the digest, which depends on the commits before it.

    Attributes:
        written: The rows of the objects it leaves, by kind and id; None for those it deletes.
        changes: Each object before and after, as JSON.
    """

    commit: Commit
    written: dict[tuple[str, str], ObjectRow | None]
    changes: bytes


_NULL = b"null"
_NOTHING = msgspec.Raw(_NULL)
_CHANGES = msgspec.json.Decoder(tuple[_LoggedChange, ...])


def object_row(obj: Object) -> ObjectRow:
    """Return the row of *obj*."""
    name, body = NAMES[type(obj)], encode(obj)
    return name, obj.id, obj.version, body, _object_hash(name, obj.id, obj.version, body)


def key_of(obj: Object) -> tuple[str, str]:
    """Return the name of the kind and the id of *obj*."""
    return NAMES[type(obj)], obj.id


def hash_of(name: str, id: str, version: int, body: bytes) -> int:
    """Return the hash of an object as the number that goes into the digest."""
    return int.from_bytes(_object_hash(name, id, version, body), "big")


def object_of(row: ObjectRow) -> Object:
    """Return the object of a row.

    Raises:
        StoreCorruptError: The row is not what was written.
    """
    name, key, version, body, digest = row
    if digest != _object_hash(name, key, version, body):
        raise StoreCorruptError(f"{name} {key} does not match its hash. {CURE}")
    kind = BY_NAME.get(name)
    try:
        found = None if kind is None else decode(kind, body)
    except msgspec.DecodeError as error:
        raise StoreCorruptError(
            f"{name} {key} cannot be read by this version of Pilothouse: {error}. {CURE}"
        ) from error
    if found is None or found.id != key or found.version != version:
        raise StoreCorruptError(f"{name} {key} holds another object than its name says. {CURE}")
    return found


def prepare(commit: Commit) -> Prepared:
    """Return *commit* as bytes.

    Raises:
        InvalidRequestError: An object holds text that is not Unicode.
    """
    written: dict[tuple[str, str], ObjectRow | None] = {}
    logged: list[bytes] = []
    for change in commit.changes:
        before, after = change.before, change.after
        key = key_of(change.object)
        try:
            row = None if after is None else object_row(after)
            was = _NULL if before is None else encode(before)
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"{key[0]} {key[1]!a} holds text that is not valid Unicode ({error.reason}); write it in UTF-8"
            ) from error
        written[key] = row
        # As `_LoggedChange` reads it; the names of kinds need no escaping, and the rest is JSON already.
        logged.append(b'["%b",%b,%b]' % (key[0].encode(), was, _NULL if row is None else row[3]))
    return Prepared(commit, written, b"[%b]" % b",".join(logged))


def commit_row(prepared: Prepared, digest: int) -> CommitRow:
    """Return the row of a commit, given the digest of all objects after it."""
    commit, state = prepared.commit, digest.to_bytes(HASH_BYTES, "big")
    writer, changes = commit.writer.value, prepared.changes
    checked = _commit_hash(commit.revision, commit.at, writer, changes, state)
    return commit.revision, commit.at, writer, changes, state, checked


def commit_of(row: CommitRow) -> Commit:
    """Return the commit of a row.

    Raises:
        StoreCorruptError: The row is not what was written.
    """
    revision, at, writer, changes, _ = check_commit(row)
    pairs, _ = changes_of(revision, changes)
    return Commit(revision, at, Writer(writer), pairs)


def changes_of(revision: int, changes: bytes) -> tuple[tuple[Change, ...], dict[tuple[str, str], int]]:
    """Return the changes of commit *revision*, and the hash of each object as it left it, 0 if it deleted it.

    Raises:
        StoreCorruptError: They are not what `prepare` wrote.
        SkewError: From this commit on the store has a format that this version does not read.
    """
    pairs: list[Change] = []
    hashes: dict[tuple[str, str], int] = {}
    try:
        for each in _CHANGES.decode(changes):
            change = Change(_decoded(each.kind, each.before), _decoded(each.kind, each.after))
            pairs.append(change)
            found, after = change.object, change.after
            if isinstance(after, Format):
                check_readable(after.number, "the store")
            key = (each.kind, found.id)
            hashes[key] = 0 if after is None else hash_of(each.kind, after.id, after.version, bytes(each.after))
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise StoreCorruptError(
            f"commit {revision} cannot be read by this version of Pilothouse: {error}. {CURE}"
        ) from error
    return tuple(pairs), hashes


def check_commit(row: CommitRow) -> tuple[int, float, str, bytes, int]:
    """Return revision, time, writer, changes and digest of a row whose hash is right.

    Raises:
        StoreCorruptError: The row is not what was written.
    """
    revision, at, writer, changes, state, digest = row
    if digest != _commit_hash(revision, at, writer, changes, state):
        raise StoreCorruptError(f"commit {revision} does not match its hash. {CURE}")
    return revision, at, writer, changes, int.from_bytes(state, "big")


def _decoded(kind: str, body: msgspec.Raw) -> Object | None:
    return None if body == _NOTHING else decode(BY_NAME[kind], bytes(body))


def _commit_hash(revision: int, at: float, writer: str, changes: bytes, state: bytes) -> bytes:
    return _hash(f"{revision}\0{at!r}\0{writer}\0{state.hex()}\0", changes)


def _object_hash(name: str, id: str, version: int, body: bytes) -> bytes:
    return _hash(f"{name}\0{id}\0{version}\0", body)


def _hash(head: str, body: bytes) -> bytes:
    if len(body) < _SHORT:
        return blake2b(head.encode() + body, digest_size=HASH_BYTES).digest()
    hashed = blake2b(head.encode(), digest_size=HASH_BYTES)
    hashed.update(body)
    return hashed.digest()
