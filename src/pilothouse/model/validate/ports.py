"""Published ports: each must exist, and nobody may be promised one that another has.

One host port serves all tasks of a service where the proxy listens on it (`Port.ingress`). A range that the engine
publishes needs a host port for each task. Several tasks may have one fixed port of the engine, on different nodes:
whether there are enough of them is not known here.
"""

from collections.abc import Iterator

from pilothouse.model.container import Port, PortMode
from pilothouse.model.counts import count
from pilothouse.model.ports import overlap
from pilothouse.model.spec import Mode, ServiceSpec
from pilothouse.model.validate.grammar import Finding, address, one_of, within

_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
_CLIENT_ADDRESSES = frozenset({"", "proxy-protocol"})


def ports(path: str, service: ServiceSpec) -> Iterator[Finding]:
    """Yield what is wrong with the published ports of *service*."""
    container = service.task.container
    for index, port in enumerate(container.ports):
        where = f"{path}.ports[{index}]"
        yield from within(f"{where}.target", port.target, 1, 65535)
        yield from one_of(f"{where}.protocol", port.protocol, _PROTOCOLS)
        yield from address(f"{where}.host_ip", port.host_ip)
        yield from one_of(f"{path}.x-pilothouse.traffic.client_address", port.client_address, _CLIENT_ADDRESSES)
        if port.published is None:
            continue
        first, last = port.published
        if not 1 <= first <= last <= 65535:
            yield f"{where}.published", f"{first}-{last} is no range of ports; write 1 to 65535, the lower one first"
        elif port.ingress or port.fixed:
            continue
        elif service.mode in {Mode.REPLICATED, Mode.REPLICATED_JOB} and service.replicas > last - first + 1:
            yield f"{where}.published", too_few(port, service.replicas)
    if container.ports and container.network_mode in {"host", "none"}:
        message = f"has no meaning with network_mode: {container.network_mode}; remove one of the two"
        yield f"{path}.ports", message
    if container.ports and container.network_mode.startswith("service:"):
        owner = container.network_mode.removeprefix("service:")
        yield f"{path}.ports", f"belong to {owner}, whose network is used; write them there"


def shared_ports(services: tuple[ServiceSpec, ...]) -> Iterator[Finding]:
    """Yield each fixed host port that two services, or two entries of one, want and cannot both have on any node.

    Two services may have one of the engine, on different nodes.
    """
    for path, port, other in collisions(services):
        if port.ingress or other[1].ingress or path.rpartition(".ports[")[0] == other[0].rpartition(".ports[")[0]:
            yield f"{path}.published", taken_twice(port, other[0])


def collisions(services: tuple[ServiceSpec, ...]) -> Iterator[tuple[str, Port, tuple[str, Port]]]:
    """Yield path and entry of each fixed host port that an entry before it names as well, with that one's."""
    taken: dict[tuple[str, int], list[tuple[str, Port]]] = {}
    for service in services:
        if service.mode in {Mode.REPLICATED, Mode.REPLICATED_JOB} and service.replicas == 0:
            continue
        for index, port in enumerate(service.task.container.ports):
            if port.published is None or not port.fixed:
                continue
            path = f"services.{service.name}.ports[{index}]"
            held = taken.setdefault((port.protocol, port.published[0]), [])
            other = next((each for each in held if overlap(each[1].host_ip, port.host_ip)), None)
            if other is not None:
                yield path, port, other
            held.append((path, port))


def taken_twice(port: Port, other: str) -> str:
    """Return why *port* cannot be had: the entry at *other* names it as well."""
    assert port.published is not None
    return f"port {port.published[0]}/{port.protocol} is also that of {other}; change one of them"


def too_few(port: Port, replicas: int, nodes: int = 1) -> str:
    """Return why so many *replicas* cannot have *port* on so many *nodes*, and what to write instead."""
    assert port.published is not None
    first, last = port.published
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    wanted = f"{first}-{min(first + replicas - 1, 65535)}:{port.target}{protocol}"
    have = "one host port" if first == last else f"{last - first + 1} host ports"
    why = f"the engine publishes {_kind(port)}, each replica on a port of its own"
    if port.fixed and nodes != 1:
        have += f" on {count(nodes, 'node')} that could take it"
        why = f"the engine publishes {_kind(port)}, one replica on each node"
    # A number that all replicas share is the proxy's, and that is what most people mean.
    instead = f'write "{first}:{port.target}", which all replicas share, ' if port.protocol == "tcp" else ""
    also = "or a range" if instead else "write a range"
    return f'{have} for {replicas} replicas, and {why}; {instead}{also} such as "{wanted}"'


def _kind(port: Port) -> str:
    if port.protocol != "tcp":
        return port.protocol.upper()
    return "`mode: host`" if port.mode is PortMode.HOST else "a range of ports"
