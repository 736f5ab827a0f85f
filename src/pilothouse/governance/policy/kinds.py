"""The kinds of grants there are, and which asked value a granted value covers.

A kind that says it all (privileged, network-host …) takes no value. Every other kind names exactly what is allowed;
only host paths may be wider than what is asked: a path covers everything below it, ":ro" only read-only use.
"""

from collections.abc import Callable

import msgspec

from pilothouse.errors import InvalidRequestError
from pilothouse.governance.policy import paths
from pilothouse.model.hardening import normal_capability

Covers = Callable[[str, str], bool]


class GrantKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of grant.

    Attributes:
        says: What holding it lets a container do, in one sentence.
        value: What its value is ("a path …"), or "" if the kind says it all.
        covers: Whether a granted value allows an asked one.
        clean: Returns a value's one spelling, or raises InvalidRequestError.
    """

    name: str
    says: str
    value: str = ""
    covers: Covers
    clean: Callable[[str], str]


def _exact(granted: str, asked: str) -> bool:
    return granted == asked


def _any(_granted: str, _asked: str) -> bool:
    return True


def _capability_covers(granted: str, asked: str) -> bool:
    return granted in {"ALL", asked}


def _device_covers(granted: str, asked: str) -> bool:
    path, _, permissions = granted.rpartition(":")
    asked_path, _, asked_permissions = asked.rpartition(":")
    return path == asked_path and set(asked_permissions) <= set(permissions)


def _no_value(value: str) -> str:
    if value:
        raise InvalidRequestError(f"this kind of grant takes no value, but got {value[:80]!r}; leave it out")
    return ""


def _text(value: str) -> str:
    cleaned = value.strip()
    if not cleaned or any(ord(c) < 32 for c in cleaned):
        raise InvalidRequestError("this kind of grant must name exactly what it allows; give a value")
    if "*" in cleaned or "?" in cleaned:
        raise InvalidRequestError(f"{cleaned[:80]!r}: wildcards are not understood; name exactly what is allowed")
    return cleaned


def _capability(value: str) -> str:
    return normal_capability(_text(value))


def _device(value: str) -> str:
    cleaned = _text(value)
    path, colon, permissions = cleaned.rpartition(":")
    if not colon:
        path, permissions = cleaned, "rwm"
    if not path.startswith("/") or not permissions or set(permissions) - set("rwm"):
        raise InvalidRequestError(f"{cleaned[:80]!r} is not a device: write /dev/NAME or /dev/NAME:r (of r, w, m)")
    return f"{paths.normal(path)}:{permissions}"


def _cgroup_rule(value: str) -> str:
    if not value.strip():
        raise InvalidRequestError("write the rule it allows, e.g. 'c 188:* rmw'")
    return value.strip()


def _sysctl(value: str) -> str:
    return _text(value).replace("/", ".")


def _option(value: str) -> str:
    return _text(value).replace("=", ":", 1)


def _host_path(value: str) -> str:
    return paths.clean_grant(_text(value))


def _plain(name: str, says: str) -> GrantKind:
    return GrantKind(name=name, says=says, covers=_any, clean=_no_value)


def _valued(
    name: str, says: str, value: str, covers: Covers = _exact, clean: Callable[[str], str] = _text
) -> GrantKind:
    return GrantKind(name=name, says=says, value=value, covers=covers, clean=clean)


GRANT_KINDS: dict[str, GrantKind] = {
    kind.name: kind
    for kind in (
        _plain("privileged", "The container has every capability and every device of the host."),
        _plain("hook-privileged", "A hook's command runs privileged inside the container."),
        _valued(
            "cap-add",
            "The container keeps one kernel capability beyond the safe set.",
            "a capability, e.g. NET_ADMIN; ALL is every one",
            _capability_covers,
            _capability,
        ),
        _valued(
            "host-path",
            "The container sees a file or directory of the host.",
            "a path, for everything below it; with :ro only for reading",
            paths.covers,
            _host_path,
        ),
        _valued(
            "mount-propagation", "Mounts made in the container or on the host reach the other.", "rshared, rslave …"
        ),
        _valued(
            "device", "The container uses a device of the host.", "/dev/NAME or /dev/NAME:r", _device_covers, _device
        ),
        _valued(
            "device-cgroup-rule",
            "The container may use a class of devices.",
            "the rule, e.g. c 188:* rmw",
            clean=_cgroup_rule,
        ),
        _plain("network-host", "The container uses the host's network, with all its addresses and ports."),
        _plain("pid-host", "The container sees and signals every process of the host."),
        _plain("ipc-host", "The container shares memory with processes of the host."),
        _plain("uts-host", "The container shares the host's name and can change it."),
        _plain("userns-host", "The container's root is the host's root although the engine separates users."),
        _plain("cgroup-host", "The container sees the host's control groups."),
        _valued(
            "cgroup-parent", "The container escapes the limits around it by living in another control group.", "a group"
        ),
        _valued("container-namespace", "The container joins a container outside its app.", "container:NAME"),
        _valued("volumes-from", "The container mounts what a container outside its app mounts.", "container:NAME"),
        _valued(
            "sysctl",
            "The container changes a kernel setting that is not known to stay inside it.",
            "its name",
            clean=_sysctl,
        ),
        _valued(
            "security-opt",
            "The container runs with a seccomp, AppArmor or SELinux rule of its own.",
            "the option",
            clean=_option,
        ),
        _plain("oom-score-adj", "The kernel kills other processes before this one when memory runs out."),
        _plain("oom-kill-disable", "The kernel does not kill it when its memory runs out; the host can stand still."),
        _plain("pids-unlimited", "The container may start processes until the host has no room for another."),
        _plain("realtime", "The container may run before every other process of the host."),
        _plain("gpu", "The container uses the host's graphics or compute devices."),
        _valued("runtime", "The container runs under another program than the engine's default.", "the runtime's name"),
        _valued("annotation", "The container carries an annotation; low-level runtimes act on some.", "its name"),
        _valued("storage-opt", "The container changes how the engine stores its files.", "the option's name"),
        _valued("log-driver", "The engine sends the container's output somewhere else.", "the driver's name"),
        _valued(
            "volume-driver", "A volume is made by a plugin or mounted from elsewhere.", "DRIVER or local:TYPE:DEVICE"
        ),
        _valued("external-volume", "The app uses a volume that is not its own.", "the volume's name"),
        _valued("network-driver", "A network is made by another driver than the bridge.", "the driver's name"),
        _valued("network-option", "A network or an attachment carries a driver option.", "the option's name"),
        _valued("external-network", "The app joins a network that is not its own.", "the network's name"),
        _valued("external-link", "The container is linked to a container outside its app.", "the container's name"),
    )
}


def check_grant(kind: str, value: str) -> str:
    """Return the value's one spelling if there is such a grant.

    Raises:
        InvalidRequestError: No such kind, or a value that it cannot have.
    """
    found = GRANT_KINDS.get(kind)
    if found is None:
        known = ", ".join(sorted(GRANT_KINDS))
        raise InvalidRequestError(f"there is no grant of the kind {kind[:80]!r}; the kinds are: {known}")
    try:
        return found.clean(value)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"grant {kind}: {error}") from error
