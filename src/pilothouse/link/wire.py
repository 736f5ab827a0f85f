"""What carries the bytes of one connection, as the connection needs it: a socket, or a pipe in memory."""

from typing import Protocol


class Wire(Protocol):
    """The sending half; what is received is handed to `Receiver`."""

    def write(self, data: bytes) -> None:
        """Send *data* after everything before it; what cannot be sent yet is kept. Does nothing once it ended."""
        ...

    def unsent(self) -> int:
        """Return how many bytes are kept."""
        ...

    def close(self) -> None:
        """End it after what was written."""
        ...

    def abort(self) -> None:
        """End it now; what is kept is dropped."""
        ...


class Receiver(Protocol):
    """Who is told what the wire brings. None of it may block."""

    def received(self, data: bytes) -> None:
        """Take bytes, in order."""
        ...

    def pause(self) -> None:
        """Write no more than must be: the other end does not read as fast."""
        ...

    def resume(self) -> None:
        """Write again."""
        ...

    def lost(self, reason: str) -> None:
        """The wire has ended; it is told once or more, and the first reason counts."""
        ...
