"""What makes two containers of one slot impossible at the same time."""

from pilothouse.model.container import ContainerSpec, MountKind


def in_the_way(container: ContainerSpec) -> str:
    """Return by what two containers of one slot would be in each other's way, as a clause; "" if by nothing.

    Ports that the proxy serves are shared by all tasks of a service, so they are in nobody's way.
    """
    fixed = container.mac_address or any(
        at.ipv4_address or at.ipv6_address or at.mac_address for at in container.networks
    )
    shared = {MountKind.VOLUME, MountKind.BIND}
    writes = [
        mount.source for mount in container.mounts if mount.kind in shared and mount.source and not mount.read_only
    ]
    reasons = (
        (any(not port.ingress for port in container.ports), "the engine publishes a port of it"),
        (container.container_name, f"its container's name is fixed ({container.container_name})"),
        (fixed, "it has a fixed address"),
        (writes, f"it writes to {', '.join(writes)}"),
        (container.network_mode == "host", "it is on the host's network"),
    )
    return next((why for so, why in reasons if so), "")
