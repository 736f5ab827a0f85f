"""Where the API listens: a Unix socket, and TCP only with a certificate and a token, or as a manager of a cluster.

On the socket the file's permissions decide who may come and the kernel says who came. A socket file left by a server
that died is replaced; one that answers is somebody else's and is left alone.
"""

import asyncio
import grp
import hmac
import os
import pathlib
import socket
import ssl
import stat
from collections.abc import Callable
from typing import Any

import msgspec
import uvicorn
from uvicorn.server import ServerState

from pilothouse.errors import ConflictError, InvalidRequestError
from pilothouse.governance.identity.principal import Principal, of_socket
from pilothouse.link.tls import HANDSHAKE_SECONDS, peer_of
from pilothouse.log import event
from pilothouse.server.api.dispatch import Application
from pilothouse.server.cluster.allow_list import AllowList
from pilothouse.server.guard import GuardedProtocol

SOCKET_MODE = 0o660
DIRECTORY_MODE = 0o755
GROUP = "pilothouse"
BACKLOG = 512
MAX_CONNECTIONS = 1024
KEEP_ALIVE_SECONDS = 75
MIN_TOKEN = 32
_BEARER = b"bearer "


class Tcp(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to listen on TCP.

    Attributes:
        certificate, key: PEM files of the server's own.
        token_file: Holds the token that every request must bring; at least 32 characters, for its owner only.
    """

    host: str
    port: int
    certificate: pathlib.Path
    key: pathlib.Path
    token_file: pathlib.Path


class Listener:
    """The open sockets of one API, and the connections on them."""

    def __init__(self, api: Application, closing: asyncio.Event) -> None:
        self._closing = closing
        self._state = ServerState()
        self._strangers = ServerState()
        self._servers: list[asyncio.Server] = []
        self._files: list[tuple[pathlib.Path, int]] = []
        self._config = uvicorn.Config(
            api,
            http=GuardedProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._config.load()

    async def open_unix(self, path: pathlib.Path) -> None:
        """Listen on a Unix socket at *path*, mode 0660.

        Raises:
            ConflictError: Another server answers there.
            InvalidRequestError: Something else than a socket is there.
        """
        listening = _bind(path)
        # The kernel notes who calls when the connection is made, and never again.
        protocol = _protocol(lambda transport, _headers: of_socket(transport.get_extra_info("socket")), for_good=True)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._factory(protocol), sock=listening, backlog=BACKLOG))
        self._files.append((path, os.stat(path).st_ino))
        event("info", "api.listening", socket=str(path))

    async def open_tcp(self, tcp: Tcp) -> int:
        """Listen on TCP with TLS and return the port; every request must bring the token.

        Raises:
            InvalidRequestError: A file is missing or cannot be used; without TLS and a token there is no TCP.
        """
        context, token = _tls(tcp), read_token(tcp.token_file)
        protocol = _protocol(lambda _transport, headers: of_token(headers, token))
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            self._factory(protocol), tcp.host, tcp.port, ssl=context, backlog=BACKLOG, ssl_handshake_timeout=10.0
        )
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        event("info", "api.listening", host=tcp.host, port=port)
        return port

    async def open_cluster(
        self, host: str, port: int, context: ssl.SSLContext, allowed: AllowList, token: bytes | None = None
    ) -> int:
        """Listen with this machine's certificate and return the port; "" is every address of this machine.

        A caller is another manager, by its certificate, or holds *token*; anybody else may call what is anonymous.

        Raises:
            InvalidRequestError: The port is taken.
        """

        def identify(transport: asyncio.BaseTransport, headers: list[tuple[bytes, bytes]]) -> Principal | None:
            peer = peer_of(transport)
            if peer.serial:
                return allowed.principal(peer)
            return None if token is None else of_token(headers, token)

        loop = asyncio.get_running_loop()
        listening = bind_tcp(host, port)
        server = await loop.create_server(
            # Counted apart: strangers who come in numbers must not keep the people of this machine out.
            Factory(_protocol(identify), self._config, self._strangers),
            sock=listening,
            ssl=context,
            backlog=BACKLOG,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
        )
        self._servers.append(server)
        bound: int = listening.getsockname()[1]
        event("info", "api.listening", host=host, port=bound)
        return bound

    async def close(self, grace_seconds: float = 5.0) -> None:
        """Take no more requests, end streams, let answers finish for *grace_seconds*, then cut what is left."""
        self._closing.set()
        for server in self._servers:
            server.close()
        for connection in self._connections():
            connection.shutdown()
        tasks = self._state.tasks | self._strangers.tasks
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            if late:
                event("warning", "api.cut", requests=len(late))
                await asyncio.wait(late, timeout=1.0)
        for connection in self._connections():
            connection.transport.abort()
        for path, inode in self._files:
            # Only our own file: another server may have taken the place meanwhile.
            if path.exists() and path.stat().st_ino == inode:
                path.unlink()

    def _connections(self) -> list[Any]:
        return [*self._state.connections, *self._strangers.connections]

    def _factory(self, protocol: type[GuardedProtocol]) -> "Factory":
        return Factory(protocol, self._config, self._state)


class Factory:
    """Makes the protocol of each new connection."""

    def __init__(self, protocol: type[GuardedProtocol], config: uvicorn.Config, state: ServerState) -> None:
        self._protocol = protocol
        self._config = config
        self._state = state

    def __call__(self) -> GuardedProtocol:
        return self._protocol(self._config, self._state, {})


def local_host(host: str) -> str:
    """Return *host* if it is an address of this machine, else "" for all of its addresses (behind NAT).

    Raises:
        InvalidRequestError: There is no such host.
    """
    family, address = _resolve(host, 0)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(address)
        except OSError:
            return ""
    return host


def bind_tcp(host: str, port: int) -> socket.socket:
    """Return a socket bound to *host*, "" being every address of the machine.

    Raises:
        InvalidRequestError: The port is taken, or *host* is no address of this machine.
    """
    family, address = _resolve(host, port)
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise InvalidRequestError(
            f"cannot listen on port {port} of {host or 'this machine'}: {error.strerror}; choose another one with "
            "--advertise"
        ) from error
    listening.setblocking(False)
    return listening


def _resolve(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise InvalidRequestError(f"{host} is no address of a machine: {error}; choose another --advertise") from error
    family, _, _, _, address = found[0]
    return family, address


def of_token(headers: list[tuple[bytes, bytes]], token: bytes) -> Principal | None:
    """Return the principal of a request that brings *token*, else None; a wrong one takes as long as a right one."""
    found = [value for name, value in headers if name == b"authorization"]
    if len(found) != 1 or not found[0].lower().startswith(_BEARER):
        return None
    brought = found[0][len(_BEARER) :].strip()
    return Principal(kind="token", id="api") if hmac.compare_digest(brought, token) else None


def _protocol(identify: Callable[..., object], *, for_good: bool = False) -> type[GuardedProtocol]:
    named = {"identify": staticmethod(identify), "for_good": for_good}
    return type("IdentifyingProtocol", (GuardedProtocol,), named)


def _bind(path: pathlib.Path) -> socket.socket:
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    _clear(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        # Nobody can connect before `listen`, so nobody slips in under other permissions.
        path.chmod(SOCKET_MODE)
        _hand_to_group(path)
    except OSError as error:
        listening.close()
        raise InvalidRequestError(f"cannot listen at {path}: {error}; choose another place with --socket") from error
    listening.setblocking(False)
    return listening


def _clear(path: pathlib.Path) -> None:
    """Remove a socket that nobody answers at any more."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise InvalidRequestError(f"{path} is there and is no socket; move it away or choose another place")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            event("info", "socket.replaced", socket=str(path))
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ConflictError(f"cannot tell whether a server answers at {path}: {error}") from error
        else:
            raise ConflictError(f"another server answers at {path}; stop it with 'pilothouse server stop'")


def _hand_to_group(path: pathlib.Path) -> None:
    """Let the group "pilothouse" use the socket if the machine has one."""
    try:
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return
    if os.geteuid() == 0:
        os.chown(path, -1, group)


def _tls(tcp: Tcp) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tcp.certificate, tcp.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequestError(
            f"TCP needs TLS, and {tcp.certificate} with {tcp.key} cannot be used: {error}"
        ) from error
    return context


def read_token(path: pathlib.Path) -> bytes:
    """Return the token of requests over TCP.

    Raises:
        InvalidRequestError: The file cannot be read, is open to others than its owner, or the token is too short.
    """
    try:
        token = path.read_bytes().strip()
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise InvalidRequestError(f"TCP needs a token, and {path} cannot be read: {error}") from error
    if mode & 0o077:
        raise InvalidRequestError(f"{path} can be read by others than its owner: run chmod 600 {path}")
    if len(token) < MIN_TOKEN:
        raise InvalidRequestError(f"the token in {path} is shorter than {MIN_TOKEN} characters: openssl rand -hex 32")
    return token
