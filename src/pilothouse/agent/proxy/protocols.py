"""How a published port is proxied, from what its manifest says is spoken on it. Pure."""

import enum

from pilothouse.agent.proxy.shares import Served

_HTTP = frozenset({"http", "http1", "http/1.0", "http/1.1", "ws", "websocket"})
_HTTP2 = frozenset({"h2c", "h2", "http2", "http/2", "grpc", "kubernetes.io/h2c"})
PROXY_PROTOCOL = "proxy-protocol"
_SPEAK_FIRST = frozenset({21, 22, 23, 25, 110, 119, 143, 587, 2222, 2525, 3306, 5900, 5901, 6667, 33060})
_WEB = frozenset(
    {80, 81, 1313, 3000, 3001, 4000, 4200, 5000, 5173, 8000, 8001, 8008, 8080, 8081, 8088, 8090, 8888, 9000}
)
PEEK_SECONDS = 0.15
PEEK_LONG_SECONDS = 10.0


class Manner(enum.Enum):
    """How connections are treated.

    SEEN: HTTP where the first bytes are HTTP, bytes otherwise.
    """

    SEEN = "seen"
    HTTP = "http"
    HTTP2 = "http2"
    BYTES = "bytes"

    @property
    def http(self) -> bool:
        """Whether requests are told apart."""
        return self is not Manner.BYTES

    @property
    def bytes(self) -> bool:
        """Whether connections may be passed through as they are."""
        return self in {Manner.SEEN, Manner.BYTES}


def manner_of(port: Served) -> Manner:
    """Return how to treat a port; a protocol that is not known is passed through.

    A program that asks for PROXY protocol expects it on every connection, so nothing is looked into unless the
    manifest says that HTTP is spoken. On the ports of programs that speak first nothing is waited for.
    """
    spoken = port.app_protocol.lower()
    if spoken in _HTTP:
        return Manner.HTTP
    if spoken in _HTTP2:
        return Manner.HTTP2
    if spoken or port.client_address == PROXY_PROTOCOL or port.target in _SPEAK_FIRST:
        return Manner.BYTES
    return Manner.SEEN


def peek_seconds(port: Served) -> float:
    """Return how long the first bytes of a caller are waited for before its connection is passed through.

    So much later does a program that speaks first get its connection. A browser opens connections before it needs them,
    and one that was passed through is not seen as HTTP any more: so it is longer on ports where HTTP is usual.
    """
    return PEEK_LONG_SECONDS if port.target in _WEB else PEEK_SECONDS
