"""What the server is, and that it answers."""

import os

import pilothouse
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import Info
from pilothouse.model.base import Value
from pilothouse.model.node import Node
from pilothouse.model.objects import App, Task
from pilothouse.server.api.context import Context
from pilothouse.server.api.route import Call, NoQuery, Route
from pilothouse.store.interface import ReadTx


class Healthy(Value, frozen=True, kw_only=True):
    """The server answers, and so does its store."""

    ok: bool = True


async def healthz(call: Call[NoQuery, None]) -> Healthy:
    """Answer after a read of the store."""
    await call.context.store.view(lambda tx: tx.revision)
    return Healthy()


async def info(call: Call[NoQuery, None]) -> Info:
    """Return what the server is."""
    return await call.context.store.view(lambda tx: _info(tx, call.context))


def _info(tx: ReadTx, context: Context) -> Info:
    nodes = tx.find(Node)
    first = nodes[0] if nodes else Node(id="")
    return Info(
        version=pilothouse.__version__,
        pid=os.getpid(),
        started_at=context.started_at,
        node_id=first.id,
        engine=first.description.engine,
        store=context.store_name,
        revision=tx.revision,
        apps=len(tx.find(App)),
        tasks=sum(1 for task in tx.find(Task) if not task.state.terminal),
        data_directory=str(context.data_directory or ""),
    )


ROUTES = (
    Route(
        method="GET",
        path="/healthz",
        name="health.read",
        summary="Whether the server and its store answer",
        permission=Permission.PUBLIC,
        anonymous=True,
        handler=healthz,
        answer=Healthy,
    ),
    Route(
        method="GET",
        path="/v1/info",
        name="info.read",
        summary="What the server is",
        permission=Permission.SERVER_READ,
        handler=info,
        answer=Info,
    ),
)
