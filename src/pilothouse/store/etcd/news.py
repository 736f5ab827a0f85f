"""What the cluster says, and how it gets into the replica: loading everything, and catching up on what is missing."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from pilothouse.clock import Clock
from pilothouse.errors import StoreCorruptError, StoreUnavailableError
from pilothouse.log import event
from pilothouse.model.base import Object
from pilothouse.model.format import FORMAT_ID, Format, check_readable, number_in
from pilothouse.store import rows
from pilothouse.store.etcd import rpc_pb2 as rpc
from pilothouse.store.etcd.batch import compare_place, put, read_news
from pilothouse.store.etcd.client import RANGE, TXN, CompactedError, EtcdClient
from pilothouse.store.etcd.layout import Head, Layout, after, decode_head, decode_record, encode_head, object_of
from pilothouse.store.etcd.replica import Loaded, Replica, digits
from pilothouse.store.tables import NAMES

LOAD_SECONDS = 30.0
_PAGE = 1000


@dataclass(frozen=True)
class News:
    """The answer to `read_news`.

    Attributes:
        head: The sequence.
        place: The etcd revision that wrote it.
        records: What was committed after what is known, oldest first, with the etcd revision of each.
        terms: The keys about who leads.
    """

    head: Head
    place: int
    records: tuple[rpc.KeyValue, ...]
    terms: dict[bytes, rpc.KeyValue]


def news_of(responses: list[rpc.ResponseOp]) -> News:
    """Return the answer to `read_news`.

    Raises:
        StoreUnavailableError: The state was moved to somewhere else.
        StoreCorruptError: There is no sequence any more.
    """
    found, records, terms = (each.response_range.kvs for each in responses)
    if not found:
        raise StoreCorruptError(f"the store's sequence is gone: somebody emptied the cluster. {rows.CURE}")
    head = decode_head(found[0].value)
    check_here(head)
    return News(head, found[0].mod_revision, tuple(records), {each.key: each for each in terms})


def check_here(head: Head) -> None:
    """Accept a cluster whose state was not moved to somewhere else.

    Raises:
        StoreUnavailableError: It was.
    """
    if head.moved:
        raise StoreUnavailableError(
            f"the state was moved from here to {head.moved}: run the server there; "
            "`pilothouse store migrate --to etcd` brings it back"
        )


def take(replica: Replica, news: News) -> bool:
    """Apply what is new; tell whether everything up to the sequence is known now."""
    for each in news.records:
        if not replica.follow(decode_record(each.value), each.mod_revision):
            return False
    return replica.revision >= news.head.revision


async def catch_up(client: EtcdClient, layout: Layout, replica: Replica, seconds: float) -> News:
    """Know at least everything that was committed before the call; return what the cluster said last.

    Raises:
        QuorumLostError: Nobody answered within *seconds*.
    """
    while True:
        asked = rpc.TxnRequest(success=read_news(layout, replica.revision))
        news = news_of((await client.call(TXN, asked, seconds)).responses)
        before = replica.revision
        if take(replica, news):
            if replica.agrees(news.head):
                return news
            event("error", "store.differs", revision=replica.revision, message="this manager's memory is wrong")
            await reload(client, layout, replica)
        elif replica.revision == before:
            event("warning", "store.reloads", revision=before, newest=news.head.revision)
            await reload(client, layout, replica)


async def reload(client: EtcdClient, layout: Layout, replica: Replica) -> None:
    """Forget what is known and load everything."""
    while True:
        loaded = await load(client, layout)
        if replica.under_way is None and loaded.head.revision >= replica.revision:
            replica.reset(loaded)
            return


async def load(client: EtcdClient, layout: Layout, *, old: bool = False, seconds: float = LOAD_SECONDS) -> Loaded:
    """Return everything that stands in the cluster, at one of its revisions.

    Args:
        client: Of the cluster.
        layout: Where it stands there.
        old: What one member knows will do, whether or not it is in touch with the others.
        seconds: How long the first answer may take.

    Raises:
        QuorumLostError: Nobody answered.
        StoreCorruptError: It is not what Pilothouse wrote.
        SkewError: It has a format that this version does not read.
    """
    while True:
        found = await client.call(RANGE, rpc.RangeRequest(key=layout.sequence, serializable=old), seconds)
        if not found.kvs:
            raise StoreUnavailableError("there is no state of Pilothouse in this cluster")
        head = decode_head(found.kvs[0].value)
        try:
            if head.revision:
                await _check_format(client, layout, found.header.revision, old=old)
            pages = read_range(client, layout.objects, after(layout.objects), found.header.revision, old=old)
            objects: list[tuple[Object, int]] = [object_of(layout, each.key, each.value) async for each in pages]
        except CompactedError:
            continue
        return Loaded(head, found.kvs[0].mod_revision, objects)


async def _check_format(client: EtcdClient, layout: Layout, revision: int, *, old: bool) -> None:
    key = layout.object(NAMES[Format], FORMAT_ID)
    said = [each.value async for each in read_range(client, key, key + b"\0", revision, old=old)]
    check_readable(number_in(said[0] if said else None), "the store")


async def read_range(
    client: EtcdClient, start: bytes, end: bytes, revision: int = 0, *, old: bool = False
) -> AsyncIterator[rpc.KeyValue]:
    """Yield every key from *start* to *end*, as they were at an etcd revision, in pages; *old* as for `load`."""
    while True:
        asked = rpc.RangeRequest(key=start, range_end=end, revision=revision, limit=_PAGE, serializable=old)
        page = await client.call(RANGE, asked, LOAD_SECONDS, attempt=LOAD_SECONDS / 3)
        for each in page.kvs:
            yield each
        if not page.more:
            return
        start = page.kvs[-1].key + b"\0"


async def found_empty(
    client: EtcdClient, layout: Layout, token: str, clock: Clock, seconds: float = LOAD_SECONDS
) -> None:
    """Make an empty store if there is nothing under the prefix; give up after *seconds*.

    Raises:
        QuorumLostError: Nobody answered.
        StoreUnavailableError: There is something, but no store: a move into it was interrupted.
    """
    head = Head(revision=0, digest=digits(0), token=token, at=clock.now())
    asked = rpc.TxnRequest(
        compare=[compare_place(layout.sequence, 0), _nothing_under(layout)],
        success=[put(layout.sequence, encode_head(head))],
        failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=layout.sequence))],
    )
    answer = await client.call(TXN, asked, seconds)
    if not answer.succeeded and not answer.responses[0].response_range.kvs:
        raise StoreUnavailableError(
            "this cluster holds half a state: moving it here was interrupted. Run `pilothouse store migrate --to etcd` "
            "again where it was run, or restore a backup"
        )


def _nothing_under(layout: Layout) -> rpc.Compare:
    return rpc.Compare(
        result=rpc.Compare.EQUAL,
        target=rpc.Compare.CREATE,
        key=layout.objects,
        range_end=after(layout.objects),
        create_revision=0,
    )
