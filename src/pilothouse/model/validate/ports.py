"""Published ports: each must exist, and nobody may be promised one that another has.

One host port serves all tasks of a service where the proxy listens on it (`Port.ingress`); what the engine publishes
needs a host port for each task.
"""

from collections.abc import Iterator

from pilothouse.model.container import Port, PortMode
from pilothouse.model.spec import Mode, ServiceSpec
from pilothouse.model.validate.grammar import Finding, address, one_of, within

_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
_CLIENT_ADDRESSES = frozenset({"", "proxy-protocol"})
_ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - these are compared, not listened on


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
        elif port.ingress:
            continue
        elif service.mode in {Mode.REPLICATED, Mode.REPLICATED_JOB} and service.replicas > last - first + 1:
            yield f"{where}.published", _too_few(port, service.replicas)
    if container.ports and container.network_mode in {"host", "none"}:
        message = f"has no meaning with network_mode: {container.network_mode}; remove one of the two"
        yield f"{path}.ports", message
    if container.ports and container.network_mode.startswith("service:"):
        owner = container.network_mode.removeprefix("service:")
        yield f"{path}.ports", f"belong to {owner}, whose network is used; write them there"


def shared_ports(services: tuple[ServiceSpec, ...]) -> Iterator[Finding]:
    """Yield each fixed host port that two services, or two entries of one, want."""
    taken: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for service in services:
        if service.mode in {Mode.REPLICATED, Mode.REPLICATED_JOB} and service.replicas == 0:
            continue
        for index, port in enumerate(service.task.container.ports):
            if port.published is None or port.published[0] != port.published[1]:
                continue
            path = f"services.{service.name}.ports[{index}].published"
            held = taken.setdefault((port.protocol, port.published[0]), [])
            for host_ip, other in held:
                if host_ip == port.host_ip or {host_ip, port.host_ip} & _ANY_ADDRESS:
                    yield path, f"port {port.published[0]}/{port.protocol} is also that of {other}; change one of them"
                    break
            held.append((port.host_ip, path.removesuffix(".published")))


def _too_few(port: Port, replicas: int) -> str:
    assert port.published is not None
    first, last = port.published
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    wanted = f"{first}-{min(first + replicas - 1, 65535)}:{port.target}{protocol}"
    have = "one host port" if first == last else f"{last - first + 1} host ports"
    why = f"the engine publishes {_kind(port)}, each replica on a port of its own"
    # A number that all replicas share is the proxy's, and that is what most people mean.
    instead = f'write "{first}:{port.target}", which all replicas share, ' if port.protocol == "tcp" else ""
    also = "or a range" if instead else "write a range"
    return f'{have} for {replicas} replicas, and {why}; {instead}{also} such as "{wanted}"'


def _kind(port: Port) -> str:
    if port.protocol != "tcp":
        return port.protocol.upper()
    return "`mode: host`" if port.mode is PortMode.HOST else "a range of ports"
