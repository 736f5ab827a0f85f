"""By what two containers of one slot would be in each other's way, each with what would remove it. Pure.

Whether something is an obstacle is never decided here: the updater's own rule is asked about a service that has nothing
but that one thing.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from pilothouse.control.orchestrators.rollout import update_order
from pilothouse.model.container import ContainerSpec, MountKind, NetworkAttachment
from pilothouse.model.spec import ServiceSpec, UpdateOrder, UpdatePolicy

_NEITHER = "write `order: start-first` if both may have it at once"


def obstacles(spec: ServiceSpec) -> tuple[tuple[str, str], ...]:
    """Return (what it is, what would avoid it) of everything that has *spec* updated stop-first; () if it is not."""
    if update_order(spec) is not UpdateOrder.STOP_FIRST:
        return ()
    return in_each_others_way(spec) or (
        ("`order: stop-first` is written", "leave it out, or write `order: start-first`"),
    )


def in_each_others_way(spec: ServiceSpec) -> tuple[tuple[str, str], ...]:
    """Return (what it is, what would avoid it) of everything that two containers of a slot cannot both have."""
    return tuple((why, cure) for alone, why, cure in _suspects(spec.task.container) if _is_in_the_way(spec, alone))


def _is_in_the_way(spec: ServiceSpec, alone: ContainerSpec) -> bool:
    bare = replace(spec, task=replace(spec.task, container=alone), update=UpdatePolicy())
    return update_order(bare) is UpdateOrder.STOP_FIRST


def _suspects(whole: ContainerSpec) -> Iterator[tuple[ContainerSpec, str, str]]:
    """Yield a container that has one of the things of *whole*, what that thing is, and what would avoid it."""
    bare = ContainerSpec(image=whole.image)
    for port in whole.ports:
        first, last = port.published or (0, 0)
        name = f"port {port.target}/{port.protocol}" if not first else f"host port {first}/{port.protocol}"
        name = name if first == last else f"host ports {first}-{last}/{port.protocol}"
        cure = "publish one TCP port without `mode: host`, which the proxy serves for old and new tasks at once"
        yield replace(bare, ports=(port,)), f"only one container can listen on {name}", cure
    if whole.network_mode == "host":
        yield replace(bare, network_mode="host"), "it is on the host's network", "give it a network of the app's own"
    if whole.container_name:
        cure = "leave `container_name` out; other services find it by its service name"
        yield (
            replace(bare, container_name=whole.container_name),
            f"its container has to be called {whole.container_name}",
            cure,
        )
    if whole.mac_address:
        yield replace(bare, mac_address=whole.mac_address), "its MAC address is fixed", "leave `mac_address` out"
    for at in whole.networks:
        fixed = at.ipv4_address or at.ipv6_address or at.mac_address
        alone = NetworkAttachment(
            network=at.network, ipv4_address=at.ipv4_address, ipv6_address=at.ipv6_address, mac_address=at.mac_address
        )
        yield replace(bare, networks=(alone,)), f"its address {fixed} on {at.network} is fixed", "leave the address out"
    for mount in whole.mounts:
        what = "volume" if mount.kind is MountKind.VOLUME else "host path"
        why = f"the old task holds the {what} {mount.source} for writing"
        yield replace(bare, mounts=(mount,)), why, f"mount it read-only, or {_NEITHER}"
