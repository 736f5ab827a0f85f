"""Who leads among the managers of a simulated cluster: a lease somebody keeps, and an epoch that every commit shows.

Keeps `store.interface.Election` with the times of the one on etcd. As there, nothing is safe by the lease: a manager
that was stopped, or is cut off from the store, believes to lead long after another one does.
"""

import asyncio
import contextlib

from pilothouse.errors import StoreUnavailableError, TermOverError
from pilothouse.store.etcd.election import DOUBT_SECONDS, HUNG_SECONDS, LEASE_SECONDS
from pilothouse.store.interface import Leader
from pilothouse.store.terms import TermStore

RENEW_SECONDS = 0.5


class Quorum:
    """What the members of the store agree on.

    Attributes:
        epoch: Of the newest term.
        leader: Who began it, None once it was resigned.
        until: When its lease ends.
        refused: How many commits of terms that were over were refused.
        shown: The epoch that the commit which is being made has shown, None if it showed none.
    """

    def __init__(self):
        self.epoch = 0
        self.leader = None
        self.until = 0.0
        self.refused = 0
        self.shown = None

    @property
    def led(self):
        return self.leader is not None and asyncio.get_running_loop().time() < self.until


class SimTerm:
    """Keeps `store.interface.Leadership`."""

    def __init__(self, quorum, name, store, clock):
        quorum.epoch += 1
        quorum.leader = name
        quorum.until = asyncio.get_running_loop().time() + LEASE_SECONDS
        self.epoch = quorum.epoch
        self._quorum = quorum
        self._own = store
        self._clock = clock
        self._shown = clock.boottime()
        self._over = asyncio.Event()
        self.store = TermStore(store, self._check)

    def _check(self):
        if self._over.is_set() or self.epoch != self._quorum.epoch:
            self._quorum.refused += 1
            self._over.set()
            raise TermOverError(f"term {self.epoch} is over; nothing was written")
        self._quorum.shown = self.epoch

    async def over(self):
        await self._over.wait()

    def shown(self):
        return not self._over.is_set() and self._clock.boottime() - self._shown < DOUBT_SECONDS

    async def keep(self):
        """Renew the lease until the term is over."""
        while not self._over.is_set():
            asked = self._clock.boottime()
            with contextlib.suppress(StoreUnavailableError):
                await self._own.reach()
                if not self._quorum.led or self._quorum.epoch != self.epoch:
                    self._over.set()
                    return
                self._quorum.until = asyncio.get_running_loop().time() + LEASE_SECONDS
                self._shown = asked
            if self._clock.boottime() - self._shown > DOUBT_SECONDS or self._own.failing_seconds > HUNG_SECONDS:
                self._over.set()
            await self._clock.sleep(RENEW_SECONDS)

    async def resign(self):
        self._over.set()
        if not self._own.dead and not self._own.cut and self._quorum.epoch == self.epoch:
            self._quorum.leader = None


class SimElection:
    """Keeps `store.interface.Election` for one manager."""

    def __init__(self, quorum, store, clock, ids):
        self._quorum = quorum
        self._store = store
        self._clock = clock
        self._ids = ids

    async def lead(self, name):
        while True:
            with contextlib.suppress(StoreUnavailableError):
                await self._store.reach()
                if not self._quorum.led:
                    return SimTerm(self._quorum, name, self._store, self._clock)
            await self._clock.sleep(RENEW_SECONDS * (0.5 + self._ids.fraction()))

    async def leader(self):
        await self._store.reach()
        return Leader(self._quorum.leader, self._quorum.epoch) if self._quorum.led else None
