"""The rules for an app's networks and volumes: what they ask of the engine beyond a plain network or directory."""

from collections.abc import Iterable

from pilothouse.governance.policy.asks import Ask, Rule, Where, ask, free, named
from pilothouse.governance.policy.containers import host_path
from pilothouse.model.spec import NetworkSpec, VolumeSpec

FREE_NETWORK_OPTIONS = frozenset(
    {
        "com.docker.network.driver.mtu",
        "com.docker.network.bridge.enable_icc",
        "com.docker.network.bridge.enable_ip_masquerade",
        "com.docker.network.bridge.host_binding_ipv4",
        "com.docker.network.container_iface_prefix",
        "mtu",
    }
)
_TMPFS_OPTIONS = frozenset({"size", "nr_blocks", "nr_inodes", "mode", "uid", "gid"})
_TMPFS_FLAGS = frozenset({"ro", "rw", "noexec", "nosuid", "nodev", "noatime"})
_OTHER = "it belongs to somebody else, so what it holds or reaches is not this app's to decide"


def volume(where: Where, spec: VolumeSpec) -> Iterable[Ask]:
    """Judge a named volume: an engine directory and a tmpfs are free, whatever else the options mount is not."""
    if spec.external:
        return (ask(where, "external", "external-volume", spec.name, _OTHER),)
    if spec.driver not in {"", "local"}:
        reason = "a volume plugin runs with the host's rights"
        return (ask(where, "driver", "volume-driver", spec.driver, reason),)
    return _local_options(where, spec.driver_opts) if spec.driver_opts else ()


def _local_options(where: Where, options: dict[str, str]) -> Iterable[Ask]:
    words = [word.strip() for word in options.get("o", "").split(",") if word.strip()]
    kind, device = options.get("type", ""), options.get("device", "")
    binds = {"bind", "rbind"} & {word.lower() for word in words} or kind.lower() in {"none", "bind"}
    if binds:
        return (host_path(where, "driver_opts", device, reading="ro" in words),)
    if kind == "tmpfs" and set(options) <= {"type", "o", "device"} and all(_harmless(word) for word in words):
        return ()
    reason = "the engine mounts it with the host's rights and addresses"
    asked = (
        f"local:{kind}:{device}" if set(options) <= {"type", "o", "device"} else f"local:{','.join(sorted(options))}"
    )
    return (ask(where, "driver_opts", "volume-driver", asked, reason),)


def _harmless(word: str) -> bool:
    return word in _TMPFS_FLAGS or word.partition("=")[0] in _TMPFS_OPTIONS


def network(where: Where, spec: NetworkSpec) -> Iterable[Ask]:
    """Judge a network: a bridge of the app's own is free."""
    if spec.external:
        return (ask(where, "external", "external-network", spec.name, _OTHER),)
    return tuple(found for field, rule in NETWORK.items() for found in rule(where, getattr(spec, field)))


_HOST_RIGHTS = "network drivers act with the host's rights"

NETWORK: dict[str, Rule] = {
    **dict.fromkeys(
        ("key", "name", "external", "internal", "attachable", "enable_ipv4", "enable_ipv6", "ipam", "labels"), free
    ),
    "driver": named("driver", "network-driver", _HOST_RIGHTS, frozenset({"bridge", "default"})),
    "driver_opts": named("driver_opts", "network-option", _HOST_RIGHTS, FREE_NETWORK_OPTIONS),
    "ipam_driver": named("ipam.driver", "network-driver", _HOST_RIGHTS, frozenset({"default"})),
}

# Judged whole by `volume` above.
VOLUME_FIELDS = frozenset({"key", "name", "driver", "driver_opts", "external", "labels"})
