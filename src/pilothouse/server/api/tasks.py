"""Tasks, as `ps` shows them."""

from typing import Annotated

import msgspec

from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import Page, TaskView
from pilothouse.server import views
from pilothouse.server.api.paging import page_by
from pilothouse.server.api.route import AppPaged, Call, Route


class TaskQuery(AppPaged, frozen=True, kw_only=True):
    """Which tasks are wanted."""

    service: Annotated[str, msgspec.Meta(max_length=128, description="Only of this service")] = ""
    all: Annotated[bool, msgspec.Meta(description="Dead ones too")] = False


async def list_tasks(call: Call[TaskQuery, None]) -> Page[TaskView]:
    """Return tasks by app, service and slot."""
    asked = call.query
    found = await call.context.store.view(lambda tx: views.task_views(tx, asked.app, asked.service, dead=asked.all))
    return page_by(found, lambda task: task.id, asked)


ROUTES = (
    Route(
        method="GET",
        path="/v1/tasks",
        name="tasks.list",
        summary="Tasks by app, service and slot",
        permission=Permission.APP_READ,
        handler=list_tasks,
        query=TaskQuery,
        answer=Page[TaskView],
    ),
)
