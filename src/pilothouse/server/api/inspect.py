"""One stored object, whole, without contents of files and values of variables."""

from pilothouse.errors import NotFoundError
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.base import Object
from pilothouse.model.kinds import KINDS
from pilothouse.model.objects import AuditRecord, Task
from pilothouse.server.api.hiding import hidden
from pilothouse.server.api.route import Call, NoQuery, Route

BY_NAME: dict[str, type[Object]] = {kind.__name__.lower(): kind for kind in KINDS if kind is not AuditRecord}


async def inspect(call: Call[NoQuery, None]) -> Object:
    """Return one object.

    Raises:
        NotFoundError: There is no such kind or object.
    """
    name = call.path["kind"]
    kind = BY_NAME.get(name)
    if kind is None:
        raise NotFoundError(f"there is no kind {name[:80]!r}; the kinds are: {', '.join(sorted(BY_NAME))}")
    return await _find(call, kind, call.path["id"])


async def task(call: Call[NoQuery, None]) -> Object:
    """Return one task."""
    return await _find(call, Task, call.path["task"])


async def _find(call: Call[NoQuery, None], kind: type[Object], id: str) -> Object:
    found = await call.context.store.view(lambda tx: tx.get(kind, id))
    if found is None:
        raise NotFoundError(f"there is no {kind.__name__.lower()} {id[:200]!r}")
    return hidden(found)


ROUTES = (
    Route(
        method="GET",
        path="/v1/inspect/{kind}/{id}",
        name="objects.inspect",
        summary="One stored object, whole; an id with a slash (APP/NAME) is written with it",
        permission=Permission.APP_READ,
        handler=inspect,
        answer=Object,
        errors=(NotFoundError,),
    ),
    Route(
        method="GET",
        path="/v1/tasks/{task}",
        name="tasks.inspect",
        summary="One task, whole",
        permission=Permission.APP_READ,
        handler=task,
        answer=Task,
        errors=(NotFoundError,),
    ),
)
