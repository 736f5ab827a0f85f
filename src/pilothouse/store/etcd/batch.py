"""Updates that wait, tried on the head together, as one transaction of etcd.

Pure but for the head: no input or output, no time. A batch compares the sequence and, for updates of a term, the
epoch; so if it succeeds, nothing happened since the head was read, and if it does not, nothing happened at all.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pilothouse.errors import TermOverError, TooLargeError
from pilothouse.model.states import Writer
from pilothouse.store import rows, transaction
from pilothouse.store.etcd import rpc_pb2 as rpc
from pilothouse.store.etcd.layout import Head, Layout, after, encode_head, encode_record
from pilothouse.store.etcd.replica import Replica, digits
from pilothouse.store.interface import Commit, WriteTx

MOST_BYTES = 12 << 20
"""Of one transaction, below the 16 MiB with which members are started."""
_CATCH_UP = 64
_OWN_OPERATIONS = 3


@dataclass
class Fence:
    """The epoch of a term, as a transaction compares it.

    Attributes:
        place: The etcd revision that wrote the epoch.
        why: Why it is over, "" while it goes on.
    """

    place: int
    why: str = ""
    told: Callable[[], None] = field(default=lambda: None)

    def end(self, why: str) -> None:
        """Take that the term is over; nothing brings it back."""
        if not self.why:
            self.why = why
            self.told()


@dataclass(eq=False)
class Waiting:
    """One update that waits.

    Attributes:
        writer, run: What `update` was handed.
        fence: Of the term it belongs to, or None.
        done: Set once its fate is known.
        dropped: Nobody waits for it any more.
        extra_seconds: So much longer than usual it may take, because much is to be written.
        outcome: What it returned when it was tried last; unset if it raised.
        error: What it raised when it was tried last.
    """

    writer: Writer
    run: Callable[[WriteTx], object]
    fence: Fence | None
    done: asyncio.Future[None]
    dropped: bool = False
    extra_seconds: float = 0.0
    outcome: object = None
    error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Have it end with *error*."""
        self.outcome, self.error = None, error
        self.settle()

    def settle(self) -> None:
        """Have it end with what came of it."""
        if not self.done.done():
            self.done.set_result(None)


@dataclass
class Batch:
    """Updates that were tried on the head.

    Attributes:
        waiting: Those whose fate the transaction decides.
        request: The transaction.
        commits: What they changed; the head holds it.
        hashes: Of the objects they left.
        digest: Of all objects after them.
        bytes: About how much is to be written.
        happened: Whether it did, once that is known.
    """

    token: str
    waiting: list[Waiting]
    commits: list[rows.Prepared]
    hashes: dict[tuple[str, str], int]
    digest: int
    request: rpc.TxnRequest
    bytes: int = 0
    happened: bool | None = None

    def take_back(self, replica: Replica) -> None:
        """Leave the head as it was before: it did not happen, or nobody knows."""
        if replica.under_way is self:
            replica.under_way = None
            self.happened = False
            for prepared in reversed(self.commits):
                replica.head.undo(prepared.commit.changes, prepared.commit.revision - 1)

    def keep(self, replica: Replica, place: int) -> None:
        """Take it for durable."""
        if replica.under_way is self:
            replica.under_way = None
            self.happened = True
            if self.commits:
                replica.settle([each.commit for each in self.commits], self.hashes, self.digest, place)


class Limits:
    """How much the members take at once.

    Attributes:
        operations: Of one transaction.
    """

    def __init__(self, operations: int) -> None:
        self.operations = operations


class _Building:
    """A batch in the making."""

    def __init__(self, replica: Replica, limits: Limits) -> None:
        self.replica = replica
        self.room = limits.operations - _OWN_OPERATIONS
        self.tried: list[Waiting] = []
        self.commits: list[rows.Prepared] = []
        self.rows: dict[tuple[str, str], rows.ObjectRow | None] = {}
        self.bytes = 0

    def attempt(self, each: Waiting, now: float) -> bool:
        """Try one update on the head; tell whether it fits in."""
        head = self.replica.head
        each.outcome, each.error = None, None
        try:
            each.outcome, changes = transaction.write(head, each.writer, each.run)
        except Exception as error:  # noqa: BLE001 - it is raised to whoever waits
            each.error = error
            self.tried.append(each)
            return True
        if not changes:
            self.tried.append(each)
            return True
        try:
            prepared = rows.prepare(Commit(head.revision, max(now, self.replica.at), each.writer, changes))
        except Exception as error:  # noqa: BLE001 - it is raised to whoever waits
            head.undo(changes, head.revision - 1)
            each.outcome, each.error = None, error
            self.tried.append(each)
            return True
        return self._add(each, prepared)

    def _add(self, each: Waiting, prepared: rows.Prepared) -> bool:
        keys = len(self.rows.keys() | prepared.written.keys())
        size = sum(len(row[3]) for row in prepared.written.values() if row is not None)
        if keys > self.room or self.bytes + size > MOST_BYTES:
            self.replica.head.undo(prepared.commit.changes, prepared.commit.revision - 1)
            if self.commits:
                return False
            each.outcome = None
            each.error = TooLargeError(
                f"a transaction of {keys} objects and {size} bytes is too large for the store, which takes "
                f"{self.room} objects and {MOST_BYTES} bytes; change less at a time"
            )
            self.tried.append(each)
            return True
        self.commits.append(prepared)
        self.rows.update(prepared.written)
        self.bytes += size
        self.tried.append(each)
        return True


def build(
    replica: Replica, layout: Layout, waiting: Sequence[Waiting], limits: Limits, token: str, now: float, keep: int
) -> tuple[Batch, list[Waiting]]:
    """Try updates on the head and return the batch of those that fit, and the rest.

    Args:
        replica: What is known.
        layout: The keys.
        waiting: In order; those that nobody waits for or whose term is over are not tried.
        limits: How much fits.
        token: Of this attempt.
        now: Stamps commits.
        keep: How many commits history keeps.
    """
    building = _Building(replica, limits)
    rest: list[Waiting] = []
    for place, each in enumerate(waiting):
        if each.dropped:
            continue
        if each.fence is not None and each.fence.why:
            each.fail(TermOverError(f"the term is over: {each.fence.why}; nothing was written"))
            continue
        if not building.attempt(each, now):
            rest = list(waiting[place:])
            break
    hashes = {key: 0 if row is None else int.from_bytes(row[4], "big") for key, row in building.rows.items()}
    digest = replica.digest
    for key, hashed in hashes.items():
        digest ^= replica.hash_of(key) ^ hashed
    batch = Batch(token, building.tried, building.commits, hashes, digest, rpc.TxnRequest(), building.bytes)
    _fill(batch, building.rows, replica, layout, keep)
    replica.under_way = batch
    return batch, rest


def _fill(
    batch: Batch,
    written: dict[tuple[str, str], rows.ObjectRow | None],
    replica: Replica,
    layout: Layout,
    keep: int,
) -> None:
    """Write the transaction of *batch* down."""
    fences = {each.fence.place for each in batch.waiting if each.fence is not None}
    batch.request.compare.append(compare_place(layout.sequence, replica.place))
    batch.request.compare.extend(compare_place(layout.epoch, place) for place in sorted(fences))
    batch.request.failure.extend(read_news(layout, replica.revision))
    if not batch.commits:
        return
    newest, digest = batch.commits[-1].commit, digits(batch.digest)
    add = batch.request.success.append
    for named, row in written.items():
        key = layout.object(*named)
        add(delete(key) if row is None else put(key, row[3]))
    head = Head(revision=newest.revision, digest=digest, token=batch.token, at=newest.at)
    add(put(layout.sequence, encode_head(head)))
    add(put(layout.record(newest.revision), encode_record(batch.token, digest, batch.commits)))
    share = max(1, keep // 20)
    oldest = newest.revision - keep
    if oldest > 0 and oldest // share != (batch.commits[0].commit.revision - 1 - keep) // share:
        add(delete(layout.record(0), layout.record(oldest + 1)))


def read_news(layout: Layout, since: int) -> tuple[rpc.RequestOp, ...]:
    """Return what reads the sequence, the commits after *since*, and who leads, in this order."""
    return (
        read(layout.sequence),
        read(layout.record(since + 1), after(layout.history), limit=_CATCH_UP),
        read(layout.terms, after(layout.terms)),
    )


def read(key: bytes, end: bytes = b"", limit: int = 0) -> rpc.RequestOp:
    """Return the operation that reads a key or a range."""
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key, range_end=end, limit=limit))


def put(key: bytes, value: bytes, lease: int = 0) -> rpc.RequestOp:
    """Return the operation that writes a key."""
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))


def delete(key: bytes, end: bytes = b"") -> rpc.RequestOp:
    """Return the operation that deletes a key or a range."""
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key, range_end=end))


def compare_place(key: bytes, place: int) -> rpc.Compare:
    """Return the comparison that a key was last written at the etcd revision *place*; 0 if it does not exist."""
    return rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.MOD, key=key, mod_revision=place)
