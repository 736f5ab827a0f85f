"""The one way a loop over the store runs: look at everything once, then again whenever a commit or a time calls for it.

An event only says "look again". The first pass after a start is the same code as every other, and commits that arrive
during a pass are worked off together in the next. A store that is full, does not answer or cut the watch off is waited
for; everything else ends the loop, and with it the term.
"""

import asyncio
from typing import Protocol

from pilothouse.clock import Clock
from pilothouse.errors import ConflictError, UnavailableError
from pilothouse.log import event
from pilothouse.store.interface import Commit, ReadTx, Store

PAUSE_SECONDS = 1.0
"""Between a store that does not answer and the next try."""


REST_SECONDS = 0.25
"""The longest rest after a pass; it is as long as the pass took, so a short one costs nothing."""


class Reconciler(Protocol):
    """What differs between loops. Notes are kept until the next pass; they are hints, never facts."""

    def survey(self, tx: ReadTx) -> None:
        """Note everything there is to look at."""
        ...

    def note(self, commit: Commit) -> bool:
        """Note what *commit* calls to look at, and tell whether there is anything."""
        ...

    async def act(self) -> float | None:
        """Look at what was noted, change what must change, and return when to look again in any case."""
        ...


async def pulse(
    name: str, store: Store, clock: Clock, reconciler: Reconciler, wake: asyncio.Event | None = None
) -> None:
    """Run *reconciler* for ever; a watch that fell behind starts over from a snapshot.

    Args:
        name: Of the loop, for the log.
        store: Where commits come from.
        clock: What times mean.
        reconciler: What to do.
        wake: Set by others to have a pass made.
    """
    woken = wake or asyncio.Event()
    while True:
        try:
            async with asyncio.TaskGroup() as group:
                since = await store.view(lambda tx: _survey(reconciler, tx))
                woken.set()
                group.create_task(_listen(store, since, reconciler, woken), name=f"{name}.watch")
                group.create_task(_work(clock, reconciler, woken), name=f"{name}.work")
        except* (UnavailableError, ConflictError) as group_error:
            # Nothing is lost by starting over: the survey notes everything there is.
            event("warning", "loop.restarted", loop=name, error=repr(group_error.exceptions[0]))
            await clock.sleep(PAUSE_SECONDS)


def _survey(reconciler: Reconciler, tx: ReadTx) -> int:
    reconciler.survey(tx)
    return tx.revision


async def _listen(store: Store, since: int, reconciler: Reconciler, woken: asyncio.Event) -> None:
    async for commit in store.watch(since):
        if reconciler.note(commit):
            woken.set()


async def _work(clock: Clock, reconciler: Reconciler, woken: asyncio.Event) -> None:
    again: float | None = None
    while True:
        await _until(clock, woken, again)
        woken.clear()
        begun = clock.monotonic()
        again = await reconciler.act()
        # What comes in a storm of commits is worked off together, and others get as much time as the pass took.
        await clock.sleep(min(REST_SECONDS, clock.monotonic() - begun))


async def _until(clock: Clock, woken: asyncio.Event, at: float | None) -> None:
    """Return once *woken* is set or wall-clock time *at* has come."""
    if woken.is_set() or at is None:
        await woken.wait()
        return
    async with asyncio.TaskGroup() as group:
        racers = {group.create_task(clock.sleep(at - clock.now())), group.create_task(woken.wait())}
        await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        for racer in racers:
            racer.cancel()
