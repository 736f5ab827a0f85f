"""The only reader of time. Everything else is handed a Clock, so that a test can hand it one that jumps."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where a component reads the time and waits for it."""

    def now(self) -> float:
        """Return wall-clock time in seconds since the epoch; for stamps that people and restarts see."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps; for deadlines and back-off inside one process."""
        ...

    def boottime(self) -> float:
        """Return seconds on a clock that never jumps and goes on while the machine sleeps; for leases."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds* on the monotonic clock; not at all if they are zero or less."""
        ...


class SystemClock:
    """The machine's clocks; sleeping follows the running event loop."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        import asyncio  # noqa: PLC0415 - a command that only reads the time must not pay for an event loop

        await asyncio.sleep(max(0.0, seconds))
