"""When two published ports are in each other's way on one host, for whoever gives ports out or plans ahead. Pure."""

from collections.abc import Iterable

from pilothouse.model.container import Port
from pilothouse.model.objects import PortBinding

_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - addresses a user may have written


def overlap(one: str, other: str) -> bool:
    """Whether two host addresses, as a user may write them, are the same for somebody who wants to listen there."""
    return one == other or one in _EVERYWHERE or other in _EVERYWHERE


def must_give_way(held: Iterable[PortBinding], ports: Iterable[Port]) -> bool:
    """Whether a task that has *held* must have stopped before another of its service with *ports* can start.

    Tasks of a service share what the proxy serves. What the engine publishes for one nobody else can listen on: so it
    is with a container that was taken over, whose ports the proxy serves only once it is replaced.
    """
    wanted = [port for port in ports if port.published is not None and port.published[0] == port.published[1]]
    return any(
        (had.protocol, had.host_port) == (port.protocol, port.published[0])
        and overlap(had.host_ip, port.host_ip)
        and not (had.ingress and port.ingress)
        for had in held
        for port in wanted
        if port.published is not None
    )
