"""Processes inside the one that simulates them: what each of them does can be stopped and go on, as by SIGSTOP.

Whatever runs in a process's context belongs to it, and so does all that it starts. While it is stopped nothing of it
runs; what comes due meanwhile, or arrives, waits and is done when it goes on, in the order in which it came.
"""

import asyncio
import collections
import contextvars

_PROCESS = contextvars.ContextVar("process", default=None)


class Process:
    """One process, over all its lives.

    Attributes:
        name: What a script calls it.
        stopped: Nothing of it runs.
        context: In which everything of it runs.
    """

    def __init__(self, name):
        self.name = name
        self.stopped = False
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)
        self._waiting = []

    def spawn(self, coroutine, name):
        """Start its first task, and return it."""
        loop = asyncio.get_running_loop()
        return self.context.run(lambda: loop.create_task(coroutine, name=name))

    def stop(self):
        self.stopped = True

    def go_on(self):
        if self.stopped:
            self.stopped = False
            waiting, self._waiting = self._waiting, []
            asyncio.get_running_loop()._ready.extend(waiting)

    def keep(self, handle):
        """Keep what it would have done now."""
        self._waiting.append(handle)


class Ready(collections.deque):
    """What an event loop does next, as it keeps it: passes over what belongs to a process that is stopped."""

    def popleft(self):
        handle = super().popleft()
        process = handle._context.get(_PROCESS)
        if process is None or not process.stopped or handle._cancelled:
            return handle
        process.keep(handle)
        nothing = asyncio.Handle(_nothing, (), handle._loop, handle._context)
        nothing._cancelled = True
        return nothing


def _nothing():
    return
