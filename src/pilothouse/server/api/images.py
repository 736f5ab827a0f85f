"""Images on the node: make one present before a deployment, with progress."""

import msgspec

from pilothouse.errors import InvalidRequestError, NodeUnavailableError
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import ImageRequest
from pilothouse.model.wire import ImageProgress
from pilothouse.server.api.context import Context
from pilothouse.server.api.route import LINES, Call, NoQuery, Route, Stream, Write
from pilothouse.server.deploy.whereabouts import Site
from pilothouse.server.sessions.interface import NodeServices

MAX_REF = 512


async def ensure(call: Call[NoQuery, ImageRequest]) -> Stream:
    """Return the progress of making an image present; the last line is "resolved" or "failed"."""
    asked = call.body
    if not asked.ref or len(asked.ref) > MAX_REF or not asked.ref.isprintable() or " " in asked.ref:
        raise InvalidRequestError(f"{asked.ref[:80]!r} is no image reference; write NAME, NAME:TAG or NAME@sha256:…")
    node = await _node(call.context, asked)

    async def run(write: Write) -> None:
        async for progress in node.ensure_image(asked.ref, asked.policy, asked.platform):
            await write(msgspec.json.encode(progress) + b"\n")

    return Stream(LINES, run)


async def _node(context: Context, asked: ImageRequest) -> NodeServices:
    """Return the node to ask: one that has the image already, if there are several and it need not be pulled."""
    first, node = context.nodes.any()
    if len(context.nodes.connected) == 1 or asked.policy == "always":
        return node
    answers = await Site(context.nodes).ask(context.nodes.connected, asked.ref, asked.platform)
    return node if first in answers.have or not answers.have else context.nodes.of(next(iter(answers.have)))


ROUTES = (
    Route(
        method="POST",
        path="/v1/images/ensure",
        name="images.ensure",
        summary="Make an image present on the node, with progress",
        permission=Permission.IMAGE_WRITE,
        handler=ensure,
        body=ImageRequest,
        answer=ImageProgress,
        streams=LINES,
        errors=(NodeUnavailableError,),
    ),
)
