"""The short form of a published port: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, each side a port or a range."""

import ipaddress

from pilothouse.compose.shapes import Tree

_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
_FORM = "write [[IP:]HOST:]CONTAINER[/PROTOCOL]"


def parse(text: str) -> list[dict[str, Tree]]:
    """Return the ports that text publishes, in the order in which the reference lists them.

    Raises:
        ValueError: If text is not of that form.
    """
    *before, container = text.split(":")
    address = ":".join(before[:-1])
    host = before[-1] if before else ""
    container, _, protocol = container.partition("/")
    protocol = protocol.lower() or "tcp"
    if not container:
        raise ValueError(f"{text!r} names no container port; {_FORM}")
    if protocol not in _PROTOCOLS:
        raise ValueError(f"{text!r} has the unknown protocol {protocol!r}; write tcp, udp or sctp")
    address = _address(address, text)
    first, last = _range(container, text)
    low, high = _range(host, text) if host else (0, 0)
    if host and last != first and last - first != high - low:
        raise ValueError(f"{text!r} has a host range and a container range of different length; make them equal")
    long = []
    for offset in range(last - first + 1):
        port: dict[str, Tree] = {"mode": "ingress", "target": first + offset, "protocol": protocol}
        if host:
            port["published"] = f"{low}-{high}" if first == last and low != high else str(low + offset)
        if address:
            port["host_ip"] = address
        long.append(port)
    return sorted(long, key=lambda port: f"{port['target']}/{protocol}")


def is_address(text: str) -> bool:
    """Return whether text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _address(text: str, whole: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if bare and not is_address(bare):
        raise ValueError(f"{whole!r} has the invalid IP address {text!r}; {_FORM}")
    return bare


def _range(text: str, whole: str) -> tuple[int, int]:
    start, dash, end = text.partition("-")
    numbers = [start, end] if dash else [start, start]
    if not all(
        number.isascii() and number.isdigit() and len(number) <= 5 and int(number) <= 65535 for number in numbers
    ):
        raise ValueError(
            f"{whole!r} has the invalid port {text!r}; write a number up to 65535 or a range like 8000-8010"
        )
    first, last = int(numbers[0]), int(numbers[1])
    if last < first:
        raise ValueError(f"{whole!r} has a range that runs backwards; write {last}-{first}")
    return first, last
