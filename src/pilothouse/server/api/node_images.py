"""The images on one machine: what is there, what may go, and having it removed."""

from pilothouse.errors import NodeUnavailableError, NotFoundError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.images import NodeImages, Reclaimed
from pilothouse.model.states import Writer
from pilothouse.server.api.route import Call, NoQuery, Route
from pilothouse.server.cluster import nodes
from pilothouse.store.interface import WriteTx


async def read(call: Call[NoQuery, None]) -> NodeImages:
    """Return the images of a machine, those that may be removed first."""
    await call.context.store.view(lambda tx: nodes.node_of(tx, call.path["node"]))
    return await call.context.nodes.of(call.path["node"]).list_images()


async def prune(call: Call[NoQuery, None]) -> Reclaimed:
    """Remove the images of a machine that nobody needs; on record before anything goes."""
    entry = Entry(
        at=call.context.clock.now(),
        principal=str(call.principal),
        action="node.prune",
        object=f"node/{call.path['node']}",
        summary="images that nobody needs are to be removed",
        request_id=call.request_id,
    )

    def write(tx: WriteTx) -> None:
        nodes.node_of(tx, call.path["node"])
        record(tx, entry)

    await call.context.store.view(lambda tx: nodes.node_of(tx, call.path["node"]))
    node = call.context.nodes.of(call.path["node"])
    await call.context.store.update(Writer.API, write)
    return await node.prune_images()


ROUTES = (
    Route(
        method="GET",
        path="/v1/nodes/{node}/images",
        name="nodes.images",
        summary="The images on a machine: which would be removed if room were scarce, and why the others stay",
        permission=Permission.NODE_READ,
        handler=read,
        answer=NodeImages,
        errors=(NotFoundError, NodeUnavailableError),
    ),
    Route(
        method="POST",
        path="/v1/nodes/{node}/prune",
        name="nodes.prune",
        summary="Remove the images on a machine that nobody needs",
        permission=Permission.NODE_WRITE,
        handler=prune,
        answer=Reclaimed,
        errors=(NotFoundError, NodeUnavailableError),
    ),
)
