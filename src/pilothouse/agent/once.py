"""Make a thing exist once: many tasks need the same network at the same moment, and one call is enough."""

import asyncio
from collections.abc import Awaitable, Callable, Collection


class Once:
    """What is known to exist, by name."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}

    async def ensure(self, name: str, make: Callable[[], Awaitable[None]]) -> None:
        """Call *make* unless *name* is known to exist; callers that come meanwhile wait for the first one."""
        if name in self._known:
            return
        async with self.alone(name):
            if name not in self._known:
                await make()
                self._known.add(name)

    def alone(self, name: str) -> asyncio.Lock:
        """Return the lock that keeps others from making or removing *name* meanwhile."""
        return self._locks.setdefault(name, asyncio.Lock())

    def forget(self, name: str) -> None:
        """Ask again next time."""
        self._known.discard(name)

    def keep(self, existing: Collection[str]) -> None:
        """Forget everything that is not in *existing*."""
        self._known.intersection_update(existing)
