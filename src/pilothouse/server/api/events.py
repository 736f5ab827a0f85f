"""What happened: the kept events, and events as they happen."""

from typing import Annotated

import msgspec

from pilothouse.errors import InvalidRequestError
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import EventView, Page
from pilothouse.server.api import sse
from pilothouse.server.api.route import EVENT_STREAM, AppPaged, Call, Query, Route, Stream, Write
from pilothouse.server.fan import Watcher
from pilothouse.server.history import events_of
from pilothouse.store.interface import Store

BATCH = 500
_Revision = Annotated[int, msgspec.Meta(ge=0, le=2**62, description="Only events of commits after this revision")]


class EventsQuery(AppPaged, frozen=True, kw_only=True):
    """Which of the kept events are wanted."""

    since: _Revision = 0


class EventsWatch(Query, frozen=True, kw_only=True):
    """Which events are wanted as they happen; without *since* only those that are yet to come."""

    since: _Revision | None = None
    app: Annotated[str, msgspec.Meta(max_length=63, description="Only of this app")] = ""


async def list_events(call: Call[EventsQuery, None]) -> Page[EventView]:
    """Return kept events, oldest first."""
    asked = call.query
    revision, index = _cursor(asked.after) if asked.after else (asked.since + 1, -1)
    found: list[EventView] = []
    since = max(asked.since, revision - 1)
    while len(found) <= asked.limit:
        batch, since = await _after(call.context.store, since, asked.app)
        if batch is None:
            break
        found += [one for one in batch if (one.revision, one.index) > (revision, index)]
    items = tuple(found[: asked.limit])
    more = len(found) > len(items)
    return Page(items=items, next=f"{items[-1].revision}.{items[-1].index}" if more else None)


async def watch_events(call: Call[EventsWatch, None]) -> Stream:
    """Return events as they happen, those after the revision that was named first."""
    store, asked = call.context.store, call.query
    since = await store.view(lambda tx: tx.revision) if asked.since is None else asked.since

    fan, commits = call.context.events, call.context.commits

    async def run(write: Write) -> None:
        seen = since
        # Headers at once, so that the reader knows it is connected before anything happens.
        await write(sse.KEEP_ALIVE)
        watcher = Watcher(asked.app, write.at_once)
        try:
            while True:
                while missed := await store.history(seen, BATCH):
                    for text in fan.told.texts(missed, asked.app):
                        await write(text)
                    seen = missed[-1].revision
                fan.step_in(commits, watcher, seen)
                while not await watcher.out_of_step(sse.KEEP_ALIVE_SECONDS):
                    await write(sse.KEEP_ALIVE)
                seen = watcher.seen
        finally:
            fan.leave(watcher)

    return Stream(EVENT_STREAM, run)


async def _after(store: Store, since: int, app: str) -> tuple[list[EventView] | None, int]:
    """Return the events of the next commits after *since* and the last revision looked at; None at the end."""
    commits = await store.history(since, BATCH)
    if not commits:
        return None, since
    found = [one for commit in commits for one in events_of(commit) if app in {"", one.app}]
    return found, commits[-1].revision


def _cursor(text: str) -> tuple[int, int]:
    revision, _, index = text.partition(".")
    if not (revision.isdecimal() and index.isdecimal() and revision.isascii() and index.isascii() and len(text) < 30):
        raise InvalidRequestError(f"{text[:80]!r} is no place in history; give the `next` of the page before")
    return int(revision), int(index)


ROUTES = (
    Route(
        method="GET",
        path="/v1/events",
        name="events.list",
        summary="What happened, as far as it is kept, oldest first",
        permission=Permission.APP_READ,
        handler=list_events,
        query=EventsQuery,
        answer=Page[EventView],
    ),
    Route(
        method="GET",
        path="/v1/events/watch",
        name="events.watch",
        summary='What happens, as it happens: event "event"',
        permission=Permission.APP_READ,
        handler=watch_events,
        query=EventsWatch,
        answer=EventView,
        streams=EVENT_STREAM,
    ),
)
