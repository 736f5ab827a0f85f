"""Connections over TCP and Unix sockets, with or without TLS: from the event loop's transports to `Connection`."""

import asyncio
import socket as socket_module
import ssl
from collections.abc import Awaitable, Callable
from typing import cast

from pilothouse.clock import Clock
from pilothouse.errors import SessionLostError
from pilothouse.link.connection import Connection
from pilothouse.link.interface import Handlers
from pilothouse.link.tls import clock_trouble, peer_of, unheard
from pilothouse.log import event

HIGH_BYTES = 256 << 10
LOW_BYTES = 64 << 10
HANDSHAKE_SECONDS = 30.0
"""Generous, because a thousand agents that come back at once share the manager's processors."""
CONNECT_SECONDS = 3.0
_GOODBYE_SECONDS = 2.0
_BACKLOG = 4096

Accepted = Callable[["Socket"], None]


class Socket(asyncio.Protocol):
    """One end of a socket; keeps `wire.Wire`.

    Attributes:
        peer: The URI names of the other end's certificate, () without TLS.
        serial: Its serial number, hexadecimal, lower case, without leading zeros; "" without TLS.
        address: Of the other end.
    """

    def __init__(self, accepted: Accepted, refused_by: Clock | None = None) -> None:
        self.peer: tuple[str, ...] = ()
        self.serial = ""
        self.address = ""
        self._accepted = accepted
        self._refused_by = refused_by
        self._heard = False
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None
        self._early: list[bytes] = []
        self._ended = ""

    def attach(self, connection: Connection) -> None:
        """Let *connection* have what comes, and what came before."""
        self._connection = connection
        for data in self._early:
            connection.received(data)
        self._early.clear()
        if self._ended:
            connection.lost(self._ended)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = self._transport = cast("asyncio.Transport", transport)
        made.set_write_buffer_limits(HIGH_BYTES, LOW_BYTES)
        shown = peer_of(made)
        self.peer, self.serial = shown.names, shown.serial
        where = made.get_extra_info("peername")
        self.address = f"{where[0]}:{where[1]}" if isinstance(where, tuple) else str(where or "")
        self._accepted(self)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._connection is not None:
            self._connection.received(data)
            return
        self._early.append(data)
        if sum(map(len, self._early)) > HIGH_BYTES:
            self.abort()  # nobody serves it yet, so nothing may be asked at length

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.pause()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = f"the connection broke ({exc})" if exc is not None else "the connection ended without a reason"
        if self._refused_by is not None and not self._heard:
            # With TLS 1.3 a client learns only from its first read that it was refused.
            self._ended = unheard(self._refused_by.now())
        if self._connection is not None:
            self._connection.lost(self._ended)

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._ended:
            self._transport.write(data)

    def unsent(self) -> int:
        return 0 if self._transport is None or self._ended else self._transport.get_write_buffer_size()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def connection_over(socket: Socket, handlers: Handlers, clock: Clock, *, dialled: bool) -> Connection:
    """Return the connection over *socket*; nothing that came before is lost."""
    made = Connection(
        socket, handlers, clock, dialled=dialled, peer=socket.peer, serial=socket.serial, address=socket.address
    )
    socket.attach(made)
    return made


async def dial(
    address: str, handlers: Handlers, clock: Clock, *, context: ssl.SSLContext | None = None, server_name: str = ""
) -> Connection:
    """Return a connection to *address*; call its `serve`.

    Args:
        address: "HOST:PORT", "[IPv6]:PORT", or the path of a Unix socket.
        handlers: What may be asked of this end.
        clock: Times it.
        context: For TLS; it must check the other end's certificate.
        server_name: The name that must stand in that certificate.

    Raises:
        SessionLostError: Nobody answers there, or the other end is not who it should be.
    """
    loop = asyncio.get_running_loop()

    def make() -> Socket:
        return Socket(lambda _socket: None, clock if context is not None else None)

    handshake, goodbye = _timeouts(context)
    name = server_name or None
    try:
        if "/" in address:
            _, socket = await loop.create_unix_connection(
                make,
                address,
                ssl=context,
                server_hostname=name,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=goodbye,
            )
        else:
            host, _, port = address.rpartition(":")
            _, socket = await loop.create_connection(
                make,
                sock=await _connected(host.strip("[]"), int(port)),
                ssl=context,
                server_hostname=name,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=goodbye,
            )
    except (OSError, ValueError) as error:
        why = clock_trouble(error, clock.now()) or error or type(error).__name__
        raise SessionLostError(f"no session with {address}: {why}") from error
    return connection_over(socket, handlers, clock, dialled=True)


async def _connected(host: str, port: int) -> socket_module.socket:
    """Return a socket that is connected to the first address of *host* which answers in time.

    A machine that is gone does not refuse: the operating system would go on asking for minutes, and who has several
    managers to choose from would not come to the next.

    Raises:
        OSError: None does.
    """
    loop = asyncio.get_running_loop()
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, place in await loop.getaddrinfo(host, port, type=socket_module.SOCK_STREAM):
        made = socket_module.socket(family, kind, protocol)
        made.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(made, place)
        except TimeoutError:
            made.close()
            problem = OSError(f"nobody answered within {CONNECT_SECONDS:g} s")
        except OSError as error:
            made.close()
            problem = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise problem


class Listener:
    """Sockets that others dial; each connection is served by a task in the listener's own group.

    Args:
        serve: Serves one connection until it ends; it makes the connection with `connection_over`.
        context: For TLS; it must demand and check a certificate.
    """

    def __init__(self, serve: Callable[[Socket], Awaitable[None]], context: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._context = context
        self._servers: list[asyncio.Server] = []
        self._waiting: list[Socket] = []
        self._group: asyncio.TaskGroup | None = None

    async def open_tcp(self, host: str, port: int) -> int:
        """Listen on an address and return the port, which was chosen if *port* is 0.

        Raises:
            OSError: It cannot be listened on.
        """
        handshake, goodbye = _timeouts(self._context)
        server = await asyncio.get_running_loop().create_server(
            self._make,
            host,
            port,
            ssl=self._context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=handshake,
            ssl_shutdown_timeout=goodbye,
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def open_unix(self, path: str) -> None:
        """Listen on a Unix socket.

        Raises:
            OSError: It cannot be listened on.
        """
        handshake, goodbye = _timeouts(self._context)
        server = await asyncio.get_running_loop().create_unix_server(
            self._make,
            path,
            ssl=self._context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=handshake,
            ssl_shutdown_timeout=goodbye,
        )
        self._servers.append(server)

    async def run(self) -> None:
        """Serve whoever dials, until cancelled; then every connection has ended."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for socket in self._waiting:
                    self._start(socket)
                self._waiting.clear()
                await asyncio.Event().wait()
        finally:
            self._group = None
            self.close()

    def close(self) -> None:
        """Listen no more; connections that are served go on."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _make(self) -> Socket:
        return Socket(self._start)

    def _start(self, socket: Socket) -> None:
        if self._group is None:
            self._waiting.append(socket)
        else:
            self._group.create_task(self._run(socket), name=f"link {socket.address}")

    async def _run(self, socket: Socket) -> None:
        try:
            await self._serve(socket)
        except SessionLostError as error:
            event("debug", "link.ended", address=socket.address, reason=str(error))
        except Exception as error:  # noqa: BLE001 - a bug in serving one must not end all others, and is logged whole
            event("error", "link.failed", address=socket.address, error=repr(error))
        finally:
            socket.close()


def _timeouts(context: ssl.SSLContext | None) -> tuple[float | None, float | None]:
    return (HANDSHAKE_SECONDS, _GOODBYE_SECONDS) if context is not None else (None, None)
