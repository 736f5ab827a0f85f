"""The reaper's shell: notes which apps to look at and when dead tasks get too old, deletes what may go."""

from collections.abc import Iterable

from pilothouse.clock import Clock
from pilothouse.control.orchestrators.reaper import leftovers, next_expiry, unneeded
from pilothouse.model.cluster import Disruption
from pilothouse.model.objects import App, Config, Network, Secret, Service, Task, Volume
from pilothouse.model.release import Release, Traffic
from pilothouse.model.states import Writer
from pilothouse.model.wire import ResourceReport
from pilothouse.store.interface import Change, Commit, ReadTx, Store, WriteTx

_OF_APPS = (Task, Service, Network, Volume, Secret, Config, Release, Traffic, Disruption)
_KINDS: dict[str, type[Network] | type[Volume]] = {"network": Network, "volume": Volume}


class Reaper:
    """The apps in which something died or was removed, and the times at which something gets too old to be kept."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._apps: set[str] = set()
        self._wake: dict[str, float] = {}

    def survey(self, tx: ReadTx) -> None:
        self._apps.update(app.id for app in tx.find(App))
        self._apps.update(service.app for service in tx.find(Service))
        self._apps.update(request.app for request in tx.find(Disruption))

    def note(self, commit: Commit) -> bool:
        for change in commit.changes:
            obj = change.object
            if isinstance(obj, App):
                self._apps.add(obj.id)
            elif isinstance(obj, _OF_APPS) and _matters(change):
                self._apps.add(obj.app)
        return bool(self._apps)

    async def act(self) -> float | None:
        """Delete what may go in every app that was noted or is due, and return when the next one is due."""
        now = self._clock.now()
        apps = self._apps | {app for app, at in self._wake.items() if at <= now}
        self._apps = set()
        for app in sorted(apps):
            await self._reap(app, now)
        return min(self._wake.values(), default=None)

    async def _reap(self, app: str, now: float) -> None:
        if await self._store.view(lambda tx: leftovers(tx, app, now)):
            await self._store.update(Writer.REAPER, lambda tx: _delete(tx, app, now))
        self._wake.pop(app, None)
        if (at := await self._store.view(lambda tx: next_expiry(tx, app, now))) is not None:
            self._wake[app] = at


def forget_gone(tx: WriteTx, reports: Iterable[ResourceReport]) -> None:
    """Delete the networks and volumes a node reports gone, if they had to go; *tx* is the reaper's."""
    for report in reports:
        if (kind := _KINDS.get(report.kind)) is not None and (found := unneeded(tx, kind, report.id)) is not None:
            tx.delete(found)


def _matters(change: Change) -> bool:
    """Whether something that belongs to an app changed so that something may go."""
    obj = change.object
    if isinstance(obj, Task):
        return obj.state.terminal
    if isinstance(obj, Traffic):
        return change.before is None
    return isinstance(obj, (Release, Disruption)) or bool(getattr(obj, "removing", False))


def _delete(tx: WriteTx, app: str, now: float) -> None:
    for obj in leftovers(tx, app, now):
        tx.delete(obj)
