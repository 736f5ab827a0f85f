"""The releaser's shells: one writes what becomes of releases, the other has the API restore what was before.

Two loops, because a restoration may take as long as a deployment, and the release of another app must not wait for it.
Both only repeat what the store calls for; a process that dies at any point finds the same picture when it is back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from pilothouse.clock import Clock
from pilothouse.errors import ConflictError, UnavailableError, UserError
from pilothouse.log import event
from pilothouse.model.objects import App, Service
from pilothouse.model.release import Release, ReleaseState, Traffic
from pilothouse.model.states import Writer
from pilothouse.pulse import pulse
from pilothouse.release.decide import Decision, Restoration, decide, refused, restoration
from pilothouse.release.scene import scene
from pilothouse.store.interface import Change, Commit, ReadTx, Store, WriteTx
from pilothouse.supervise import Loop

Restore = Callable[[str, int, int, str], Awaitable[int | None]]
"""The API's door: `(app, failed, to, reason)` makes a release that repeats *to*, if *failed* still is the newest.

Returns its number, or None if the app has moved on. Raises UserError if it cannot be done as things are.
"""

RETRY_SECONDS = 2.0
"""Between two tries of a restoration that something outside stands in the way of."""


class Releaser:
    """The apps to look at, and when apps asked to be looked at again."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._dirty: set[str] = set()
        self._wake: dict[str, float] = {}

    def survey(self, tx: ReadTx) -> None:
        self._dirty.update(app.id for app in tx.find(App))

    def note(self, commit: Commit) -> bool:
        self._dirty.update(_apps(commit.changes))
        return bool(self._dirty)

    async def act(self) -> float | None:
        """Decide for every app that is dirty or due, and return when the next one is due."""
        now = self._clock.now()
        dirty = self._dirty | {app for app, at in self._wake.items() if at <= now}
        self._dirty = set()
        for app in sorted(dirty):
            await self._settle(app, now)
        return min(self._wake.values(), default=None)

    async def _settle(self, app: str, now: float) -> None:
        found = await self._store.view(lambda tx: _look(tx, app, now))
        if found.changes:
            found = await self._store.update(Writer.RELEASER, lambda tx: _settle(tx, app, now))
            _tell(found)
        self._wake.pop(app, None)
        if found.wake_at is not None:
            self._wake[app] = found.wake_at


class Restorer:
    """The apps whose newest release may have to be undone."""

    def __init__(self, store: Store, clock: Clock, restore: Restore) -> None:
        self._store = store
        self._clock = clock
        self._restore = restore
        self._dirty: set[str] = set()

    def survey(self, tx: ReadTx) -> None:
        self._dirty.update(app.id for app in tx.find(App))

    def note(self, commit: Commit) -> bool:
        found = [change.object for change in commit.changes]
        going_back = (obj for obj in found if isinstance(obj, Release) and obj.state is ReleaseState.ROLLING_BACK)
        self._dirty.update(release.app for release in going_back)
        return bool(self._dirty)

    async def act(self) -> float | None:
        """Have restored what must be, side by side; return when to try again what did not work."""
        todo, self._dirty = sorted(self._dirty), set()
        wanted = await self._store.view(lambda tx: [found for app in todo if (found := _undo(tx, app)) is not None])
        async with asyncio.TaskGroup() as group:
            tries = [group.create_task(self._try(each), name=f"restore.{each.app}") for each in wanted]
        self._dirty.update(each.app for each, done in zip(wanted, tries, strict=True) if not done.result())
        return self._clock.now() + RETRY_SECONDS if self._dirty else None

    async def _try(self, wanted: Restoration) -> bool:
        """Return whether there is nothing left to try."""
        try:
            made = await self._restore(wanted.app, wanted.failed, wanted.to, wanted.reason)
        except (UnavailableError, ConflictError) as error:
            event("warning", "release.restore_delayed", app=wanted.app, release=wanted.failed, error=str(error))
            return False
        except UserError as error:
            why = str(error)
            await self._store.update(Writer.RELEASER, lambda tx: _refuse(tx, wanted, why, self._clock.now()))
            event("error", "release.restore_refused", app=wanted.app, release=wanted.failed, error=why)
            return True
        event("info", "release.restored", app=wanted.app, release=wanted.failed, to=wanted.to, by=made)
        return True


def loops(store: Store, clock: Clock, restore: Restore) -> Mapping[str, Loop]:
    """Return the loops of this room, for `supervise.run_term`."""
    return {
        "releaser": lambda: pulse("releaser", store, clock, Releaser(store, clock)),
        "restorer": lambda: pulse("restorer", store, clock, Restorer(store, clock, restore)),
    }


def _apps(changes: Iterable[Change]) -> Iterable[str]:
    """Yield the apps for whose releases *changes* may matter."""
    for change in changes:
        obj = change.object
        if isinstance(obj, App):
            yield obj.id
        elif isinstance(obj, (Release, Traffic)) or (isinstance(obj, Service) and _matters(change)):
            yield obj.app


def _matters(change: Change) -> bool:
    """Whether a service's change is more than a notice."""
    before, after = change.before, change.after
    if not isinstance(before, Service) or not isinstance(after, Service):
        return True
    return before.rollout != after.rollout or before.removing != after.removing


def _look(tx: ReadTx, app: str, now: float) -> Decision:
    seen = scene(tx, app)
    return Decision() if seen is None else decide(seen, now)


def _settle(tx: WriteTx, app: str, now: float) -> Decision:
    found = _look(tx, app, now)
    for release in found.changes:
        tx.put(release)
    return found


def _undo(tx: ReadTx, app: str) -> Restoration | None:
    seen = scene(tx, app)
    return None if seen is None else restoration(seen)


def _refuse(tx: WriteTx, wanted: Restoration, why: str, now: float) -> None:
    """Write that it failed for good, if it is still what the store calls for."""
    seen = scene(tx, wanted.app)
    if seen is not None and seen.newest is not None and restoration(seen) == wanted:
        tx.put(refused(seen.newest, why, now))


def _tell(found: Decision) -> None:
    for release in found.changes:
        key = {"app": release.app, "release": release.number, "state": release.state.value}
        event("info", "release.changed", **key, sentence=release.sentence)
