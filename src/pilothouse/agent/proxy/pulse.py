"""Notices at once that a process which is no child of ours ended, and how young those that ended were."""

import asyncio
import os
from collections.abc import Callable

from pilothouse.backoff import delay_seconds
from pilothouse.clock import Clock

YOUNG_SECONDS = 10.0
CAP_SECONDS = 10.0


class Pulse:
    """Watches one process at a time, and calls *ended* when it ends.

    Attributes:
        deaths: How many in a row died young.
    """

    def __init__(self, clock: Clock, ended: Callable[[], None]) -> None:
        self.deaths = 0
        self._clock = clock
        self._ended = ended
        self._descriptor = -1
        self._since: float | None = None

    def watch(self, pid: int) -> None:
        """Watch a process from now on, instead of another."""
        self.let_go()
        self._since = self._clock.monotonic()
        try:
            self._descriptor = os.pidfd_open(pid)
        except OSError:
            # It has ended, or the kernel cannot tell; the next look sees it.
            return
        asyncio.get_running_loop().add_reader(self._descriptor, self._tell)

    def let_go(self) -> None:
        """Watch nothing any more."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def rest(self) -> None:
        """Take that the next process is not started because the last one died."""
        self._since = None
        self.deaths = 0

    def delay_seconds(self) -> float:
        """Return how long to wait before the next process is started: the longer, the more died young."""
        if self._since is None:
            return 0.0
        young = self._clock.monotonic() - self._since < YOUNG_SECONDS
        self.deaths = self.deaths + 1 if young else 1
        return delay_seconds(self.deaths, fraction=0.5, cap=CAP_SECONDS)

    def _tell(self) -> None:
        self.let_go()
        self._ended()
