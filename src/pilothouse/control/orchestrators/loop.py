"""The orchestrator's shell: notes which services to look at, decides on a snapshot, writes what was decided."""

import functools

from pilothouse.clock import Clock
from pilothouse.control.orchestrators.passes import Found, affected, look, settle, transactions
from pilothouse.ids import Ids
from pilothouse.model.cluster import Disruption
from pilothouse.model.node import Node
from pilothouse.model.objects import App, Config, Secret, Service, Task
from pilothouse.model.release import Release
from pilothouse.model.states import Writer
from pilothouse.store.interface import Change, Commit, ReadTx, Store, WriteTx

BATCH = 10
"""Services looked at before everybody else has a turn."""

MOST_CHANGES = 250
"""Changes written in one transaction, about: bounds how long everybody else waits for it."""


class Orchestrator:
    """A dirty set of services, and the times at which services asked to be looked at again."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._dirty: set[str] = set()
        self._whole_apps: set[str] = set()
        self._globals = False
        self._wake: dict[str, float] = {}

    def survey(self, tx: ReadTx) -> None:
        self._dirty.update(service.id for service in tx.find(Service))

    def note(self, commit: Commit) -> bool:
        for change in commit.changes:
            self._note(change)
        return bool(self._dirty or self._whole_apps or self._globals)

    def _note(self, change: Change) -> None:
        obj = change.object
        if isinstance(obj, Task):
            self._dirty.add(obj.service_id)
        elif isinstance(obj, Disruption):
            self._dirty.add(f"{obj.app}/{obj.service}")
        elif isinstance(obj, App):
            self._whole_apps.add(obj.id)
        elif isinstance(obj, (Service, Secret, Config, Release)):
            self._whole_apps.add(obj.app)
        elif isinstance(obj, Node):
            self._globals = True

    async def act(self) -> float | None:
        """Decide for every service that is dirty or due, and return when the next one is due."""
        now = self._clock.now()
        dirty = self._dirty | {service_id for service_id, at in self._wake.items() if at <= now}
        apps, everywhere = self._whole_apps, self._globals
        self._dirty, self._whole_apps, self._globals = set(), set(), False
        todo = await self._store.view(lambda tx: affected(tx, dirty, apps, global_too=everywhere))
        for start in range(0, len(todo), BATCH):
            await self._settle(todo[start : start + BATCH], now)
        return min(self._wake.values(), default=None)

    async def _settle(self, batch: list[str], now: float) -> None:
        times = await self._store.view(lambda tx: look(tx, batch, now))
        for some in transactions(times, MOST_CHANGES):
            times |= await self._store.update(Writer.ORCHESTRATOR, functools.partial(self._write, some, now))
        await self._clock.sleep(0)
        for service_id in batch:
            self._wake.pop(service_id, None)
            if (at := times[service_id].wake_at) is not None:
                self._wake[service_id] = at

    def _write(self, service_ids: list[str], now: float, tx: WriteTx) -> dict[str, Found]:
        return settle(tx, service_ids, now, self._ids)
