"""Releases of an app: see and compare them, go back to one; and what else is done to a rollout while it goes on."""

from typing import Annotated

import msgspec

from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.errors import (
    ConflictError,
    ImageMissingError,
    InvalidManifestError,
    InvalidRequestError,
    NodeUnavailableError,
    NotFoundError,
    PlanStaleError,
    PolicyDeniedError,
)
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import AppView, DeployResult, Page
from pilothouse.model.objects import App
from pilothouse.model.release import Release, release_id
from pilothouse.model.release_api import ReleaseDiff, ReleaseView, RestartRequest, RollbackRequest
from pilothouse.server import rollouts, views
from pilothouse.server.api.route import Call, NoQuery, Paged, Query, Route
from pilothouse.server.deploy.pause import pause, resume
from pilothouse.server.deploy.pipeline import Caller
from pilothouse.server.deploy.releases import difference
from pilothouse.server.deploy.restart import restart
from pilothouse.server.deploy.rollback import roll_back
from pilothouse.store.interface import ReadTx


class DiffQuery(Query, frozen=True, kw_only=True):
    """What a release is compared with."""

    with_: Annotated[int, msgspec.Meta(ge=1, description="The other one; without it, the one before")] | None = (
        msgspec.field(name="with", default=None)
    )


async def list_releases(call: Call[Paged, None]) -> Page[ReleaseView]:
    """Return the releases of an app that are kept, newest first."""
    app, now = call.path["app"], call.context.clock.now()
    before = _number(call.query.after) if call.query.after else None
    limit = call.query.limit

    def read(tx: ReadTx) -> Page[ReleaseView]:
        every = _releases(tx, app)[::-1]
        left = [release for release in every if before is None or release.number < before]
        items = tuple(_view(tx, release, every, now) for release in left[:limit])
        return Page(items=items, next=str(items[-1].number) if len(left) > limit else None)

    return await call.context.store.view(read)


async def read_release(call: Call[NoQuery, None]) -> ReleaseView:
    """Return one release."""
    app, number, now = call.path["app"], _number(call.path["number"]), call.context.clock.now()

    def read(tx: ReadTx) -> ReleaseView:
        every = _releases(tx, app)
        return _view(tx, _one(every, app, number), every, now)

    return await call.context.store.view(read)


async def diff_releases(call: Call[DiffQuery, None]) -> ReleaseDiff:
    """Return what differs between two releases, field by field."""
    app, number, other = call.path["app"], _number(call.path["number"]), call.query.with_

    def read(tx: ReadTx) -> ReleaseDiff:
        every = _releases(tx, app)
        after = _one(every, app, number)
        earlier = [release for release in every if release.number < number]
        before = _one(every, app, other) if other is not None else earlier[-1] if earlier else None
        changes = difference(before, after)
        return ReleaseDiff(app=app, before=before.number if before else 0, after=number, changes=changes)

    return await call.context.store.view(read)


async def post_rollback(call: Call[NoQuery, RollbackRequest]) -> DeployResult:
    """Make an earlier release what runs, as a new one that repeats it."""
    return await roll_back(call.context, _caller(call), call.path["app"], call.body)


async def post_restart(call: Call[NoQuery, RestartRequest]) -> DeployResult:
    """Have the tasks of services replaced as they are."""
    return await restart(call.context, _caller(call), call.path["app"], call.body)


async def post_pause(call: Call[NoQuery, None]) -> AppView:
    """Have no further task replaced."""
    await pause(call.context, _caller(call), call.path["app"])
    return await _app(call)


async def post_resume(call: Call[NoQuery, None]) -> AppView:
    """Let a rollout go on that was paused or failed."""
    await resume(call.context, _caller(call), call.path["app"])
    return await _app(call)


def _caller(call: Call[NoQuery, RollbackRequest] | Call[NoQuery, RestartRequest] | Call[NoQuery, None]) -> Caller:
    return Caller(call.principal, call.request_id)


async def _app(call: Call[NoQuery, None]) -> AppView:
    name, now = call.path["app"], call.context.clock.now()
    found = await call.context.store.view(lambda tx: views.app_view(tx, name, now))
    if found is None:
        raise _missing(name)
    return found


def _releases(tx: ReadTx, app: str) -> list[Release]:
    """Return the releases of an app, oldest first."""
    if tx.get(App, app) is None:
        raise _missing(app)
    return sorted(tx.find(Release, app=app), key=lambda release: release.number)


def _view(tx: ReadTx, release: Release, every: list[Release], now: float) -> ReleaseView:
    app = tx.get(App, release.app)
    if app is not None and app.revision == release.number:
        newest = rollouts.newest_release(tx, Scenes(tx), app, now)
        return newest or rollouts.release_view(release)
    undone_by = next((other.number for other in every if other.undoes == release.number), 0)
    return rollouts.release_view(release, rolled_back_by=undone_by)


def _one(every: list[Release], app: str, number: int) -> Release:
    for release in every:
        if release.number == number:
            return release
    kept = f"; releases {every[0].number} to {every[-1].number} are kept" if every else ""
    raise NotFoundError(f"{app} has no release {number}{kept}")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(release_id("", 0)):
        raise InvalidRequestError(f"{text[:80]!r} cannot be the number of a release; write it as digits, from 1")
    return int(text)


def _missing(app: str) -> NotFoundError:
    return NotFoundError(f"there is no app called {app[:80]!r}; 'pilothouse ps' lists them")


ROUTES = (
    Route(
        method="GET",
        path="/v1/apps/{app}/releases",
        name="releases.list",
        summary="The releases of an app that are kept, newest first",
        permission=Permission.APP_READ,
        handler=list_releases,
        query=Paged,
        answer=Page[ReleaseView],
        errors=(NotFoundError,),
    ),
    Route(
        method="GET",
        path="/v1/apps/{app}/releases/{number}",
        name="releases.read",
        summary="One release, with the evidence and verdicts; the newest one with how far each service is",
        permission=Permission.APP_READ,
        handler=read_release,
        answer=ReleaseView,
        errors=(NotFoundError,),
    ),
    Route(
        method="GET",
        path="/v1/apps/{app}/releases/{number}/diff",
        name="releases.diff",
        summary="What differs between a release and the one before it, or another one",
        permission=Permission.APP_READ,
        handler=diff_releases,
        query=DiffQuery,
        answer=ReleaseDiff,
        errors=(NotFoundError,),
    ),
    Route(
        method="POST",
        path="/v1/apps/{app}/rollback",
        name="releases.rollback",
        summary="Make an earlier release what runs, as a new release that repeats it",
        permission=Permission.APP_WRITE,
        handler=post_rollback,
        body=RollbackRequest,
        answer=DeployResult,
        errors=(
            NotFoundError,
            PlanStaleError,
            InvalidManifestError,
            PolicyDeniedError,
            ImageMissingError,
            NodeUnavailableError,
            ConflictError,
        ),
    ),
    Route(
        method="POST",
        path="/v1/apps/{app}/restart",
        name="releases.restart",
        summary="Have the tasks of an app, or of some of its services, replaced as they are; one release",
        permission=Permission.APP_WRITE,
        handler=post_restart,
        body=RestartRequest,
        answer=DeployResult,
        errors=(NotFoundError, ConflictError),
    ),
    Route(
        method="POST",
        path="/v1/apps/{app}/pause",
        name="releases.pause",
        summary="Have no further task replaced; what dies is made anew",
        permission=Permission.APP_WRITE,
        handler=post_pause,
        answer=AppView,
        errors=(NotFoundError, ConflictError),
    ),
    Route(
        method="POST",
        path="/v1/apps/{app}/resume",
        name="releases.resume",
        summary="Let a rollout go on that was paused or failed; what failed before does not count any more",
        permission=Permission.APP_WRITE,
        handler=post_resume,
        answer=AppView,
        errors=(NotFoundError, ConflictError),
    ),
)
