"""The way out of a connection: conversations take turns part by part, and wait for an end that does not read."""

import asyncio

from pilothouse.clock import Clock
from pilothouse.errors import SessionLostError
from pilothouse.link.frames import PART_BYTES, Frame, Kind, encode, encode_parts
from pilothouse.link.wire import Wire

STALL_SECONDS = 20.0
"""Whoever reads nothing for so long is taken for gone."""

_UNASKED_BYTES = 4 << 20
"""So much may wait of what is sent without a turn; whoever causes more never reads."""


class Outbox:
    """Sends frames.

    Attributes:
        lost: Why nothing can be sent any more; None while it can.
    """

    def __init__(self, wire: Wire, clock: Clock) -> None:
        self.lost: SessionLostError | None = None
        self._wire = wire
        self._clock = clock
        self._turn = asyncio.Lock()
        self._flows = asyncio.Event()
        self._flows.set()
        self._stalled = asyncio.Event()
        self._stalls = 0

    async def send(self, kind: Kind, conversation: int, name: str = "", body: bytes = b"") -> None:
        """Send one body when its turn comes; returns when it was handed to the wire.

        Raises:
            SessionLostError: The connection has ended.
            TooLargeError: The body is longer than any may be.
        """
        if len(body) <= PART_BYTES and self._flows.is_set() and not self._turn.locked():
            self._write(encode(Frame(kind, conversation, name, body)))
            return
        for part in encode_parts(kind, conversation, name, body):
            async with self._turn:
                await self._flows.wait()
                self._write(part)

    def send_now(self, frame: Frame) -> bool:
        """Send a short frame out of turn; return False if so much waits already that the other end cannot be reading.

        Does nothing on a connection that has ended.
        """
        if self.lost is None:
            if self._wire.unsent() > _UNASKED_BYTES:
                return False
            self._wire.write(encode(frame))
        return True

    def pause(self) -> None:
        """Let everybody wait: the wire keeps enough already."""
        self._flows.clear()
        self._stalls += 1
        self._stalled.set()

    def resume(self) -> None:
        """Let the next one have its turn."""
        self._stalled.clear()
        self._flows.set()

    def fail(self, error: SessionLostError) -> None:
        """Tell everybody who waits, and whoever comes, that the connection has ended."""
        if self.lost is None:
            self.lost = error
        self._flows.set()

    async def watch(self) -> None:
        """Return once the other end has read nothing for STALL_SECONDS although something is there for it."""
        while True:
            await self._stalled.wait()
            stall, unsent = self._stalls, self._wire.unsent()
            await self._clock.sleep(STALL_SECONDS)
            if self._stalled.is_set() and self._stalls == stall and self._wire.unsent() >= unsent:
                return

    def _write(self, data: bytes) -> None:
        if self.lost is not None:
            raise SessionLostError(str(self.lost))
        self._wire.write(data)
