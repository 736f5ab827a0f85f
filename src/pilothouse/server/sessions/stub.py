"""A node at the other end of a link, as the manager asks it; keeps `server.sessions.interface.NodeServices`."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TypeVar

import msgspec

from pilothouse.errors import NodeUnavailableError, SessionLostError
from pilothouse.model.images import NodeImages, Reclaimed
from pilothouse.model.objects import Task
from pilothouse.model.session import Adoption, ImageQuestion, Method
from pilothouse.model.skew import Codec
from pilothouse.model.wire import ForeignContainer, ImageProgress, LogLine, LogQuery, TaskUsage
from pilothouse.server.sessions.relay import Asked

_PROGRESS = Codec(ImageProgress)
_LINE = Codec(LogLine)
_USAGE = Codec(tuple[TaskUsage, ...])
_FOREIGN = Codec(tuple[ForeignContainer, ...])
_IMAGES = Codec(NodeImages)
_RECLAIMED = Codec(Reclaimed)
_encode = msgspec.msgpack.encode
V = TypeVar("V")


class NodeStub:
    """The services of one node, for as long as its session lasts; then it raises NodeUnavailableError.

    Attributes:
        link: What is asked.
    """

    def __init__(self, node_id: str, link: Asked) -> None:
        self.link = link
        self._node_id = node_id

    async def ensure_image(self, ref: str, policy: str, platform: str = "") -> AsyncIterator[ImageProgress]:
        question = _encode(ImageQuestion(ref=ref, policy=policy, platform=platform))
        async for each in self._stream(Method.IMAGE, question, _PROGRESS):
            yield each

    async def logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        async for each in self._stream(Method.LOGS, _encode(query), _LINE):
            yield each

    async def stats(self) -> tuple[TaskUsage, ...]:
        return _USAGE.decode(await self._ask(Method.STATS))

    async def list_foreign(self) -> tuple[ForeignContainer, ...]:
        return _FOREIGN.decode(await self._ask(Method.FOREIGN))

    async def list_images(self) -> NodeImages:
        return _IMAGES.decode(await self._ask(Method.IMAGES))

    async def prune_images(self) -> Reclaimed:
        return _RECLAIMED.decode(await self._ask(Method.PRUNE))

    async def adopt(self, container_id: str, task: Task) -> None:
        await self._ask(Method.ADOPT, _encode(Adoption(container_id=container_id, task=task)))

    async def _ask(self, method: Method, body: bytes = b"") -> bytes:
        try:
            return await self.link.ask(method.value, body)
        except SessionLostError as error:
            raise self._gone(error) from error

    async def _stream(self, method: Method, body: bytes, codec: Codec[V]) -> AsyncIterator[V]:
        try:
            async with aclosing(self.link.stream(method.value, body)) as items:
                async for item in items:
                    yield codec.decode(item)
        except SessionLostError as error:
            raise self._gone(error) from error

    def _gone(self, error: SessionLostError) -> NodeUnavailableError:
        return NodeUnavailableError(f"the node {self._node_id} is not connected any more; try again ({error})")
