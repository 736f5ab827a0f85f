"""One connection over whatever carries bytes: keeps `interface.Link`. Knows no socket; `sockets` and `memory` do."""

import asyncio
from collections.abc import AsyncGenerator

from pilothouse.clock import Clock
from pilothouse.errors import SessionLostError
from pilothouse.link.answering import Answering
from pilothouse.link.asking import Asking
from pilothouse.link.frames import Decoder, Frame, Kind
from pilothouse.link.interface import Handlers
from pilothouse.link.outbox import STALL_SECONDS, Outbox
from pilothouse.link.wire import Wire


class Connection:
    """Keeps `interface.Link` and `wire.Receiver`.

    Attributes:
        peer: The URI names of the other end's certificate.
        serial: Its serial number, hexadecimal, lower case, without leading zeros.
        address: Where the other end is, "HOST:PORT", as far as it is known; for people.
    """

    def __init__(
        self,
        wire: Wire,
        handlers: Handlers,
        clock: Clock,
        *,
        dialled: bool,
        peer: tuple[str, ...] = (),
        serial: str = "",
        address: str = "",
    ) -> None:
        self.peer = peer
        self.serial = serial
        self.address = address
        self._wire = wire
        self._decoder = Decoder()
        self._outbox = Outbox(wire, clock)
        self._asking = Asking(self._outbox, 1 if dialled else 2)
        self._answering = Answering(self._outbox, handlers)
        self._over = asyncio.Event()

    async def ask(self, name: str, body: bytes = b"") -> bytes:
        return await self._asking.ask(name, body)

    def stream(self, name: str, body: bytes = b"") -> AsyncGenerator[bytes, None]:
        return self._asking.stream(name, body)

    async def serve(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._answering.begin(group)
                watching = group.create_task(self._watch(), name="link.watch")
                try:
                    await self._over.wait()
                finally:
                    watching.cancel()
                    self._answering.end()
        finally:
            self.close("whoever served it has stopped")
        raise SessionLostError(str(self._outbox.lost))

    def close(self, reason: str) -> None:
        if self._outbox.lost is not None:
            return
        self._outbox.send_now(Frame(Kind.CLOSE, 0, body=reason.encode(errors="replace")[:1000]))
        # What is not sent by now waits for an end that does not read; it would not read the reason either.
        if self._wire.unsent():
            self._wire.abort()
        else:
            self._wire.close()
        self.lost(f"it was closed here: {reason}")

    def received(self, data: bytes) -> None:
        if self._outbox.lost is not None:
            return
        try:
            for frame in self._decoder.feed(data):
                self._take(frame)
        except SessionLostError as error:
            self._cut(str(error))

    def pause(self) -> None:
        self._outbox.pause()

    def resume(self) -> None:
        self._outbox.resume()

    def lost(self, reason: str) -> None:
        if self._outbox.lost is None:
            error = SessionLostError(f"the session {self._whose()}was lost: {reason}")
            self._outbox.fail(error)
            self._asking.fail(error)
            self._over.set()

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.CLOSE:
            self._wire.close()
            self.lost(f"the other end closed it: {frame.body.decode(errors='replace')}")
        elif self._outbox.lost is not None:
            return
        elif self._asking.owns(frame.conversation):
            self._asking.take(frame)
        else:
            self._answering.take(frame)

    async def _watch(self) -> None:
        await self._outbox.watch()
        self._cut(f"the other end read nothing for {STALL_SECONDS:.0f} s")

    def _cut(self, reason: str) -> None:
        """End it at once, for a reason that lies at the other end, and tell that end if it listens."""
        self._outbox.send_now(Frame(Kind.CLOSE, 0, body=reason.encode(errors="replace")[:1000]))
        if self._wire.unsent():
            self._wire.abort()
        else:
            self._wire.close()
        self.lost(reason)

    def _whose(self) -> str:
        who = ", ".join(self.peer) or self.address
        return f"with {who} " if who else ""
