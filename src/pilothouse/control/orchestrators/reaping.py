"""The reaper's shell: notes which apps to look at, deletes what may go."""

from collections.abc import Iterable

from pilothouse.control.orchestrators.reaper import leftovers, unneeded
from pilothouse.model.objects import App, Config, Network, Secret, Service, Task, Volume
from pilothouse.model.states import Writer
from pilothouse.model.wire import ResourceReport
from pilothouse.store.interface import Commit, ReadTx, Store, WriteTx

_KINDS: dict[str, type[Network] | type[Volume]] = {"network": Network, "volume": Volume}


class Reaper:
    """The apps in which something died or was removed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._apps: set[str] = set()

    def survey(self, tx: ReadTx) -> None:
        self._apps.update(app.id for app in tx.find(App))
        self._apps.update(service.app for service in tx.find(Service))

    def note(self, commit: Commit) -> bool:
        for change in commit.changes:
            obj = change.object
            if isinstance(obj, App) or (isinstance(obj, Task) and obj.state.terminal):
                self._apps.add(obj.id if isinstance(obj, App) else obj.app)
            elif isinstance(obj, (Service, Network, Volume, Secret, Config)) and obj.removing:
                self._apps.add(obj.app)
        return bool(self._apps)

    async def act(self) -> float | None:
        """Delete what may go in every app that was noted."""
        apps, self._apps = sorted(self._apps), set()
        for app in apps:
            await self._reap(app)
        return None

    async def _reap(self, app: str) -> None:
        if await self._store.view(lambda tx: leftovers(tx, app)):
            await self._store.update(Writer.REAPER, lambda tx: _delete(tx, app))


def forget_gone(tx: WriteTx, reports: Iterable[ResourceReport]) -> None:
    """Delete the networks and volumes a node reports gone, if they had to go; *tx* is the reaper's."""
    for report in reports:
        if (kind := _KINDS.get(report.kind)) is not None and (found := unneeded(tx, kind, report.id)) is not None:
            tx.delete(found)


def _delete(tx: WriteTx, app: str) -> None:
    for obj in leftovers(tx, app):
        tx.delete(obj)
