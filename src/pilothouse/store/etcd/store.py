"""The replicated store: `store.interface.Store` over an etcd cluster that several managers share.

The whole state is in memory. An update is tried there and committed by a transaction that compares how far the cluster
has come; a read asks how far that is and catches up first. Why it is done this way: docs/adr/0017.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TypeVar, cast

from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError, QuorumLostError, SkewError, StoreUnavailableError
from pilothouse.ids import Ids
from pilothouse.log import event
from pilothouse.model.states import Writer
from pilothouse.store import transaction
from pilothouse.store.etcd import rpc_pb2 as rpc
from pilothouse.store.etcd.batch import Fence, Waiting
from pilothouse.store.etcd.client import RANGE, EtcdClient
from pilothouse.store.etcd.committer import WRITE_SECONDS, Committer
from pilothouse.store.etcd.layout import Layout, after, commit_of, decode_record
from pilothouse.store.etcd.news import LOAD_SECONDS, catch_up, check_here, found_empty, load
from pilothouse.store.etcd.reader import READ_SECONDS, Reader
from pilothouse.store.etcd.replica import Replica
from pilothouse.store.interface import Commit, ReadTx, WriteTx
from pilothouse.store.watch import KEPT_COMMITS, WatchQueue

R = TypeVar("R")
KEPT_IN_MEMORY = 1_000
_OLD_SECONDS = 2.0
"""A member that is there answers from its own memory at once."""
_CLOSED = "the store is closed"


class EtcdStore:
    """Keeps `store.interface.Store`; made by `open`, used on one event loop.

    Attributes:
        client: How the cluster is reached; closed with the store.
        stale_reads: So many views were answered from memory because nobody answered (`store.interface.Staleness`).
    """

    def __init__(self, client: EtcdClient, layout: Layout, ids: Ids, keep: int) -> None:
        self.client = client
        self.stale_reads = 0
        self._layout = layout
        self._keep = keep
        self._replica = Replica(WatchQueue(keep=min(keep, KEPT_IN_MEMORY), older=self._older))
        self._committer = Committer(client, layout, self._replica, ids, keep)
        self._reader = Reader(client, layout, self._replica)
        self._refusal: PilothouseError | None = None
        self._running: asyncio.Future[None] | None = None
        self._attended: set[asyncio.Future[None]] = set()

    @classmethod
    async def open(
        cls,
        client: EtcdClient,
        clock: Clock,
        ids: Ids,
        layout: Layout | None = None,
        keep: int = KEPT_COMMITS,
        *,
        seconds: float = LOAD_SECONDS,
        old: bool = False,
    ) -> "EtcdStore":
        """Open the store of a cluster, which is empty if nobody has opened it before.

        Args:
            client: Closed with the store, or at once if it cannot be opened.
            clock: Stamps commits.
            ids: Tells attempts apart.
            layout: Where it stands in the cluster.
            keep: How many commits watches and `history` can go back; the same for all managers.
            seconds: How long to wait for a majority.
            old: Without a majority, begin with what one member knows, and say so (`stale_since`).

        Raises:
            QuorumLostError: Fewer than half of the members answer in time, and none by itself if *old*.
            StoreUnavailableError: The state was moved to somewhere else, or moving it here was interrupted.
            StoreCorruptError: It is not what Pilothouse wrote.
            SkewError: It has a format that this version does not read.
        """
        store = cls(client, layout or Layout(), ids, keep)
        try:
            try:
                await found_empty(client, store._layout, ids.new(), clock, seconds)
                loaded = await load(client, store._layout)
            except QuorumLostError:
                if not old:
                    raise
                loaded = await load(client, store._layout, old=True, seconds=_OLD_SECONDS)
                store._reader.begin_stale()
            check_here(loaded.head)
            store._replica.reset(loaded)
        except BaseException:
            await client.close()
            raise
        store._running = asyncio.ensure_future(store._run())
        return store

    @property
    def stale_since(self) -> float | None:
        """Wall-clock time since when nobody answers, so that reads may be old; None while somebody does."""
        return self._reader.stale_since

    @property
    def layout(self) -> Layout:
        """Where it stands in the cluster."""
        return self._layout

    async def view(self, fn: Callable[[ReadTx], R]) -> R:
        """Run *fn* on everything that was committed before the call; if nobody answers, on what is known.

        What is known never goes back, and has every commit of this process.

        Raises:
            StoreUnavailableError: The store was closed, or cannot be used any more.
        """
        self.check_alive()
        if not await self._reader.fresh():
            self.stale_reads += 1
        return transaction.read(self._replica.durable, fn)

    async def known(self, fn: Callable[[ReadTx], R]) -> R:
        """Run *fn* on what is known; for whoever writes next, because a write finds out whether it was the newest."""
        return transaction.read(self._replica.durable, fn)

    async def update(self, writer: Writer, fn: Callable[[WriteTx], R]) -> R:
        return await self.update_in(None, writer, fn)

    async def update_in(self, fence: Fence | None, writer: Writer, fn: Callable[[WriteTx], R]) -> R:
        """Run *fn* atomically, in the term of *fence*.

        Raises:
            TermOverError: Another term began; nothing was written.
            QuorumLostError: Nobody confirmed it in time; it may or may not have happened.
        """
        self.check_alive()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = Waiting(writer, fn, fence, done)
        self._committer.add(waiting)
        clock = self.client.clock
        begun = clock.monotonic()
        try:
            while (left := begun + WRITE_SECONDS + waiting.extra_seconds - clock.monotonic()) > 0 and not done.done():
                await asyncio.wait([done], timeout=left)
        finally:
            waiting.dropped = True
        if not done.done():
            raise QuorumLostError(
                f"the store did not confirm the commit within {WRITE_SECONDS:g} s; it may or may not have happened. "
                "Look again before you repeat it"
            )
        if waiting.error is not None:
            raise waiting.error
        return cast("R", waiting.outcome)

    def watch(self, since: int) -> AsyncIterator[Commit]:
        return self._replica.queue.read(since)

    async def history(self, since: int, limit: int) -> tuple[Commit, ...]:
        revision = self._replica.revision
        oldest = min(max(since, revision - self._keep), revision)
        found = self._replica.queue.after(oldest, limit)
        return await self._older(oldest, limit) if found is None else found

    async def catch_up(self) -> None:
        """Know everything that was committed before the call.

        Raises:
            QuorumLostError: Nobody answers.
        """
        await catch_up(self.client, self._layout, self._replica, READ_SECONDS)

    def attend(self, work: Coroutine[None, None, None]) -> asyncio.Future[None]:
        """Run *work* beside everything else, until it ends or the store is closed."""
        running = asyncio.ensure_future(work)
        self._attended.add(running)
        running.add_done_callback(self._attended.discard)
        return running

    @property
    def failing_seconds(self) -> float:
        """How long no commit was confirmed although some were tried."""
        since = self._committer.failing_since
        return 0.0 if since is None else self.client.clock.monotonic() - since

    async def close(self) -> None:
        if self._running is None:
            return
        running, self._running = self._running, None
        self._refusal = StoreUnavailableError(_CLOSED)
        ending = [running, *self._attended]
        for each in ending:
            each.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        self._committer.refuse(self._refusal)
        self._replica.queue.close()
        await self.client.close()

    async def _run(self) -> None:
        """Do what must go on while the store is open; if that dies, the store refuses everything."""
        try:
            async with asyncio.TaskGroup() as group:
                for each in (self._committer.run, self._reader.answer, self._reader.watch, self._reader.look_often):
                    group.create_task(each(), name=f"store.{each.__name__}")
        except* SkewError as skewed:
            self._die(SkewError(str(skewed.exceptions[0])), repr(skewed))
        except* Exception as error:  # noqa: BLE001 - whoever uses the store is told, and the log has it whole
            self._die(StoreUnavailableError(f"the store's own loop died ({error!r}); restart the server"), repr(error))

    def _die(self, refusal: PilothouseError, error: str) -> None:
        event("error", "store.died", error=error)
        self._refusal = refusal
        self._committer.refuse(refusal)
        self._replica.queue.close()

    def check_alive(self) -> None:
        """Return if the store is open and works.

        Raises:
            StoreUnavailableError: It was closed, or what keeps it going died of a bug; open it anew.
        """
        if self._refusal is not None:
            raise type(self._refusal)(str(self._refusal))

    async def _older(self, since: int, limit: int) -> tuple[Commit, ...]:
        """Read commits that memory does not hold any more."""
        until = self._replica.revision
        oldest = max(since, until - self._keep)
        asked = rpc.RangeRequest(
            key=self._layout.record(oldest + 1), range_end=after(self._layout.history), limit=limit
        )
        found = await self.client.call(RANGE, asked, READ_SECONDS * 4)
        commits = (commit_of(each)[0] for kv in found.kvs for each in decode_record(kv.value).commits)
        return tuple(each for each in commits if oldest < each.revision <= until)[:limit]


class TermStore:
    """The store of one term: its updates are refused once another term began; closing it closes nothing."""

    def __init__(self, store: EtcdStore, fence: Fence) -> None:
        self._store = store
        self._fence = fence

    async def view(self, fn: Callable[[ReadTx], R]) -> R:
        """Run *fn* on what is known, without asking anybody: what is decided from it is compared when it is written."""
        return await self._store.known(fn)

    async def update(self, writer: Writer, fn: Callable[[WriteTx], R]) -> R:
        return await self._store.update_in(self._fence, writer, fn)

    def watch(self, since: int) -> AsyncIterator[Commit]:
        return self._store.watch(since)

    async def history(self, since: int, limit: int) -> tuple[Commit, ...]:
        return await self._store.history(since, limit)

    async def close(self) -> None:
        """Do nothing: the store belongs to whoever opened it."""
