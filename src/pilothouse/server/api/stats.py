"""What running tasks use."""

import asyncio

from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import Page
from pilothouse.model.objects import Task
from pilothouse.model.wire import TaskUsage
from pilothouse.server.api.paging import page_by
from pilothouse.server.api.route import AppPaged, Call, Route


async def stats(call: Call[AppPaged, None]) -> Page[TaskUsage]:
    """Return one reading for each running task of the connected nodes."""
    nodes = call.context.nodes
    readings = await asyncio.gather(*(nodes.of(node_id).stats() for node_id in nodes.connected))
    tasks = await call.context.store.view(lambda tx: {t.id: t.app for t in tx.find(Task) if not t.state.terminal})
    found = (r for node in readings for r in node if r.task_id in tasks)
    wanted = sorted((r for r in found if call.query.app in {"", tasks[r.task_id]}), key=lambda r: r.task_id)
    return page_by(wanted, lambda r: r.task_id, call.query)


ROUTES = (
    Route(
        method="GET",
        path="/v1/stats",
        name="stats.list",
        summary="What running tasks use",
        permission=Permission.APP_READ,
        handler=stats,
        query=AppPaged,
        answer=Page[TaskUsage],
    ),
)
