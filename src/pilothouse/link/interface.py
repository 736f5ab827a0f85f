"""A connection between two processes on which either may begin conversations; `link.conformance` tests it.

A conversation is a name, one body there, and back either one body or a stream of bodies that its reader paces. Bodies
are bytes; what they mean is `model.session`'s business.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

Answer = Callable[[bytes], Awaitable[bytes]]
"""Answers one question; a PilothouseError it raises arrives at the asker as the same class with the same message."""

Stream = Callable[[bytes], AsyncIterator[bytes]]
"""Answers with a stream; it is closed when its reader leaves."""


class Handlers(Protocol):
    """What the other end may ask here, by name."""

    answers: Mapping[str, Answer]
    streams: Mapping[str, Stream]


class Link(Protocol):
    """One established connection.

    Attributes:
        peer: Who is at the other end: the URI names of its certificate; () on a connection without TLS.
        serial: The serial number of its certificate in hexadecimal, "" without TLS.
    """

    peer: tuple[str, ...]
    serial: str

    async def ask(self, name: str, body: bytes = b"") -> bytes:
        """Return the one answer.

        Raises:
            SessionLostError: The connection ended first; whether the question was heard is not known.
            PilothouseError: Whatever the other end raised.
        """
        ...

    def stream(self, name: str, body: bytes = b"") -> AsyncIterator[bytes]:
        """Yield the answers, in order; the other end waits for a slow reader. Closing the iterator ends it there."""
        ...

    async def serve(self) -> None:
        """Carry frames until the connection ends.

        Raises:
            SessionLostError: It ended, for whatever reason; the message says which.
        """
        ...

    def close(self, reason: str) -> None:
        """End it; conversations under way end with SessionLostError."""
        ...
