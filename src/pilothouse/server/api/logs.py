"""What tasks wrote: of a whole app merged by time, or of one task; dead tasks too, while their node keeps it."""

import asyncio
from collections.abc import Callable
from typing import Annotated

import msgspec

from pilothouse.errors import NodeUnavailableError, NotFoundError
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import LogEntry
from pilothouse.model.objects import App, Task
from pilothouse.model.wire import LogLine, LogQuery
from pilothouse.server.api.apps import concerns
from pilothouse.server.api.route import LINES, Call, Query, Route, Stream, Write
from pilothouse.server.merging import Merger
from pilothouse.store.interface import ReadTx

_Time = Annotated[float, msgspec.Meta(ge=0, le=1e12, description="Wall-clock seconds")]


class LogsQuery(Query, frozen=True, kw_only=True):
    """Which lines are wanted."""

    since: _Time | None = None
    until: _Time | None = None
    tail: Annotated[int, msgspec.Meta(ge=0, le=100_000, description="Of each task at most its newest lines")] | None = (
        None
    )
    follow: Annotated[bool, msgspec.Meta(description="Go on with new lines, also of tasks that are yet to come")] = (
        False
    )


class AppLogsQuery(LogsQuery, frozen=True, kw_only=True):
    """Which lines of an app are wanted."""

    services: Annotated[str, msgspec.Meta(max_length=2000, description='Only of these, as "a,b"')] = ""


async def app_logs(call: Call[AppLogsQuery, None]) -> Stream:
    """Return the lines of an app's tasks, merged by time."""
    app = call.path["app"]
    services = frozenset(name for name in call.query.services.split(",") if name)
    if not await call.context.store.view(lambda tx: _known(tx, app)):
        raise NotFoundError(f"there is no app called {app[:80]!r}; 'pilothouse ps' lists them")

    def tasks(tx: ReadTx) -> list[Task]:
        found = tx.find(Task, app=app)
        return [t for t in found if t.node_id and (not services or t.service in services)]

    async def run(write: Write) -> None:
        await _Reader(call, write, tasks).run(app)

    return Stream(LINES, run)


async def task_logs(call: Call[LogsQuery, None]) -> Stream:
    """Return the lines of one task."""
    task_id = call.path["task"]
    task = await call.context.store.view(lambda tx: tx.get(Task, task_id))
    if task is None:
        raise NotFoundError(f"there is no task {task_id[:80]!r}")
    node = call.context.nodes.of(task.node_id) if task.node_id else None

    async def run(write: Write) -> None:
        if node is not None:
            await write(b"")  # the answer begins now: who follows may wait long for the first line
            async for line in node.logs(query_of(call.query, task.id)):
                await write(encode(task, line))

    return Stream(LINES, run)


def query_of(asked: LogsQuery, task_id: str) -> LogQuery:
    """Return what a node is asked for one task."""
    return LogQuery(task_id=task_id, since=asked.since, until=asked.until, tail=asked.tail, follow=asked.follow)


def encode(task: Task, line: LogLine) -> bytes:
    """Return one line of the answer."""
    entry = LogEntry(
        task_id=task.id,
        service=task.service,
        slot=task.slot,
        at=line.at,
        stream=line.stream,
        text=line.text,
        step=task.step,
    )
    return msgspec.json.encode(entry) + b"\n"


def _known(tx: ReadTx, app: str) -> bool:
    return tx.get(App, app) is not None or bool(tx.find(Task, app=app))


Tasks = Callable[[ReadTx], list[Task]]


class _Reader:
    """One reader of an app's lines; while following it picks up tasks as they are placed."""

    def __init__(self, call: Call[AppLogsQuery, None], write: Write, tasks: Tasks) -> None:
        self._call = call
        self._write = write
        self._tasks = tasks
        self._seen: dict[str, Task] = {}
        self._merger = Merger(call.context.clock, patient=not call.query.follow)
        self._complete = False

    async def run(self, app: str) -> None:
        context = self._call.context
        waiter = context.commits.waiter(lambda commit: concerns(commit, app))
        try:
            async with asyncio.TaskGroup() as group:
                await self._open_new(group)
                await self._write(b"")  # the answer begins now: who follows may wait long for the first line
                self._complete = not self._call.query.follow
                group.create_task(self._merger.drain(self._out, lambda: self._complete))
                while self._call.query.follow:
                    await waiter.changed()
                    await self._open_new(group)
                    if not await context.store.view(lambda tx: _known(tx, app)):
                        self._complete = True
                        self._merger.look_again()
                        return
        finally:
            context.commits.forget(waiter)

    async def _open_new(self, group: asyncio.TaskGroup) -> None:
        for task in await self._call.context.store.view(self._tasks):
            if task.id not in self._seen:
                self._seen[task.id] = task
                lines = self._call.context.nodes.of(task.node_id).logs(query_of(self._call.query, task.id))
                group.create_task(self._merger.feed(task.id, lines))

    async def _out(self, line: LogLine) -> None:
        task = self._seen.get(line.task_id)
        if task is not None:
            await self._write(encode(task, line))


ROUTES = (
    Route(
        method="GET",
        path="/v1/apps/{app}/logs",
        name="apps.logs",
        summary="What an app's tasks wrote, merged by time",
        permission=Permission.LOGS_READ,
        handler=app_logs,
        query=AppLogsQuery,
        answer=LogEntry,
        streams=LINES,
        errors=(NotFoundError, NodeUnavailableError),
    ),
    Route(
        method="GET",
        path="/v1/tasks/{task}/logs",
        name="tasks.logs",
        summary="What one task wrote",
        permission=Permission.LOGS_READ,
        handler=task_logs,
        query=LogsQuery,
        answer=LogEntry,
        streams=LINES,
        errors=(NotFoundError, NodeUnavailableError),
    ),
)
