"""Networks of an app and a container's place on them."""

import ipaddress
import re
from collections.abc import Iterator

from pilothouse.model.container import ContainerSpec
from pilothouse.model.spec import IpamPool, NetworkSpec, ServiceSpec
from pilothouse.model.validate.grammar import HOST_NAME, MAC_ADDRESS, Finding, address

_DRIVER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_./:-]{0,127}\Z")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")
_ALIAS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}\Z")
_Pool = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(path: str, spec: NetworkSpec) -> Iterator[Finding]:
    """Yield what is wrong with one network."""
    if spec.driver and not _DRIVER.match(spec.driver):
        yield f"{path}.driver", f"{spec.driver[:80]!r} is no name of a driver; leave it out or write bridge"
    for index, pool in enumerate(spec.ipam):
        yield from _ipam(f"{path}.ipam.config[{index}]", pool)


def overlapping(networks: tuple[NetworkSpec, ...]) -> Iterator[Finding]:
    """Yield subnets of the app's own networks that share addresses."""
    seen: list[tuple[_Pool, str]] = []
    for spec in networks:
        for pool in () if spec.external else spec.ipam:
            subnet = _subnet(pool.subnet)
            if subnet is None:
                continue
            for other, owner in seen:
                if subnet.version == other.version and subnet.overlaps(other):
                    yield f"networks.{spec.key}.ipam", f"{subnet} overlaps with {other} of networks.{owner}; change one"
            seen.append((subnet, spec.key))


def attachments(path: str, service: ServiceSpec, known: frozenset[str]) -> Iterator[Finding]:
    """Yield what is wrong with the networks a service is on."""
    container = service.task.container
    if container.network_mode and container.networks:
        yield f"{path}.networks", f"cannot be combined with network_mode {container.network_mode!r}; keep one of them"
    seen: set[str] = set()
    for place in container.networks:
        where = f"{path}.networks.{place.network}"
        if place.network not in known:
            yield where, "there is no such network; define it under the top-level networks"
        if place.network in seen:
            yield where, "is written twice; keep one"
        seen.add(place.network)
        yield from address(f"{where}.ipv4_address", place.ipv4_address, 4)
        yield from address(f"{where}.ipv6_address", place.ipv6_address, 6)
        for index, local in enumerate(place.link_local_ips):
            yield from address(f"{where}.link_local_ips[{index}]", local)
        for index, alias in enumerate(place.aliases):
            if not _ALIAS.match(alias):
                yield f"{where}.aliases[{index}]", f"{alias[:80]!r} is no host name; use letters, digits, '-' and '.'"
        if place.interface_name and not _INTERFACE.match(place.interface_name):
            yield f"{where}.interface_name", "must be 1 to 15 letters, digits, '.', '_' and '-'"
        yield from _mac(f"{where}.mac_address", place.mac_address)
    yield from _mac(f"{path}.mac_address", container.mac_address)


def fixed_addresses(container: ContainerSpec) -> Iterator[str]:
    """Yield the key of every address that only one task at a time can have."""
    if container.mac_address:
        yield "mac_address"
    for place in container.networks:
        for key in ("ipv4_address", "ipv6_address", "mac_address"):
            if getattr(place, key):
                yield f"networks.{place.network}.{key}"
        if place.link_local_ips:
            yield f"networks.{place.network}.link_local_ips"


def resolver(path: str, container: ContainerSpec) -> Iterator[Finding]:
    """Yield what is wrong with names and resolver settings."""
    dns = container.dns
    for index, server in enumerate(dns.servers):
        yield from address(f"{path}.dns[{index}]", server)
        if not server:
            yield f"{path}.dns[{index}]", "must be an IP address"
    for index, line in enumerate(dns.extra_hosts):
        name, _, where = line.partition(":")
        place = f"{path}.extra_hosts[{index}]"
        if not _ALIAS.match(name) or not where:
            yield place, f'{line[:80]!r} must be a name and an address, such as "db.example:10.1.2.3"'
        elif where != "host-gateway":
            yield from address(place, where)
    for key, value in (("hostname", container.hostname), ("domainname", container.domainname)):
        if "{{" in value:
            yield f"{path}.{key}", "templates are not filled in yet; write a plain name or leave it out"
        elif value and not HOST_NAME.match(value):
            yield f"{path}.{key}", f"{value[:80]!r} is no host name; use letters, digits, '-' and '.'"


def _mac(path: str, text: str) -> Iterator[Finding]:
    if text and not MAC_ADDRESS.match(text):
        yield path, f"{text[:80]!r} is no MAC address; write six pairs such as 02:42:ac:11:00:02"


def _ipam(path: str, pool: IpamPool) -> Iterator[Finding]:
    subnet = _subnet(pool.subnet)
    if pool.subnet and subnet is None:
        yield f"{path}.subnet", f"{pool.subnet[:80]!r} is no subnet; write one such as 10.20.0.0/24"
        return
    inner = _subnet(pool.ip_range)
    if pool.ip_range and (inner is None or (subnet is not None and not _contains(subnet, inner))):
        message = f"{pool.ip_range[:80]!r} is no range within the subnet; write one such as 10.20.0.128/25"
        yield f"{path}.ip_range", message
    for key, text in (("gateway", pool.gateway), *((f"aux_addresses.{n}", a) for n, a in pool.aux_addresses.items())):
        problems = list(address(f"{path}.{key}", text))
        yield from problems
        if text and not problems and subnet is not None and ipaddress.ip_address(text) not in subnet:
            yield f"{path}.{key}", f"{text} is not in {subnet}"


def _subnet(text: str) -> _Pool | None:
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def _contains(outer: _Pool, inner: _Pool) -> bool:
    return outer.version == inner.version and inner[0] in outer and inner[-1] in outer
