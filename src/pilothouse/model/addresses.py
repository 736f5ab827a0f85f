"""Where managers are: "HOST[:PORT]" read and written. The port is the API's; the other ports follow it."""

import ipaddress
import re

from pilothouse.errors import InvalidRequestError

API_PORT = 7443
SESSIONS_OFFSET, PEER_OFFSET, CLIENT_OFFSET = 1, 2, 3
"""How far after the API's port the others lie: agents' sessions, the replicated store's members and its clients."""
_LAST_PORT = 65_535 - CLIENT_OFFSET
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}\Z")


def split_address(address: str, port: int = API_PORT) -> tuple[str, int]:
    """Return host and port of "HOST", "HOST:PORT", "IPV6" or "[IPV6]:PORT"; *port* where none is given.

    Raises:
        InvalidRequestError: It is none of these.
    """
    text = address.strip()
    bare = ":" not in text or text.endswith("]") or (text.count(":") > 1 and not text.startswith("["))
    host, _, digits = (text, "", str(port)) if bare else text.rpartition(":")
    if not _usable(host) or not (digits.isascii() and digits.isdigit()) or len(digits) > 5:
        raise InvalidRequestError(f"{address[:80]!r} is no address: write HOST, HOST:PORT or [IPV6]:PORT")
    if not 0 < int(digits) <= _LAST_PORT:
        raise InvalidRequestError(f"{address[:80]!r}: the port must be from 1 to {_LAST_PORT}, as three more follow it")
    return host.removeprefix("[").removesuffix("]"), int(digits)


def _usable(host: str) -> bool:
    """Whether *host* is a name or an address; one of IPv6 may stand in brackets."""
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in inner:
        try:
            ipaddress.IPv6Address(inner)
        except ValueError:
            return False
        return True
    return inner == host and bool(_NAME.match(inner))


def join_address(host: str, port: int) -> str:
    """Return "HOST:PORT"; an IPv6 address is put in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def manager_addresses(advertise: str) -> tuple[str, str]:
    """Return "HOST:PORT" of a manager's API and of its listener for agents.

    Raises:
        InvalidRequestError: *advertise* is no address.
    """
    host, port = split_address(advertise)
    return join_address(host, port), join_address(host, port + SESSIONS_OFFSET)


def member_addresses(advertise: str) -> tuple[str, str]:
    """Return "HOST:PORT" of a manager's member of the replicated store, as other members and as managers reach it.

    Raises:
        InvalidRequestError: *advertise* is no address.
    """
    host, port = split_address(advertise)
    return join_address(host, port + PEER_OFFSET), join_address(host, port + CLIENT_OFFSET)


def api_address(sessions: str) -> str:
    """Return "HOST:PORT" of the API of the manager whose listener for agents is at *sessions*."""
    host, port = split_address(sessions)
    return join_address(host, port - SESSIONS_OFFSET)
