"""Merges the lines of many tasks by time, without waiting for ever for the one that says nothing.

Each source is in order by itself. A line is given out when no source can still bring an older one, or, while
following, when it has waited long enough: a task that is silent must not hold back the others.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable

from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError
from pilothouse.log import event
from pilothouse.model.wire import LogLine

PATIENCE_SECONDS = 0.2
MAX_HELD = 1000

Out = Callable[[LogLine], Awaitable[None]]


class Merger:
    """The open sources of one reader, and the lines that wait for their turn."""

    def __init__(self, clock: Clock, *, patient: bool) -> None:
        """Merge lines; *patient* waits for every open source, however long it is silent."""
        self._clock = clock
        self._patient = patient
        self._heap: list[tuple[float, str, int, LogLine, float]] = []
        self._waiting: dict[str, int] = {}
        self._count = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Condition()

    async def feed(self, name: str, lines: AsyncIterator[LogLine]) -> None:
        """Take in one source until it ends; one that cannot be read ends early and is logged."""
        self._waiting[name] = 0
        try:
            async for line in lines:
                await self._take(name, line)
        except PilothouseError as error:
            event("warning", "logs.cut", task=name, error=str(error))
        finally:
            if not self._waiting[name]:
                del self._waiting[name]
            else:
                self._waiting[name] = -self._waiting[name]  # closed, with lines still held
            self._changed.set()

    async def drain(self, out: Out, over: Callable[[], bool]) -> None:
        """Give out lines until *over* says that no source will come and none is left."""
        while True:
            while (line := self._next()) is not None:
                await out(line)
                async with self._room:
                    self._room.notify_all()
            if over() and not self._heap and not self._waiting:
                return
            self._changed.clear()
            if self._heap and not self._patient:
                await self._nap()
            else:
                await self._changed.wait()

    def look_again(self) -> None:
        """Have `drain` ask again whether it is over."""
        self._changed.set()

    async def _take(self, name: str, line: LogLine) -> None:
        async with self._room:
            await self._room.wait_for(lambda: self._waiting[name] < MAX_HELD)
        self._count += 1
        self._waiting[name] += 1
        heapq.heappush(self._heap, (line.at, name, self._count, line, self._clock.monotonic()))
        self._changed.set()

    def _next(self) -> LogLine | None:
        if not self._heap:
            return None
        _, name, _, line, taken_at = self._heap[0]
        silent = any(held == 0 for held in self._waiting.values())
        waited = self._clock.monotonic() - taken_at
        if silent and (self._patient or waited < PATIENCE_SECONDS):
            return None
        heapq.heappop(self._heap)
        held = self._waiting[name]
        self._waiting[name] = held - 1 if held > 0 else held + 1
        if held == -1:
            del self._waiting[name]
        return line

    async def _nap(self) -> None:
        """Wait for a change, at most as long as the next line still has to wait."""
        left = PATIENCE_SECONDS - (self._clock.monotonic() - self._heap[0][4])
        try:
            async with asyncio.timeout(max(0.0, left)):
                await self._changed.wait()
        except TimeoutError:
            return
