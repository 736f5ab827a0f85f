"""How a published port is proxied, from what its manifest says is spoken on it. Pure."""

import enum

from pilothouse.agent.proxy.shares import Served

_HTTP = frozenset({"http", "http1", "http/1.0", "http/1.1", "ws", "websocket"})
_HTTP2 = frozenset({"h2c", "h2", "http2", "http/2", "grpc", "kubernetes.io/h2c"})
PROXY_PROTOCOL = "proxy-protocol"


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
    manifest says that HTTP is spoken.
    """
    spoken = port.app_protocol.lower()
    if spoken in _HTTP:
        return Manner.HTTP
    if spoken in _HTTP2:
        return Manner.HTTP2
    return Manner.SEEN if spoken == "" and port.client_address != PROXY_PROTOCOL else Manner.BYTES
