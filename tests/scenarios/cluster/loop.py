"""An event loop without waiting: when everybody waits for a time, it is that time. The same seed gives the same run.

Nothing here ever sleeps, opens a socket or starts a thread. What would be done in a thread is done at once.
"""

import asyncio
import itertools
import selectors

from tests.scenarios.cluster.processes import Ready

START = 1_000.0
MOST_TURNS = 20_000
"""Turns of the loop without a moment passing; the longest honest chain is far shorter."""


class StuckError(AssertionError):
    """Everybody waits for something that nobody will ever do."""


class SimTask(asyncio.Task):
    """A task whose place in a set does not depend on where it lies in memory."""

    numbers = itertools.count()

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self.number = next(cls.numbers)
        return self

    def __hash__(self):
        return self.number


class JumpingSelector(selectors.SelectSelector):
    """Waits by moving the loop's time."""

    loop = None
    turns = 0

    def select(self, timeout=None):
        if timeout is None:
            raise StuckError("everybody waits, and nobody for a time")
        self.turns = 0 if timeout > 0 else self.turns + 1
        if self.turns > MOST_TURNS:
            raise StuckError(f"at {self.loop.passed:g} s somebody is busy without end")
        self.loop.passed += max(0.0, timeout)
        return []


class SimLoop(asyncio.SelectorEventLoop):
    """The loop; `passed` is how many seconds have gone by."""

    def __init__(self):
        selector = JumpingSelector()
        selector.loop = self
        self.passed = START
        super().__init__(selector)
        self._ready = Ready()
        SimTask.numbers = itertools.count()
        self.set_task_factory(lambda loop, coro, **kwargs: SimTask(coro, loop=loop, **kwargs))

    def time(self):
        return self.passed

    def run_in_executor(self, executor, func, *args):
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is handed to whoever waits, as by a thread
            done.set_exception(error)
        return done


def simulate(coroutine):
    """Run *coroutine* to its end on a loop of its own, and return what it returns."""
    loop = SimLoop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        try:
            _cancel_all(loop)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


def _cancel_all(loop):
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


class SimClock:
    """Keeps `clock.Clock` for one machine; its wall clock can be set wrong, the others cannot."""

    WALL = 1_700_000_000.0

    def __init__(self):
        self.wrong_by = 0.0

    def now(self):
        return self.WALL + self.wrong_by + asyncio.get_running_loop().time()

    def monotonic(self):
        return asyncio.get_running_loop().time()

    def boottime(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(max(0.0, seconds))
