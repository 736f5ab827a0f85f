"""Terms of a store that one process has to itself: in memory, or in a file.

Who leads is decided inside the process, so it needs no lease; what makes a term safe is its epoch, which is looked at
inside each of its transactions. A backend whose file another process could open all the same looks at it there too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

from pilothouse.errors import TermOverError
from pilothouse.model.states import Writer
from pilothouse.store.interface import Commit, Leader, Leadership, ReadTx, Store, WriteTx

R = TypeVar("R")


class Raising(Store, Protocol):
    """A store that counts its terms."""

    def when_taken_over(self, tell: Callable[[], None]) -> None:
        """Call *tell* once somebody else began a term on the same data."""
        ...

    async def raise_epoch(self, name: str) -> int:
        """Begin a term for *name* and return its epoch, which is durable and larger than every one before.

        Raises:
            TermOverError: Somebody else began a term on the same data.
            StoreUnavailableError: It may or may not have happened.
        """
        ...


class Term:
    """Keeps `store.interface.Leadership`."""

    def __init__(self, store: Store, name: str, epoch: int) -> None:
        self.epoch = epoch
        self.name = name
        self.store: Store = TermStore(store, self.check)
        self._over = asyncio.Event()
        self._why = ""

    @property
    def ended(self) -> bool:
        """Whether it is over, as far as this process knows."""
        return self._over.is_set()

    def end(self, why: str) -> None:
        """End it without handing it over, as when a lease runs out."""
        if not self.ended:
            self._why = why
            self._over.set()

    def check(self) -> None:
        """Return if the term goes on.

        Raises:
            TermOverError: It is over.
        """
        if self.ended:
            raise TermOverError(f"term {self.epoch} of {self.name} is over: {self._why}; nothing was written")

    async def over(self) -> None:
        await self._over.wait()

    def shown(self) -> bool:
        return not self.ended

    async def resign(self) -> None:
        self.end("it resigned")


class TermStore:
    """A store whose updates are refused, inside their transaction, once *check* raises; closing it closes nothing."""

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check

    async def view(self, fn: Callable[[ReadTx], R]) -> R:
        return await self._store.view(fn)

    async def update(self, writer: Writer, fn: Callable[[WriteTx], R]) -> R:
        def checked(tx: WriteTx) -> R:
            self._check()
            return fn(tx)

        return await self._store.update(writer, checked)

    def watch(self, since: int) -> AsyncIterator[Commit]:
        return self._store.watch(since)

    async def history(self, since: int, limit: int) -> tuple[Commit, ...]:
        return await self._store.history(since, limit)

    async def close(self) -> None:
        """Do nothing: the store belongs to whoever opened it."""


class LocalElection:
    """Keeps `store.interface.Election` among those who share one open store, first come, first served."""

    def __init__(self, store: Raising) -> None:
        self._store = store
        self._standing = asyncio.Lock()
        self._term: Term | None = None
        store.when_taken_over(lambda: self.depose("another process began one on the same data"))

    async def lead(self, name: str) -> Leadership:
        async with self._standing:
            if self._term is not None:
                await self._term.over()
            self._term = Term(self._store, name, await self._store.raise_epoch(name))
            return self._term

    async def leader(self) -> Leader | None:
        term = self._term
        return None if term is None or term.ended else Leader(term.name, term.epoch)

    def depose(self, why: str = "it was not heard of any more") -> None:
        """End the term that runs, so that the next candidate leads; simulations of a lost leader call it too."""
        if self._term is not None:
            self._term.end(why)
