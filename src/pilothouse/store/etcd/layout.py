"""Where what stands in etcd, and how it is written: keys, the sequence, the records of history. Pure.

One key, the sequence, says how far the store has come. Every commit compares it and writes it, so commits are serial
over all managers. What a commit changed stands twice: as objects, for whoever loads the store, and as a record of
history, for whoever follows it.
"""

import zlib
from collections.abc import Sequence

import msgspec

from pilothouse.errors import StoreCorruptError
from pilothouse.model.base import Object
from pilothouse.model.states import Writer
from pilothouse.store import rows
from pilothouse.store.interface import Commit
from pilothouse.store.tables import BY_NAME, decode

FORMAT = 1
PREFIX = "/pilothouse/"
_COMPRESSED = b"z"
_WORTH_BYTES = 2048
_DIGITS = 16


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The value of the sequence key.

    Attributes:
        revision: Of the newest commit.
        digest: The exclusive or of the hashes of all objects, in hexadecimal.
        token: Which attempt wrote it; no two attempts share one.
        at: When the newest commit was made.
        moved: Where the state was moved to, so that nobody may write here any more; "" while this is the place.
    """

    revision: int
    digest: str
    token: str
    at: float = 0.0
    moved: str = ""
    layout: int = FORMAT


class LoggedCommit(msgspec.Struct, frozen=True, array_like=True):
    """One commit in a record: as `rows` writes it."""

    revision: int
    at: float
    writer: str
    changes: msgspec.Raw


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The commits that one transaction of etcd made, oldest first.

    Attributes:
        token: As in the sequence that was written with it.
        digest: As in the sequence.
    """

    token: str
    digest: str
    commits: tuple[LoggedCommit, ...]

    @property
    def first(self) -> int:
        """The revision of the oldest commit."""
        return self.commits[0].revision

    @property
    def last(self) -> int:
        """The revision of the newest commit."""
        return self.commits[-1].revision


_HEAD = msgspec.json.Decoder(Head)
_RECORD = msgspec.json.Decoder(Record)


class Layout:
    """The keys under one prefix.

    Attributes:
        sequence, epoch, leader: Keys.
        turn: The key of the member that is restarted now.
        terms, objects, history: Beginnings of keys.
    """

    def __init__(self, prefix: str = PREFIX) -> None:
        start = prefix.encode()
        self.prefix = start
        self.sequence = start + b"sequence"
        self.turn = start + b"turn"
        self.terms = start + b"term/"
        self.epoch = start + b"term/epoch"
        self.leader = start + b"term/leader"
        self.objects = start + b"objects/"
        self.history = start + b"history/"

    def object(self, name: str, id: str) -> bytes:
        """Return the key of an object."""
        return self.objects + f"{name}/{id}".encode()

    def name_of(self, key: bytes) -> tuple[str, str]:
        """Return the name of the kind and the id of an object's key."""
        name, _, rest = key[len(self.objects) :].decode().partition("/")
        return name, rest

    def record(self, last: int) -> bytes:
        """Return the key of the record whose newest commit has revision *last*."""
        return self.history + f"{last:0{_DIGITS}}".encode()


def after(prefix: bytes) -> bytes:
    """Return the first key behind all that begin with *prefix*."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def encode_head(head: Head) -> bytes:
    """Return the value of the sequence key."""
    return msgspec.json.encode(head)


def decode_head(value: bytes) -> Head:
    """Return what the sequence key says.

    Raises:
        StoreCorruptError: It cannot be read by this version of Pilothouse.
    """
    try:
        found = _HEAD.decode(value)
    except msgspec.DecodeError as error:
        raise StoreCorruptError(f"the store's sequence cannot be read: {error}. {rows.CURE}") from error
    if found.layout != FORMAT:
        raise StoreCorruptError(
            f"the store has format {found.layout}, and this version of Pilothouse knows {FORMAT}; install a newer one"
        )
    return found


def encode_record(token: str, digest: str, commits: Sequence[rows.Prepared]) -> bytes:
    """Return the record of *commits*, compressed if that is worth it."""
    logged = tuple(
        LoggedCommit(each.commit.revision, each.commit.at, each.commit.writer.value, msgspec.Raw(each.changes))
        for each in commits
    )
    plain = msgspec.json.encode(Record(token=token, digest=digest, commits=logged))
    return plain if len(plain) < _WORTH_BYTES else _COMPRESSED + zlib.compress(plain, 1)


def decode_record(value: bytes) -> Record:
    """Return the record that `encode_record` wrote.

    Raises:
        StoreCorruptError: It is not one.
    """
    try:
        return _RECORD.decode(zlib.decompress(value[1:]) if value[:1] == _COMPRESSED else value)
    except (msgspec.DecodeError, zlib.error) as error:
        raise StoreCorruptError(f"a record of the store's history cannot be read: {error}. {rows.CURE}") from error


def commit_of(logged: LoggedCommit) -> tuple[Commit, dict[tuple[str, str], int]]:
    """Return a commit and, for each object it changed, the hash of the form it left, 0 if it deleted it."""
    changes, hashes = rows.changes_of(logged.revision, bytes(logged.changes))
    return Commit(logged.revision, logged.at, Writer(logged.writer), changes), hashes


def object_of(layout: Layout, key: bytes, body: bytes) -> tuple[Object, int]:
    """Return the object that stands at a key, and its hash.

    Raises:
        StoreCorruptError: Something else stands there.
    """
    name, known = layout.name_of(key)
    kind = BY_NAME.get(name)
    try:
        found = None if kind is None else decode(kind, body)
    except msgspec.DecodeError as error:
        raise StoreCorruptError(
            f"{name} {known} cannot be read by this version of Pilothouse: {error}. {rows.CURE}"
        ) from error
    if found is None or found.id != known:
        raise StoreCorruptError(f"{name} {known} holds another object than its key says. {rows.CURE}")
    return found, rows.hash_of(name, known, found.version, body)
