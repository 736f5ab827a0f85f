"""The whole state in this process's memory, and how far it has come: where records of history are applied, once.

Does no input or output. Two states are held: the *head*, on which updates are tried, and the *durable* one, which views
and watches see. The digest of all objects is kept along, and compared with what the cluster says it is.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from pilothouse.errors import StoreCorruptError
from pilothouse.log import event
from pilothouse.model.base import Object
from pilothouse.store import rows
from pilothouse.store.etcd.layout import Head, Record, commit_of
from pilothouse.store.interface import Commit
from pilothouse.store.state import State
from pilothouse.store.watch import WatchQueue

DIGEST_DIGITS = 2 * rows.HASH_BYTES


def digits(digest: int) -> str:
    """Return a digest as it stands in the sequence and in records."""
    return f"{digest:0{DIGEST_DIGITS}x}"


class Loaded:
    """Everything that was read of a cluster at one of its revisions.

    Attributes:
        head: The sequence.
        place: The etcd revision that wrote the sequence.
        objects: Each with its hash.
    """

    def __init__(self, head: Head, place: int, objects: Iterable[tuple[Object, int]]) -> None:
        self.head = head
        self.place = place
        self.objects = tuple(objects)


class UnderWay(Protocol):
    """What the head holds beyond what is durable, and what becomes of it."""

    token: str

    def take_back(self, replica: "Replica") -> None:
        """Leave the head as it was before."""
        ...

    def keep(self, replica: "Replica", place: int) -> None:
        """Take it for durable; the etcd revision *place* wrote it."""
        ...


class Replica:
    """What this process knows.

    Attributes:
        head, durable: The states.
        queue: Where watches read.
        place: The etcd revision that wrote the sequence this process knows; what a commit compares.
        at: When the newest commit was made.
        digest: Of all durable objects.
        seen: The newest revision that the watch delivered.
        under_way: What this process tries to commit; whoever commits next decides whether it can have happened.
    """

    def __init__(self, queue: WatchQueue) -> None:
        self.head = State()
        self.durable = State()
        self.queue = queue
        self.place = 0
        self.at = 0.0
        self.digest = 0
        self.seen = 0
        self.under_way: UnderWay | None = None
        self._hashes: dict[tuple[str, str], int] = {}

    @property
    def revision(self) -> int:
        """The newest commit that is known."""
        return self.durable.revision

    def hash_of(self, key: tuple[str, str]) -> int:
        """Return the hash of a durable object, 0 if there is none."""
        return self._hashes.get(key, 0)

    def reset(self, loaded: Loaded) -> None:
        """Know what was loaded and nothing else; the head must hold nothing that is on its way.

        Raises:
            StoreCorruptError: The objects are not those the sequence speaks of.
        """
        digest = 0
        hashes = {}
        for obj, hashed in loaded.objects:
            hashes[rows.key_of(obj)] = hashed
            digest ^= hashed
        if digits(digest) != loaded.head.digest:
            raise StoreCorruptError(
                f"the objects are not those of commit {loaded.head.revision}, the newest. {rows.CURE}"
            )
        objects = [obj for obj, _ in loaded.objects]
        self.head, self.durable = State(objects, loaded.head.revision), State(objects, loaded.head.revision)
        self.place, self.at, self.digest, self._hashes = loaded.place, loaded.head.at, digest, hashes
        self.seen = loaded.head.revision
        self.queue.restart(loaded.head.revision)

    def follow(self, record: Record, place: int) -> bool:
        """Apply what another manager committed, or this one without knowing; tell whether it fits what is known.

        Args:
            record: What is known already is passed over.
            place: The etcd revision that wrote it.
        """
        if record.last <= self.revision:
            return True
        if record.first != self.revision + 1:
            return False
        mine = self.under_way
        if mine is not None:
            # Whatever took the next revision, it was this or it was not, and then this can never happen any more.
            if mine.token == record.token:
                mine.keep(self, place)
                return True
            mine.take_back(self)
        digest = self.digest
        hashes: dict[tuple[str, str], int] = {}
        commits = []
        for logged in record.commits:
            commit, left = commit_of(logged)
            commits.append(commit)
            for key, hashed in left.items():
                digest ^= hashes.get(key, self.hash_of(key)) ^ hashed
                hashes[key] = hashed
        if digits(digest) != record.digest:
            event("error", "store.differs", revision=record.last, message="this manager's memory is wrong; it reloads")
            return False
        for commit in commits:
            self.head.apply(commit.changes, commit.revision)
        self.settle(commits, hashes, digest, place)
        return True

    def settle(self, commits: Sequence[Commit], hashes: dict[tuple[str, str], int], digest: int, place: int) -> None:
        """Take *commits*, which the head holds already, for durable, and show them to everybody."""
        for commit in commits:
            self.durable.apply(commit.changes, commit.revision)
        self._hashes.update(hashes)
        self.digest, self.place = digest, place
        if commits:
            self.at = commits[-1].at
            self.queue.publish(commits)

    def agrees(self, head: Head) -> bool:
        """Whether what is known is what the cluster says of the same revision; true of any other revision."""
        return head.revision != self.revision or head.digest == digits(self.digest)
