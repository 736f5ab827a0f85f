"""Wakes whoever waits for the store to change: one watch for all, however many clients look on.

A waiter learns that something changed, not what; it reads the store again. So a slow one misses no state and holds
nothing up.
"""

import asyncio
from collections.abc import Callable

from pilothouse.errors import WatchLostError
from pilothouse.log import event
from pilothouse.store.interface import Commit, Store

Relevant = Callable[[Commit], bool]
Listener = Callable[[Commit | None], None]
"""Is told of each commit, or of None when some were missed."""


class Waiter:
    """One reader's memory of whether anything happened since it last looked."""

    def __init__(self, relevant: Relevant) -> None:
        self._relevant = relevant
        self._changed = asyncio.Event()
        self._changed.set()

    def notice(self, commit: Commit | None) -> None:
        """Remember *commit* if it matters; None means that anything may have changed."""
        if commit is None or self._relevant(commit):
            self._changed.set()

    async def changed(self, timeout_seconds: float | None = None) -> bool:
        """Wait for a change since the last call and return True, or False when the time is over; at first at once."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class Commits:
    """The waiters of one store."""

    def __init__(self) -> None:
        self._waiters: dict[Waiter, None] = {}  # in the order in which they came
        self._listeners: list[Listener] = []

    def waiter(self, relevant: Relevant = lambda _commit: True) -> Waiter:
        """Return a waiter for commits that *relevant* accepts; call `forget` when done."""
        made = Waiter(relevant)
        self._waiters[made] = None
        return made

    def forget(self, waiter: Waiter) -> None:
        """Stop waking *waiter*."""
        self._waiters.pop(waiter, None)

    def listen(self, listener: Listener) -> None:
        """Tell *listener* of every commit from now on; it wakes many by an index of its own, and must not block."""
        self._listeners.append(listener)
        listener(None)

    def ignore(self, listener: Listener) -> None:
        """Tell *listener* nothing more."""
        self._listeners.remove(listener)

    async def run(self, store: Store) -> None:
        """Wake waiters as *store* commits, until cancelled."""
        while True:
            revision = await store.view(lambda tx: tx.revision)
            self._wake(None)
            try:
                async for commit in store.watch(revision):
                    self._wake(commit)
            except WatchLostError as lost:
                event("warning", "watch.lost", reader="commits", reason=str(lost))

    def _wake(self, commit: Commit | None) -> None:
        for waiter in tuple(self._waiters):
            waiter.notice(commit)
        for listener in tuple(self._listeners):
            listener(commit)
