"""A store in this process's memory: the reference backend, for tests and simulations. Nothing survives the process."""

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import StoreUnavailableError
from pilothouse.model.states import Writer
from pilothouse.store import transaction
from pilothouse.store.interface import Commit, ReadTx, WriteTx
from pilothouse.store.state import State
from pilothouse.store.watch import KEPT_COMMITS, WatchQueue

R = TypeVar("R")


class MemoryStore:
    """Keeps `store.interface.Store`; serial because the event loop is.

    Args:
        clock: Stamps commits.
        keep: How many commits watches and `history` can go back.
    """

    def __init__(self, clock: Clock | None = None, keep: int = KEPT_COMMITS) -> None:
        self._clock = clock or SystemClock()
        self._state = State()
        self._queue = WatchQueue(keep=keep)
        self._keep = keep
        self._closed = False
        self._epoch = 0

    async def view(self, fn: Callable[[ReadTx], R]) -> R:
        return transaction.read(self._state, fn)

    async def update(self, writer: Writer, fn: Callable[[WriteTx], R]) -> R:
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        result, changes = transaction.write(self._state, writer, fn)
        if changes:
            self._queue.publish([Commit(self._state.revision, self._clock.now(), writer, changes)])
        return result

    def watch(self, since: int) -> AsyncIterator[Commit]:
        return self._queue.read(since)

    async def history(self, since: int, limit: int) -> tuple[Commit, ...]:
        oldest = max(since, self._state.revision - self._keep)
        return self._queue.after(min(oldest, self._state.revision), limit) or ()

    async def raise_epoch(self, name: str) -> int:
        """Begin a term (`store.terms.Raising`); *name* is told nobody."""
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        self._epoch += 1
        return self._epoch

    def when_taken_over(self, tell: Callable[[], None]) -> None:
        """Do nothing: nobody else can reach this memory."""

    async def close(self) -> None:
        self._closed = True
        self._queue.close()
