"""A connection between two processes on which either may begin conversations; `link.conformance` tests it.

A conversation is a name, one body there, and back either one body or a stream of bodies that its reader paces. Bodies
are bytes; what they mean is `model.session`'s business.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Answer = Callable[[bytes], Awaitable[bytes]]
"""Answers one question; a PilothouseError it raises arrives at the asker as the same class with the same message."""

Stream = Callable[[bytes], AsyncGenerator[bytes, None]]
"""Answers with a stream; it is closed when its reader leaves."""


class Handlers(Protocol):
    """What the other end may ask here, by name."""

    @property
    def answers(self) -> Mapping[str, Answer]:
        """What is answered once."""
        ...

    @property
    def streams(self) -> Mapping[str, Stream]:
        """What is answered with a stream."""
        ...


@dataclass(frozen=True, slots=True)
class Offer:
    """Keeps `Handlers`; what may be asked here, in two dictionaries."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    streams: Mapping[str, Stream] = field(default_factory=dict)


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

    def stream(self, name: str, body: bytes = b"") -> AsyncGenerator[bytes, None]:
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
