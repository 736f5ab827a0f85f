"""Writes a whole state into a cluster, and reads one out of it; the sequence key, put last, says that it is complete.

Until then the cluster holds no state of Pilothouse, whatever stands in it, and writing begins anew when it is repeated.
"""

from collections.abc import Iterable, Iterator

import msgspec

from pilothouse.clock import Clock
from pilothouse.errors import ConflictError, StoreCorruptError
from pilothouse.ids import Ids
from pilothouse.store import rows
from pilothouse.store.copy import Whole, chained, digest_of
from pilothouse.store.etcd import rpc_pb2 as rpc
from pilothouse.store.etcd.batch import compare_place, delete, put, read
from pilothouse.store.etcd.client import RANGE, TXN, EtcdClient
from pilothouse.store.etcd.election import Claim, decode_claim, encode_claim
from pilothouse.store.etcd.layout import (
    Head,
    Layout,
    after,
    commit_of,
    decode_head,
    decode_record,
    encode_head,
    encode_record,
)
from pilothouse.store.etcd.news import LOAD_SECONDS, load, read_range
from pilothouse.store.etcd.replica import digits
from pilothouse.store.interface import Commit

_OPERATIONS = 2000
_BYTES = 4 << 20
_RECORD = 200


async def write_whole(client: EtcdClient, layout: Layout, whole: Whole, clock: Clock, ids: Ids) -> None:
    """Write *whole* into a cluster that holds no state, read it back, and only then say that it is there.

    Raises:
        ConflictError: The cluster holds a state; nothing was changed.
        StoreCorruptError: What was read back is not what was written.
        StoreUnavailableError: The cluster did not answer; repeat it.
    """
    await _empty(client, layout)
    expected = dict(_values(layout, whole))
    for group in _groups(expected.items()):
        await _carry_out(client, layout, [put(key, value) for key, value in group])
    found = {each.key: each.value async for each in read_range(client, layout.prefix, after(layout.prefix))}
    if found != expected:
        wrong = next(key for key in (*expected, *found) if expected.get(key) != found.get(key))
        raise StoreCorruptError(f"the cluster does not hold what was written to {wrong.decode()}; repeat it")
    at = whole.commits[-1].at if whole.commits else clock.now()
    head = Head(revision=whole.revision, digest=digits(digest_of(whole.objects)), token=ids.new(), at=at)
    await _carry_out(client, layout, [put(layout.sequence, encode_head(head))])


async def read_whole(client: EtcdClient, layout: Layout) -> tuple[Whole, int]:
    """Return what a cluster holds at one revision, and the etcd revision that wrote its sequence.

    Raises:
        StoreCorruptError: It is not what Pilothouse wrote.
        StoreUnavailableError: The cluster does not answer, or holds no state.
    """
    loaded = await load(client, layout)
    objects = tuple(obj for obj, _ in loaded.objects)
    if digits(digest_of(objects)) != loaded.head.digest:
        raise StoreCorruptError(f"the objects are not those of commit {loaded.head.revision}, the newest. {rows.CURE}")
    commits: list[Commit] = []
    async for each in read_range(client, layout.history, after(layout.history)):
        commits.extend(commit_of(logged)[0] for logged in decode_record(each.value).commits)
    kept = [commit for commit in commits if commit.revision <= loaded.head.revision]
    if loaded.head.revision and (not kept or kept[-1].revision != loaded.head.revision):
        raise StoreCorruptError(f"the record of commit {loaded.head.revision}, the newest, is missing. {rows.CURE}")
    found = await client.call(RANGE, rpc.RangeRequest(key=layout.epoch), LOAD_SECONDS)
    epoch = decode_claim(found.kvs[0].value).epoch if found.kvs else 0
    return Whole(loaded.head.revision, objects, tuple(kept), epoch), loaded.place


async def say_moved(client: EtcdClient, layout: Layout, place: int, where: str) -> None:
    """Have every manager refuse to write here any more, because the state is at *where* now.

    Raises:
        ConflictError: Somebody wrote since the etcd revision *place*, or it was moved to another place before; nothing
            was changed.
    """
    found = await client.call(RANGE, rpc.RangeRequest(key=layout.sequence), LOAD_SECONDS)
    head = decode_head(found.kvs[0].value)
    if head.moved == where:
        return
    if head.moved:
        raise ConflictError(f"the state was moved from here to {head.moved}, and goes on there")
    moved = msgspec.structs.replace(head, moved=where)
    asked = rpc.TxnRequest(
        compare=[compare_place(layout.sequence, place)],
        success=[put(layout.sequence, encode_head(moved))],
        failure=[read(layout.sequence)],
    )
    answer = await client.call(TXN, asked, LOAD_SECONDS)
    if not answer.succeeded and decode_head(answer.responses[0].response_range.kvs[0].value).moved != where:
        raise ConflictError("a manager wrote while the state was copied: stop every manager, then repeat it")


async def _empty(client: EtcdClient, layout: Layout) -> None:
    """Remove what an interrupted attempt left."""
    await _carry_out(client, layout, [delete(layout.prefix, after(layout.prefix))])


async def _carry_out(client: EtcdClient, layout: Layout, operations: list[rpc.RequestOp]) -> None:
    """Carry operations out unless the cluster holds a state."""
    request = rpc.TxnRequest(
        compare=[compare_place(layout.sequence, 0)], success=operations, failure=[read(layout.sequence)]
    )
    answer = await client.call(TXN, request, LOAD_SECONDS, attempt=LOAD_SECONDS / 3)
    if answer.succeeded:
        return
    written = next((each.request_put.value for each in operations if each.request_put.key == layout.sequence), b"")
    if answer.responses[0].response_range.kvs[0].value != written:
        raise ConflictError("the cluster holds a state of Pilothouse already; nothing was changed")


def _values(layout: Layout, whole: Whole) -> Iterator[tuple[bytes, bytes]]:
    """Yield everything that is to stand in the cluster, but for the sequence."""
    yield layout.epoch, encode_claim(Claim("", whole.epoch))
    for obj in whole.objects:
        yield layout.object(*rows.key_of(obj)), rows.object_row(obj)[3]
    commits = chained(whole)
    for start in range(0, len(commits), _RECORD):
        group = commits[start : start + _RECORD]
        prepared = [each for each, _ in group]
        value = encode_record("", digits(group[-1][1]), prepared)
        yield layout.record(prepared[-1].commit.revision), value


def _groups(values: Iterable[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    group: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in values:
        if group and (len(group) >= _OPERATIONS or size + len(value) > _BYTES):
            yield group
            group, size = [], 0
        group.append((key, value))
        size += len(key) + len(value)
    if group:
        yield group
