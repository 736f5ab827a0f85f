"""Computing beside the event loop: long reckoning over a kept view of the store, so that nobody else waits for it.

For what is pure and takes long where there is much: where tasks would go, and why. Must not be used for what is
written: that is decided inside the store's transaction.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pilothouse.model.node import Node
from pilothouse.model.objects import Task
from pilothouse.store.interface import ReadTx, Store

R = TypeVar("R")

FEW = 500
"""So many objects are looked through sooner than a thread is begun."""

_AT_ONCE = asyncio.Semaphore(2)
"""More at once would only keep the loop from its processor."""


def everywhere(tx: ReadTx) -> int:
    """Return how many objects there are that a question about all nodes looks at."""
    return len(tx.find(Node)) + len(tx.find(Task))


async def reckon(store: Store, fn: Callable[[ReadTx], R], size: Callable[[ReadTx], int] = everywhere) -> R:
    """Return what *fn* makes of a view of *store*; an error of its is raised unchanged.

    Args:
        store: Where to look.
        fn: May run in another thread: it must touch nothing but the view and what it was made with.
        size: How many objects *fn* looks at.
    """
    view, result = await store.view(lambda tx: _few_or_kept(tx, fn, size))
    if view is None:
        return result[0]
    async with _AT_ONCE:
        return await asyncio.to_thread(fn, view)


def _few_or_kept(tx: ReadTx, fn: Callable[[ReadTx], R], size: Callable[[ReadTx], int]) -> tuple[ReadTx | None, list[R]]:
    return (None, [fn(tx)]) if size(tx) <= FEW else (tx.kept(), [])
