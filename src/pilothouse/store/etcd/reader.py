"""Keeps the replica fresh: reads that must see everything before them, the watch, and a look every now and then.

A read asks the cluster how far it has come and catches up; all who come while one question is under way share the
next. The watch only makes news come sooner: nothing depends on it, because members of some versions lose events.
"""

import asyncio

from pilothouse.errors import PilothouseError, QuorumLostError, StoreUnavailableError
from pilothouse.log import event
from pilothouse.store.etcd import rpc_pb2 as rpc
from pilothouse.store.etcd.client import CompactedError, EtcdClient
from pilothouse.store.etcd.layout import Layout, after, decode_record
from pilothouse.store.etcd.news import News, catch_up
from pilothouse.store.etcd.replica import Replica

READ_SECONDS = 1.2
LOOK_SECONDS = 2.0
PROBE_SECONDS = 0.5
_PAUSE_SECONDS = 0.2


class Reader:
    """Runs on one event loop.

    Attributes:
        stale_since: Wall-clock time since when nobody answers, or None.
        news: What the cluster said last.
    """

    def __init__(self, client: EtcdClient, layout: Layout, replica: Replica) -> None:
        self.stale_since: float | None = None
        self.news: News | None = None
        self._client = client
        self._layout = layout
        self._replica = replica
        self._next: asyncio.Future[None] | None = None
        self._wake = asyncio.Event()
        self._watch_again = asyncio.Event()

    async def fresh(self) -> bool:
        """Return True once everything is known that was committed before the call; False if nobody answers.

        Raises:
            PilothouseError: The cluster answers that this manager cannot go on.
        """
        if self.stale_since is not None:
            return False
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            self._wake.set()
        try:
            await asyncio.shield(self._next)
        except QuorumLostError:
            return False
        return True

    async def answer(self) -> None:
        """Answer who waits in `fresh`, until cancelled; who waits then is told that the store ends."""
        mine: asyncio.Future[None] | None = None
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                mine, self._next = self._next, None
                if mine is not None:
                    await self._look_for(mine)
        finally:
            for each in (mine, self._next):
                if each is not None and not each.done():
                    _fail(each, StoreUnavailableError("the store ends"))

    async def _look_for(self, waiting: asyncio.Future[None]) -> None:
        try:
            await self.look()
        except PilothouseError as error:
            _fail(waiting, error)
        else:
            waiting.set_result(None)

    async def look(self) -> None:
        """Catch up now; note whether anybody answered."""
        try:
            self.news = await catch_up(self._client, self._layout, self._replica, READ_SECONDS)
        except QuorumLostError as error:
            if self.stale_since is None:
                self.begin_stale()
                event("error", "store.quorum_lost", error=str(error))
            raise
        self._note_answer()

    def begin_stale(self) -> None:
        """Note that nobody answers, from now on."""
        self.stale_since = self._client.clock.now()

    async def look_often(self) -> None:
        """Catch up every now and then, more often while nobody answers; and see to it that the watch is alive."""
        while True:
            late = self._replica.revision
            await self._client.clock.sleep(LOOK_SECONDS if self.stale_since is None else PROBE_SECONDS)
            try:
                await self.look()
            except StoreUnavailableError as error:
                if not isinstance(error, QuorumLostError):
                    event("error", "store.unavailable", error=str(error))
                continue
            if self._replica.seen < late:
                # What was known at the last look has not come through the watch since.
                event("warning", "store.watch_silent", seen=self._replica.seen, known=late)
                self._watch_again.set()

    async def watch(self) -> None:
        """Take news as they come, until cancelled."""
        while True:
            self._watch_again.clear()
            try:
                async with asyncio.TaskGroup() as group:
                    silent = group.create_task(self._until_silent())
                    group.create_task(self._follow(silent))
            except* StoreUnavailableError as lost:
                event("debug", "store.watch_ended", error=str(lost.exceptions[0]))
            await self._client.turn_from()
            await self._client.clock.sleep(_PAUSE_SECONDS)

    async def _until_silent(self) -> None:
        await self._watch_again.wait()
        raise StoreUnavailableError("the watch is silent")

    async def _follow(self, silent: asyncio.Task[None]) -> None:
        start, end = self._layout.history, after(self._layout.history)
        try:
            self._replica.seen = self._replica.revision
            async for answer in self._client.watch(start, end, self._replica.place + 1):
                self._replica.seen = max(self._replica.seen, self._take(answer))
                if self._replica.seen > self._replica.revision:
                    # Something before it never came.
                    await self.look()
        except CompactedError:
            await self.look()
        finally:
            silent.cancel()

    def _take(self, answer: rpc.WatchResponse) -> int:
        newest = 0
        for each in answer.events:
            if each.type == rpc.Event.PUT:
                record = decode_record(each.kv.value)
                self._replica.follow(record, each.kv.mod_revision)
                newest = record.last
        return newest

    def _note_answer(self) -> None:
        if self.stale_since is not None:
            event("info", "store.quorum_back", seconds=round(self._client.clock.now() - self.stale_since, 1))
            self.stale_since = None


def _fail(waiting: asyncio.Future[None], error: PilothouseError) -> None:
    waiting.set_exception(error)
    # Whoever waited may have gone, and then nobody looks at it.
    waiting.exception()
