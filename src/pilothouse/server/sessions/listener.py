"""Where agents dial: mutual TLS on the sessions port. A manager that does not lead sends them on to the leader."""

import asyncio
import ssl

import msgspec

from pilothouse.clock import Clock
from pilothouse.errors import NotLeadingError
from pilothouse.link.interface import Offer
from pilothouse.link.sockets import Listener, Socket, connection_over
from pilothouse.model.session import PROTOCOL, Hello, Method, Welcome
from pilothouse.model.skew import Codec
from pilothouse.server.sessions.reception import HELLO_SECONDS, Reception
from pilothouse.server.sessions.remote import RemoteSession

_HELLO = Codec(Hello)


class SessionListener:
    """One manager's listener for agents, over all its terms.

    Args:
        context: Demands a certificate of the cluster's authorities (`link.tls.server_context`); None only in tests.
        clock: Times sessions.
    """

    def __init__(self, context: ssl.SSLContext | None, clock: Clock) -> None:
        self._clock = clock
        self._listener = Listener(self._serve, context)
        self._reception: Reception | None = None
        self._leader = ""

    async def open(self, host: str, port: int) -> int:
        """Listen and return the port, which was chosen if *port* is 0.

        Raises:
            OSError: It cannot be listened on.
        """
        return await self._listener.open_tcp(host, port)

    def lead(self, reception: Reception) -> None:
        """Let agents in from now on."""
        self._reception = reception

    def follow(self, leader: str) -> None:
        """Send agents to *leader*, "HOST:PORT" of another manager's listener, from now on; "" if it is not known."""
        reception, self._reception, self._leader = self._reception, None, leader
        if reception is not None:
            reception.close("this manager does not lead any more")

    async def run(self) -> None:
        """Serve whoever dials, until cancelled."""
        await self._listener.run()

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    async def _serve(self, socket: Socket) -> None:
        reception = self._reception
        if reception is None:
            await self._send_on(socket)
            return
        session = RemoteSession(reception, socket.peer, socket.serial)
        await session.run(connection_over(socket, session.offer, self._clock, dialled=False))

    async def _send_on(self, socket: Socket) -> None:
        connection = connection_over(
            socket, Offer(answers={Method.HELLO.value: self._redirect}), self._clock, dialled=False
        )
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                await connection.serve()
        except TimeoutError:
            connection.close("another manager leads")

    async def _redirect(self, body: bytes) -> bytes:
        _HELLO.decode(body)
        if not self._leader:
            raise NotLeadingError("this manager does not lead, and does not know who does; try again in a moment")
        return msgspec.msgpack.encode(Welcome(protocol=PROTOCOL, epoch=0, leader=self._leader))
