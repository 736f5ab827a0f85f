"""Holds the rollout of an app up, and lets it go on. Neither is a release: what the app should be stays the same."""

from msgspec.structs import replace

from pilothouse.errors import ConflictError, NotFoundError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.model.objects import App
from pilothouse.model.release import Release, ReleaseState, release_id
from pilothouse.model.states import Writer
from pilothouse.server.api.context import Context
from pilothouse.server.deploy.pipeline import Caller
from pilothouse.store.interface import ReadTx, WriteTx


async def pause(context: Context, caller: Caller, app: str) -> None:
    """Have no further task of *app* replaced until somebody resumes or changes it; doing so again changes nothing.

    Raises:
        NotFoundError: There is no such app.
        ConflictError: It is being taken down, or its newest release is over, so nothing is being replaced.
    """
    now = context.clock.now()

    def write(tx: WriteTx) -> None:
        stored = _app(tx, app)
        newest = tx.get(Release, release_id(app, stored.revision))
        if stored.paused:
            return
        if newest is not None and newest.state.over:
            raise ConflictError(
                f"release {newest.number} of {app} is {newest.state.value}: nothing is being replaced, so there is "
                "nothing to pause"
            )
        tx.put(replace(stored, paused=True, paused_by=str(caller.principal)))
        record(tx, _entry(caller, "app.pause", app, f"release {stored.revision} is held up", now))

    await context.store.update(Writer.API, write)


async def resume(context: Context, caller: Caller, app: str) -> None:
    """Let the rollout of *app* go on, paused or failed; what failed before does not count any more.

    Nothing changes if its newest release is stable and not paused.

    Raises:
        NotFoundError: There is no such app.
        ConflictError: It is being taken down, or its newest release was rolled back or is being rolled back.
    """
    now = context.clock.now()

    def write(tx: WriteTx) -> None:
        stored = _app(tx, app)
        newest = tx.get(Release, release_id(app, stored.revision))
        state = newest.state if newest else ReleaseState.ROLLING
        if state in {ReleaseState.ROLLING_BACK, ReleaseState.ROLLED_BACK}:
            raise ConflictError(
                f"release {stored.revision} of {app} is {state.value}, so it cannot go on; deploy it again instead"
            )
        if state is ReleaseState.STABLE and not stored.paused:
            return
        tx.put(replace(stored, paused=False, paused_by="", resumed_at=now))
        record(tx, _entry(caller, "app.resume", app, f"release {stored.revision} goes on", now))

    await context.store.update(Writer.API, write)


def _app(tx: ReadTx, name: str) -> App:
    found = tx.get(App, name)
    if found is None:
        raise NotFoundError(f"there is no app called {name[:80]!r}; 'pilothouse ps' lists them")
    if found.removing:
        raise ConflictError(f"{name} is being taken down; deploy it to have it again")
    return found


def _entry(caller: Caller, action: str, app: str, summary: str, now: float) -> Entry:
    return Entry(
        at=now,
        principal=str(caller.principal),
        action=action,
        object=f"app/{app}",
        summary=summary,
        request_id=caller.request_id,
    )
