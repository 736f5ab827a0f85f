"""Commits what waits: builds batches, sends each until its fate is known, and tells who waited.

One batch is under way at a time; whatever comes meanwhile waits for the next. A batch that lost the race is tried again
on the newer state. A batch whose answer was lost is sent again as it was: the comparison lets at most one of both
happen, and the token in the record of history tells whether one did.
"""

import asyncio
from collections import deque

from pilothouse.errors import PilothouseError, StoreCorruptError, StoreUnavailableError
from pilothouse.ids import Ids
from pilothouse.log import event
from pilothouse.store.etcd.batch import Batch, Limits, Waiting, build
from pilothouse.store.etcd.client import ATTEMPT_SECONDS, TXN, EtcdClient, TooManyOperationsError
from pilothouse.store.etcd.layout import Layout
from pilothouse.store.etcd.news import catch_up, news_of, take
from pilothouse.store.etcd.replica import Replica

WRITE_SECONDS = 1.8
"""How long an update may take before whoever waits is told that nobody knows; with what the API adds, below 2 s."""

MOST_OPERATIONS = 8192
FEWEST_OPERATIONS = 128
SMALL_BYTES = 64 << 10
BYTES_PER_SECOND = 2 << 20
"""A transaction that writes much may take longer: the members write it to their disks, and to each other's."""

_GROUP = 512


class Committer:
    """Runs on one event loop.

    Attributes:
        failing_since: When the first of the commits that were not confirmed was, monotonic; None since one was.
    """

    def __init__(self, client: EtcdClient, layout: Layout, replica: Replica, ids: Ids, keep: int) -> None:
        self.failing_since: float | None = None
        self._client = client
        self._layout = layout
        self._replica = replica
        self._ids = ids
        self._keep = keep
        self._limits = Limits(MOST_OPERATIONS)
        self._waiting: deque[Waiting] = deque()
        self._wake = asyncio.Event()

    def add(self, waiting: Waiting) -> None:
        """Have an update committed."""
        self._waiting.append(waiting)
        self._wake.set()

    async def run(self) -> None:
        """Commit, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(_GROUP, len(self._waiting)))]
                await self._settle(group)

    def refuse(self, error: PilothouseError) -> None:
        """Have everything that waits end with *error*."""
        while self._waiting:
            self._waiting.popleft().fail(error)

    async def _settle(self, group: list[Waiting]) -> None:
        """Have every update of *group* settled, in as many batches as it takes."""
        while group:
            token, now = self._ids.new(), self._client.clock.now()
            batch, rest = build(self._replica, self._layout, group, self._limits, token, now, self._keep)
            if not batch.waiting:
                batch.take_back(self._replica)
                group = rest
                continue
            try:
                group = rest if await self._attempt(batch) else [*batch.waiting, *rest]
            except TooManyOperationsError as error:
                batch.take_back(self._replica)
                group = self._split(batch, error) + rest
            except PilothouseError as error:
                batch.take_back(self._replica)
                self._not_confirmed(error)
                for each in batch.waiting:
                    each.fail(type(error)(str(error)))
                group = rest
            except BaseException as error:
                batch.take_back(self._replica)
                for each in [*batch.waiting, *rest]:
                    each.fail(
                        StoreUnavailableError(f"the commit was not confirmed, because the store ends ({error!r})")
                    )
                raise

    async def _attempt(self, batch: Batch) -> bool:
        """Send a batch; tell whether it happened, or else surely did not and may be tried again."""
        extra = batch.bytes / BYTES_PER_SECOND if batch.bytes > SMALL_BYTES else 0.0
        for each in (*batch.waiting, *self._waiting):
            each.extra_seconds += extra
        answer = await self._client.call(TXN, batch.request, WRITE_SECONDS + extra, attempt=ATTEMPT_SECONDS + extra)
        if answer.succeeded:
            batch.keep(self._replica, answer.header.revision)
            if batch.commits and not batch.happened:
                raise StoreCorruptError("a commit of this manager and one of another took the same revision")
            self._confirmed(batch)
            return True
        news = news_of(answer.responses)
        known = take(self._replica, news)
        if batch.happened:
            self._confirmed(batch)
            return True
        batch.take_back(self._replica)
        self._end_terms(batch, news.terms[self._layout.epoch].mod_revision if self._layout.epoch in news.terms else 0)
        if not known:
            await catch_up(self._client, self._layout, self._replica, WRITE_SECONDS)
        return False

    def _confirmed(self, batch: Batch) -> None:
        self.failing_since = None
        for each in batch.waiting:
            each.settle()

    def _not_confirmed(self, error: PilothouseError) -> None:
        if isinstance(error, StoreUnavailableError) and self.failing_since is None:
            self.failing_since = self._client.clock.monotonic()
        event("warning", "store.commit_failed", error=str(error))

    def _end_terms(self, batch: Batch, epoch: int) -> None:
        for each in batch.waiting:
            if each.fence is not None and each.fence.place != epoch:
                each.fence.end("another manager leads since")

    def _split(self, batch: Batch, error: TooManyOperationsError) -> list[Waiting]:
        """Take that the members accept less than was thought; what is too much by itself ends with *error*."""
        if self._limits.operations <= FEWEST_OPERATIONS:
            for each in batch.waiting:
                each.fail(error)
            return []
        self._limits.operations = FEWEST_OPERATIONS
        event(
            "warning",
            "store.small_transactions",
            operations=FEWEST_OPERATIONS,
            message="a member was started without --max-txn-ops; transactions of more objects are refused",
        )
        return batch.waiting
