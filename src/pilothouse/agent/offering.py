"""What the manager may ask of this node, as conversations of a session: the node's services in messages."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Protocol

import msgspec

from pilothouse.link.interface import Offer
from pilothouse.model.images import NodeImages, Reclaimed
from pilothouse.model.objects import Task
from pilothouse.model.session import Adoption, ImageQuestion, Method
from pilothouse.model.skew import Codec
from pilothouse.model.wire import ForeignContainer, ImageProgress, LogLine, LogQuery, TaskUsage

_IMAGE = Codec(ImageQuestion)
_LOGS = Codec(LogQuery)
_ADOPTION = Codec(Adoption)
_encode = msgspec.msgpack.encode


class Answerer(Protocol):
    """The services of this node (`agent.services.Services`)."""

    def ensure_image(self, ref: str, policy: str, platform: str = "") -> AsyncIterator[ImageProgress]: ...

    def logs(self, query: LogQuery) -> AsyncIterator[LogLine]: ...

    async def stats(self) -> tuple[TaskUsage, ...]: ...

    async def list_foreign(self) -> tuple[ForeignContainer, ...]: ...

    async def list_images(self) -> NodeImages: ...

    async def prune_images(self) -> Reclaimed: ...

    async def adopt(self, container_id: str, task: Task) -> None: ...


def offer(services: Answerer) -> Offer:
    """Return what a link may be asked so that *services* answer."""

    async def stats(_body: bytes) -> bytes:
        return _encode(await services.stats())

    async def foreign(_body: bytes) -> bytes:
        return _encode(await services.list_foreign())

    async def adopt(body: bytes) -> bytes:
        asked = _ADOPTION.decode(body)
        await services.adopt(asked.container_id, asked.task)
        return b""

    async def image(body: bytes) -> AsyncGenerator[bytes, None]:
        asked = _IMAGE.decode(body)
        async for step in services.ensure_image(asked.ref, asked.policy, asked.platform):
            yield _encode(step)

    async def logs(body: bytes) -> AsyncGenerator[bytes, None]:
        async for line in services.logs(_LOGS.decode(body)):
            yield _encode(line)

    return Offer(
        answers={
            Method.STATS.value: stats,
            Method.FOREIGN.value: foreign,
            Method.ADOPT.value: adopt,
            **_about_images(services),
        },
        streams={Method.IMAGE.value: image, Method.LOGS.value: logs},
    )


def _about_images(services: Answerer) -> dict[str, Callable[[bytes], Awaitable[bytes]]]:
    async def images(_body: bytes) -> bytes:
        return _encode(await services.list_images())

    async def prune(_body: bytes) -> bytes:
        return _encode(await services.prune_images())

    return {Method.IMAGES.value: images, Method.PRUNE.value: prune}
