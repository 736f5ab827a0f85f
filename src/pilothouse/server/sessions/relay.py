"""Questions to nodes by a manager that does not lead: they go to the leader in the session of its own machine's agent.

The leader passes bodies on as they are. Who asks must be an approved manager by its certificate, and may ask what the
API asks of nodes, nothing else.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

import msgspec

from pilothouse.errors import InvalidRequestError, NodeUnavailableError, SessionLostError
from pilothouse.link.interface import Offer
from pilothouse.model.session import RELAYED, RELAYED_STREAMS, Method, Relayed
from pilothouse.model.skew import Codec

_RELAYED = Codec(Relayed)
_encode = msgspec.msgpack.encode


class Asked(Protocol):
    """An end of a link at which questions are answered; the part of `link.interface.Link` that asking needs."""

    async def ask(self, name: str, body: bytes = b"") -> bytes:
        """Return the one answer."""
        ...

    def stream(self, name: str, body: bytes = b"") -> AsyncGenerator[bytes, None]:
        """Yield the answers."""
        ...


class Through:
    """A node that the leader asks for us."""

    def __init__(self, node_id: str, leader: Asked) -> None:
        self._node_id = node_id
        self._leader = leader

    async def ask(self, name: str, body: bytes = b"") -> bytes:
        return await self._leader.ask(Method.RELAY.value, self._relayed(name, body))

    async def stream(self, name: str, body: bytes = b"") -> AsyncGenerator[bytes, None]:
        async with aclosing(self._leader.stream(Method.RELAY_STREAM.value, self._relayed(name, body))) as items:
            async for item in items:
                yield item

    def _relayed(self, name: str, body: bytes) -> bytes:
        return _encode(Relayed(node_id=self._node_id, method=name, body=body))


def relaying(link_of: Callable[[str], Asked], check: Callable[[], None]) -> Offer:
    """Return what a leader offers to other managers.

    Args:
        link_of: The link to a node; raises NodeUnavailableError.
        check: Raises unless the asker is a manager.
    """

    async def answer(body: bytes) -> bytes:
        check()
        asked = _allowed(body, RELAYED)
        try:
            return await link_of(asked.node_id).ask(asked.method, asked.body)
        except SessionLostError as error:
            raise _gone(asked, error) from error

    async def answers(body: bytes) -> AsyncGenerator[bytes, None]:
        check()
        asked = _allowed(body, RELAYED_STREAMS)
        try:
            async with aclosing(link_of(asked.node_id).stream(asked.method, asked.body)) as items:
                async for item in items:
                    yield item
        except SessionLostError as error:
            raise _gone(asked, error) from error

    return Offer(answers={Method.RELAY.value: answer}, streams={Method.RELAY_STREAM.value: answers})


def _allowed(body: bytes, methods: frozenset[str]) -> Relayed:
    asked = _RELAYED.decode(body)
    if asked.method not in methods:
        raise InvalidRequestError(f"{asked.method[:40]!r} is not relayed to nodes; {', '.join(sorted(methods))} are")
    return asked


def _gone(asked: Relayed, error: SessionLostError) -> NodeUnavailableError:
    return NodeUnavailableError(f"the node {asked.node_id} is not connected any more; try again ({error})")
