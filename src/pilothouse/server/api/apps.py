"""Apps: deploy one, see them, watch one converge, take one down."""

from typing import Annotated

import msgspec

from pilothouse.errors import (
    ImageMissingError,
    InvalidManifestError,
    InvalidRequestError,
    NodeUnavailableError,
    NotFoundError,
    PlanStaleError,
    PolicyDeniedError,
)
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import AppView, DeployRequest, DeployResult, Page
from pilothouse.model.base import Object
from pilothouse.model.objects import App, Task
from pilothouse.model.release_api import PlanView
from pilothouse.server import views
from pilothouse.server.api import sse
from pilothouse.server.api.context import Context
from pilothouse.server.api.paging import page_by
from pilothouse.server.api.route import EVENT_STREAM, KIB, Call, NoQuery, Paged, Query, Route, Stream, Write
from pilothouse.server.aside import reckon
from pilothouse.server.deploy.pipeline import Caller, deploy, take_down
from pilothouse.server.deploy.preview import preview
from pilothouse.store.interface import Commit

MAX_DEPLOY = 16 * 1024 * KIB


class DownQuery(Query, frozen=True, kw_only=True):
    """How much goes with an app."""

    volumes: Annotated[bool, msgspec.Meta(description="Its named volumes go too, with everything in them")] = False


async def put_app(call: Call[NoQuery, DeployRequest]) -> DeployResult:
    """Deploy an app, whole or not at all."""
    _same_name(call)
    return await deploy(call.context, Caller(call.principal, call.request_id), call.body)


async def plan_app(call: Call[NoQuery, DeployRequest]) -> PlanView:
    """Return what deploying an app would do; what would be refused is part of the answer."""
    _same_name(call)
    return await preview(call.context, Caller(call.principal, call.request_id), call.body)


async def list_apps(call: Call[Paged, None]) -> Page[AppView]:
    """Return the apps, ordered by name."""
    now = call.context.clock.now()
    found = await reckon(call.context.store, lambda tx: views.app_views(tx, now))
    return page_by(found, lambda app: app.name, call.query)


_REST_SECONDS = 1.0
"""The longest rest between two looks for one watcher."""


async def read_app(call: Call[NoQuery, None]) -> AppView:
    """Return one app."""
    return await _view(call, call.path["app"])


async def delete_app(call: Call[DownQuery, None]) -> AppView:
    """Take an app down; what goes is stopped in its own time."""
    name = call.path["app"]
    caller = Caller(call.principal, call.request_id)
    await take_down(call.context, caller, name, volumes=call.query.volumes)
    found = await _look(call.context, name)
    # An app of which nothing runs may be gone before it can be looked at.
    return found or AppView(
        name=name,
        revision=0,
        deployed_at=0.0,
        deployed_by="",
        removing=True,
        converged=True,
        failed=False,
        sentence="gone",
    )


async def watch_app(call: Call[NoQuery, None]) -> Stream:
    """Return the app's states as they change: "app" at once and after every change, "gone" at the end."""
    name = call.path["app"]
    await _view(call, name)

    async def run(write: Write) -> None:
        clock = call.context.clock
        waiter = call.context.commits.waiter(lambda commit: concerns(commit, name))
        try:
            last = None
            while True:
                if not await waiter.changed(sse.KEEP_ALIVE_SECONDS):
                    await write(sse.KEEP_ALIVE)
                    continue
                begun = clock.monotonic()
                found = await _look(call.context, name)
                if found is None:
                    await write(sse.message("gone", {"name": name}))
                    return
                if found != last:
                    await write(sse.message("app", found))
                    last = found
                # A large app that changes all the time is looked at less often: others have four times as long.
                await clock.sleep(min(_REST_SECONDS, 4 * (clock.monotonic() - begun)))
        finally:
            call.context.commits.forget(waiter)

    return Stream(EVENT_STREAM, run)


def concerns(commit: Commit, app: str) -> bool:
    """Whether a commit changed anything of *app*."""
    return any(app_of(change.object) == app for change in commit.changes)


def app_of(obj: Object) -> str:
    """Return the app an object belongs to, or ""."""
    return obj.id if isinstance(obj, App) else str(getattr(obj, "app", ""))


def _same_name(call: Call[NoQuery, DeployRequest]) -> None:
    """Accept a request whose path and spec name the same app."""
    name, written = call.path["app"], call.body.spec.name
    if name != written:
        raise InvalidRequestError(f"the path says {name[:80]!r} and the spec {written[:80]!r}; use one name")


async def _look(context: Context, name: str) -> AppView | None:
    now = context.clock.now()
    return await reckon(
        context.store, lambda tx: views.app_view(tx, name, now), size=lambda tx: len(tx.find(Task, app=name))
    )


async def _view(call: Call[NoQuery, None], name: str) -> AppView:
    found = await _look(call.context, name)
    if found is None:
        raise NotFoundError(f"there is no app called {name[:80]!r}; 'pilothouse ps' lists them")
    return found


ROUTES = (
    Route(
        method="PUT",
        path="/v1/apps/{app}",
        name="apps.deploy",
        summary="Deploy an app, whole or not at all",
        permission=Permission.APP_WRITE,
        handler=put_app,
        body=DeployRequest,
        answer=DeployResult,
        max_body=MAX_DEPLOY,
        errors=(InvalidManifestError, PolicyDeniedError, PlanStaleError, ImageMissingError, NodeUnavailableError),
    ),
    Route(
        method="POST",
        path="/v1/apps/{app}/plan",
        name="apps.plan",
        summary="What deploying an app would do, and what would be refused; nothing is changed",
        permission=Permission.APP_WRITE,
        handler=plan_app,
        body=DeployRequest,
        answer=PlanView,
        max_body=MAX_DEPLOY,
        errors=(NodeUnavailableError,),
    ),
    Route(
        method="GET",
        path="/v1/apps",
        name="apps.list",
        summary="The apps with their services counted",
        permission=Permission.APP_READ,
        handler=list_apps,
        query=Paged,
        answer=Page[AppView],
    ),
    Route(
        method="GET",
        path="/v1/apps/{app}",
        name="apps.read",
        summary="One app",
        permission=Permission.APP_READ,
        handler=read_app,
        answer=AppView,
        errors=(NotFoundError,),
    ),
    Route(
        method="DELETE",
        path="/v1/apps/{app}",
        name="apps.down",
        summary="Take an app down",
        permission=Permission.APP_WRITE,
        handler=delete_app,
        query=DownQuery,
        answer=AppView,
        status=202,
        errors=(NotFoundError,),
    ),
    Route(
        method="GET",
        path="/v1/apps/{app}/watch",
        name="apps.watch",
        summary='The app as it changes: event "app" at once and after each change, "gone" when it is no more',
        permission=Permission.APP_READ,
        handler=watch_app,
        answer=AppView,
        streams=EVENT_STREAM,
        errors=(NotFoundError,),
    ),
)
