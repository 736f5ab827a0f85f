"""How a container is reached and reaches others: networks, ports, names, namespaces it shares."""

from pilothouse.compose import quantities
from pilothouse.compose.reader import Reader
from pilothouse.model.container import Dns, NetworkAttachment, Port, PortMode
from pilothouse.model.spec import IpamPool, NetworkSpec

DEFAULT_NETWORK = "default"
_MODES = {mode.value: mode for mode in PortMode}


def attachments(service: Reader) -> tuple[str, tuple[NetworkAttachment, ...]]:
    """Return the network mode of *service* ("" uses networks) and its networks, by priority, then name.

    The engine's `bridge` is shared by all apps, so it becomes the app's own default network.
    """
    mode = service.text("network_mode")
    found = [_attachment(key, entry) for key, entry in service.entries("networks")]
    if mode in {"bridge", DEFAULT_NETWORK}:
        service.warn("network_mode", f"{mode!r} is the default network of the app here; remove the key to say so")
        mode, found = "", []
    if mode and found:
        service.error("networks", f"cannot be combined with network_mode {mode!r}; keep one of them")
    if not mode and not found:
        found = [NetworkAttachment(network=DEFAULT_NETWORK)]
    return mode, tuple(sorted(found, key=lambda a: (-a.priority, a.network)))


def ports(service: Reader) -> tuple[Port, ...]:
    """Return the published ports of *service*; without a network of its own there are none, as with the engine."""
    found = []
    for entry in service.children("ports"):
        mode = entry.text("mode", PortMode.INGRESS.value)
        if mode not in _MODES:
            entry.error("mode", f"{mode!r} is not known; write ingress or host")
        target = entry.integer("target")
        if target is None:
            entry.error("target", "is needed; write the port inside the container")
        found.append(
            Port(
                target=target or 0,
                published=entry.parsed("published", quantities.port_range),
                host_ip=entry.text("host_ip"),
                protocol=entry.text("protocol", "tcp"),
                mode=_MODES.get(mode, PortMode.INGRESS),
                name=entry.text("name"),
                app_protocol=entry.text("app_protocol"),
            )
        )
    if found and service.text("network_mode") in {"host", "none"}:
        service.warn("ports", f"are ignored with network_mode: {service.text('network_mode')}; remove one of the two")
        return ()
    return tuple(found)


def dns(service: Reader) -> Dns:
    """Return the resolver settings; an extra host is "NAME:ADDRESS" whatever way it was written."""
    hosts = []
    for line in service.texts("extra_hosts"):
        name, _, address = line.partition("=") if "=" in line else line.partition(":")
        hosts.append(f"{name}:{address.removeprefix('[').removesuffix(']')}")
    return Dns(
        servers=service.texts("dns"),
        search=service.texts("dns_search"),
        options=service.texts("dns_opt"),
        extra_hosts=tuple(hosts),
    )


def networks(project: Reader, app: str, used: set[str]) -> tuple[NetworkSpec, ...]:
    """Return the networks of the app, with the default one if some service is on it."""
    found = {key: _network(key, entry, app) for key, entry in project.entries("networks")}
    if DEFAULT_NETWORK in used and DEFAULT_NETWORK not in found:
        found[DEFAULT_NETWORK] = NetworkSpec(key=DEFAULT_NETWORK, name=f"{app}_{DEFAULT_NETWORK}")
    return tuple(found[key] for key in sorted(found))


def _attachment(key: str, entry: Reader) -> NetworkAttachment:
    return NetworkAttachment(
        network=key,
        aliases=entry.texts("aliases"),
        ipv4_address=entry.text("ipv4_address"),
        ipv6_address=entry.text("ipv6_address"),
        link_local_ips=entry.texts("link_local_ips"),
        mac_address=entry.text("mac_address"),
        driver_opts=entry.pairs("driver_opts"),
        priority=entry.integer("priority") or 0,
        gateway_priority=entry.integer("gw_priority") or 0,
        interface_name=entry.text("interface_name"),
    )


def _network(key: str, entry: Reader, app: str) -> NetworkSpec:
    external, options = entry.flag("external"), entry.pairs("driver_opts")
    driver = entry.text("driver")
    if driver == "overlay":
        entry.warn("driver", "overlay is an ordinary network on one host; nothing leaves it, so nothing is encrypted")
        driver = ""
        options.pop("encrypted", None)
    ipam = entry.child("ipam")
    ipam.refuse("options", "are not supported; remove them")
    return NetworkSpec(
        key=key,
        name=entry.text("name") or (key if external else f"{app}_{key}"),
        driver=driver,
        driver_opts=options,
        external=external,
        internal=entry.flag("internal"),
        attachable=entry.flag("attachable"),
        enable_ipv4=entry.maybe_flag("enable_ipv4"),
        enable_ipv6=entry.flag("enable_ipv6"),
        ipam_driver=ipam.text("driver"),
        ipam=tuple(_pool(pool) for pool in ipam.children("config")),
        labels=entry.pairs("labels"),
    )


def _pool(pool: Reader) -> IpamPool:
    return IpamPool(
        subnet=pool.text("subnet"),
        ip_range=pool.text("ip_range"),
        gateway=pool.text("gateway"),
        aux_addresses=pool.pairs("aux_addresses"),
    )
