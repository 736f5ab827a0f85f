"""Fan one stream of commits out to any number of readers, each at its own pace.

Readers share one bounded list and hold no queue of their own, so a slow reader costs nothing; it is cut off once what
it has yet to see is gone.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from pilothouse.errors import ProgrammingError, WatchLostError
from pilothouse.store.interface import Commit

KEPT_COMMITS = 10_000
_BATCH = 256

Older = Callable[[int, int], Awaitable[tuple[Commit, ...]]]
"""Return up to so many commits after a revision from where the older ones are kept, oldest first."""


class WatchQueue:
    """The newest commits in memory, without a gap, plus everyone who waits for the next one.

    Attributes:
        revision: The newest revision published.
    """

    def __init__(self, revision: int = 0, keep: int = KEPT_COMMITS, older: Older | None = None) -> None:
        self.revision = revision
        self._keep = keep
        self._older = older
        self._commits: deque[Commit] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def publish(self, commits: Iterable[Commit]) -> None:
        """Append commits and wake the readers."""
        for commit in commits:
            if commit.revision != self.revision + 1:
                raise ProgrammingError(f"commit {commit.revision} was published after {self.revision}")
            self._commits.append(commit)
            self.revision = commit.revision
        while len(self._commits) > self._keep:
            self._commits.popleft()
        self._wake()

    def restart(self, revision: int) -> None:
        """Go on at *revision*, whatever was published; readers that are behind it read what is kept elsewhere."""
        self._commits.clear()
        self.revision = revision
        self._wake()

    def close(self) -> None:
        """End every reader after it has seen what was published."""
        self._closed = True
        self._wake()

    def after(self, since: int, limit: int) -> tuple[Commit, ...] | None:
        """Return up to *limit* commits after *since*, or None if some of them are not in memory any more."""
        start = since - (self.revision - len(self._commits))
        if start < 0:
            return None
        return tuple(self._commits[index] for index in range(start, min(len(self._commits), start + limit)))

    async def read(self, since: int) -> AsyncIterator[Commit]:
        """Yield commits after *since*, then new ones as they come.

        Raises:
            WatchLostError: What comes after *since* is not kept any more, or *since* is of another store's future.
        """
        if since > self.revision:
            raise WatchLostError(
                f"revision {since} has not happened here; the store is at {self.revision}, as after a restored backup. "
                "Take a new snapshot and watch from its revision"
            )
        while True:
            changed = self._changed
            found = self.after(since, _BATCH)
            if found is None:
                found = await self._read_older(since)
            for commit in found:
                since = commit.revision
                yield commit
            if found:
                continue
            if self._closed:
                return
            await changed.wait()

    async def _read_older(self, since: int) -> tuple[Commit, ...]:
        found = () if self._older is None else await self._older(since, _BATCH)
        if not found or found[0].revision != since + 1:
            raise WatchLostError(
                f"the commits after revision {since} are not kept any more. "
                "Take a new snapshot and watch from its revision"
            )
        return found

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
