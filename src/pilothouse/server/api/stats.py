"""What running tasks use."""

import asyncio
from typing import Annotated

import msgspec

from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import Page
from pilothouse.model.objects import Task
from pilothouse.model.wire import TaskUsage
from pilothouse.server.api.route import Call, Query, Route


class StatsQuery(Query, frozen=True, kw_only=True):
    """Whose readings are wanted."""

    app: Annotated[str, msgspec.Meta(max_length=63, description="Only of this app")] = ""


async def stats(call: Call[StatsQuery, None]) -> Page[TaskUsage]:
    """Return one reading for each running task of the connected nodes."""
    nodes = call.context.nodes
    readings = await asyncio.gather(*(nodes.of(node_id).stats() for node_id in nodes.connected))
    tasks = await call.context.store.view(lambda tx: {t.id: t.app for t in tx.find(Task) if not t.state.terminal})
    found = (r for node in readings for r in node if r.task_id in tasks)
    items = tuple(r for r in found if call.query.app in {"", tasks[r.task_id]})
    return Page(items=items)


ROUTES = (
    Route(
        method="GET",
        path="/v1/stats",
        name="stats.list",
        summary="What running tasks use",
        permission=Permission.APP_READ,
        handler=stats,
        query=StatsQuery,
        answer=Page[TaskUsage],
    ),
)
