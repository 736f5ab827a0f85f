"""Tells what commits mean to many who watch: written once for all of them, and handed out without waking any.

A watcher that takes whatever comes is *in step*: each commit is pushed to it as it is told. One that cannot take more
at once falls out of step, reads what it missed from the store at its own pace, and steps in again. So a slow one misses
nothing and holds nobody up. Must not know what is told, nor how it travels.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from pilothouse.server.commits import Commits
from pilothouse.store.interface import Commit

KEPT = 64
"""So many commits are kept as they are told; a watcher that is further behind makes them anew."""

MOST_BYTES = 64 * 1024
"""No more is pushed to a watcher at once; what is longer is read at each one's own pace."""

Piece = tuple[str, bytes]
"""The app it is about, or "", and how it is written."""

Push = Callable[[bytes], bool]
"""Take bytes at once and return True, or take nothing and return False."""


class Told:
    """The newest commits as their watchers are told them: made once, however many watch."""

    def __init__(self, tell: Callable[[Commit], Sequence[Piece]]) -> None:
        self._tell = tell
        self._kept: dict[int, tuple[Commit, Sequence[Piece]]] = {}

    def of(self, commit: Commit) -> Sequence[Piece]:
        """Return the pieces of *commit*."""
        known = self._kept.get(id(commit))
        if known is not None:
            return known[1]
        told = self._tell(commit)
        # The commit is kept as well, so that no other can have its identity meanwhile.
        self._kept[id(commit)] = (commit, told)
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return told

    def texts(self, commits: Sequence[Commit], app: str) -> Iterator[bytes]:
        """Yield what a watcher of *app*, or of all with "", is told of *commits*, in long but not endless texts."""
        held: list[bytes] = []
        size = 0
        for commit in commits:
            for about, text in self.of(commit):
                if app not in {"", about}:
                    continue
                if held and size + len(text) > MOST_BYTES:
                    yield b"".join(held)
                    held, size = [], 0
                held.append(text)
                size += len(text)
        if held:
            yield b"".join(held)


class Watcher:
    """One who watches.

    Attributes:
        app: What it watches, "" for all.
        seen: The newest revision it was told.
    """

    def __init__(self, app: str, push: Push) -> None:
        self.app = app
        self.seen = 0
        self.push = push
        self._out = asyncio.Event()

    def step_in(self, seen: int) -> None:
        """Note that everything up to revision *seen* was told."""
        self.seen = seen
        self._out.clear()

    def fall_out(self) -> None:
        """Note that it has to read what comes after `seen` itself."""
        self._out.set()

    async def out_of_step(self, timeout_seconds: float) -> bool:
        """Return True once it fell out of step, or False after so many seconds in step."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._out.wait()
        except TimeoutError:
            return False
        return True


class Fan:
    """Everybody who watches the commits of one manager."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self._in_step: dict[Watcher, None] = {}  # in the order in which they came
        self._commits: Commits | None = None
        self._fresh: list[Commit] = []

    @property
    def watching(self) -> int:
        """How many are in step."""
        return len(self._in_step)

    def step_in(self, commits: Commits, watcher: Watcher, seen: int) -> None:
        """Push to *watcher* what *commits* brings after revision *seen*, the newest there was a moment ago."""
        if self._commits is None:
            self._commits = commits
            commits.listen(self._note)
        watcher.step_in(seen)
        self._in_step[watcher] = None

    def leave(self, watcher: Watcher) -> None:
        """Push nothing more to *watcher*, in step or not."""
        self._in_step.pop(watcher, None)
        if not self._in_step and self._commits is not None:
            self._commits.ignore(self._note)
            self._commits = None

    def _note(self, commit: Commit | None) -> None:
        if commit is None:
            self._fresh.clear()
            for watcher in tuple(self._in_step):
                self._fall_out(watcher)
            return
        # What comes in a storm of commits is told together.
        if not self._fresh:
            asyncio.get_running_loop().call_soon(self._tell)
        self._fresh.append(commit)

    def _tell(self) -> None:
        commits, self._fresh = self._fresh, []
        if not commits:
            return
        first, last = commits[0].revision, commits[-1].revision
        texts: dict[str, Sequence[bytes]] = {}
        for watcher in tuple(self._in_step):
            if watcher.seen >= last:
                continue
            if watcher.app not in texts:
                texts[watcher.app] = tuple(self.told.texts(commits, watcher.app))
            found = texts[watcher.app]
            # More than one text, or a commit that was missed, is for its own pace.
            if watcher.seen + 1 == first and len(found) <= 1 and all(map(watcher.push, found)):
                watcher.seen = last
            else:
                self._fall_out(watcher)

    def _fall_out(self, watcher: Watcher) -> None:
        self._in_step.pop(watcher, None)
        watcher.fall_out()
