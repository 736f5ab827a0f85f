"""Two ends joined without a socket, for tests and simulations; what happens to the bytes on the way is an argument."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from pilothouse.clock import Clock
from pilothouse.link.connection import Connection
from pilothouse.link.interface import Handlers
from pilothouse.link.wire import Receiver

HIGH_BYTES = 256 << 10
LOW_BYTES = 64 << 10


class Path(Protocol):
    """One direction of the way between two ends, as a simulator makes it."""

    def carry(self, data: bytes, deliver: Callable[[], None]) -> None:
        """Call *deliver* when *data* arrives, in the order of the calls; never, if it is lost for good.

        Until then the sender counts *data* as unsent, so a path that carries nothing slows the sender down and at
        last has it give up, as an unplugged cable does.
        """
        ...


class DirectPath:
    """Delivers at the next turn of the event loop."""

    def carry(self, data: bytes, deliver: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(deliver)


class HeldPath:
    """Delivers at once while it is open, and otherwise when it is opened again."""

    def __init__(self) -> None:
        self._held: deque[Callable[[], None]] = deque()
        self._open = True

    def carry(self, data: bytes, deliver: Callable[[], None]) -> None:
        self._held.append(deliver)
        self._flush()

    def hold(self) -> None:
        """Let nothing through from now on."""
        self._open = False

    def release(self) -> None:
        """Let through what was held, and everything from now on."""
        self._open = True
        self._flush()

    def _flush(self) -> None:
        while self._open and self._held:
            asyncio.get_running_loop().call_soon(self._held.popleft())


class MemoryWire:
    """One end's way to the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._here: Receiver | None = None
        self._there: Receiver | None = None
        self._unsent = 0
        self._paused = False
        self._ended = False

    def join(self, here: Receiver, there: Receiver) -> None:
        """Name the ends."""
        self._here, self._there = here, there

    def write(self, data: bytes) -> None:
        if self._ended:
            return
        self._unsent += len(data)
        self._path.carry(data, lambda: self._deliver(data))
        if self._unsent > HIGH_BYTES and not self._paused and self._here is not None:
            self._paused = True
            self._here.pause()

    def unsent(self) -> int:
        # What is on a way that carries is as good as sent; a socket's kernel would hold it.
        return max(0, self._unsent - LOW_BYTES)

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            self._path.carry(b"", lambda: self._end("it ended without a reason"))

    def abort(self) -> None:
        """End it as a reset does: the other end learns of it at the next turn of the event loop."""
        if not self._ended:
            self._ended = True
            asyncio.get_running_loop().call_soon(self._end, "it was reset")

    def _deliver(self, data: bytes) -> None:
        self._unsent -= len(data)
        if self._there is not None:
            self._there.received(data)
        if self._paused and self._unsent <= LOW_BYTES and self._here is not None:
            self._paused = False
            self._here.resume()

    def _end(self, reason: str) -> None:
        if self._there is not None:
            self._there.lost(reason)


def pair(
    dialling: Handlers,
    called: Handlers,
    clock: Clock,
    *,
    there: Path | None = None,
    back: Path | None = None,
    names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    serials: tuple[str, str] = ("", ""),
) -> tuple[Connection, Connection]:
    """Return both ends of a new connection: the one that dialled, and the one that was called.

    Args:
        dialling: What may be asked of the first.
        called: What may be asked of the second.
        clock: Times both.
        there: The way from the first to the second.
        back: The way from the second to the first.
        names: The URI names in the certificates of the first and of the second.
        serials: The serial numbers of these certificates.
    """
    out, home = MemoryWire(there or DirectPath()), MemoryWire(back or DirectPath())
    first = Connection(out, dialling, clock, dialled=True, peer=names[1], serial=serials[1])
    second = Connection(home, called, clock, dialled=False, peer=names[0], serial=serials[0])
    out.join(first, second)
    home.join(second, first)
    return first, second
