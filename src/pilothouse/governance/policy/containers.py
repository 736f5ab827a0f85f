"""The rules for a container: every field of its spec, privileges, limits, mounts and hooks, classified.

A table per type; the test fails for a field that is in none, and at run time such a field is refused.
"""

from collections.abc import Iterable

from pilothouse.governance.policy import paths
from pilothouse.governance.policy.asks import NOT_GRANTABLE, Ask, Rule, Where, ask, flag, free, named
from pilothouse.model.container import Device, DeviceRequest, Mount, MountKind, Ulimit
from pilothouse.model.hardening import DEFAULT_CAPABILITIES, normal_capability

# Namespaced by the kernel, so they change nothing outside the container (as long as it has namespaces of its own).
SAFE_NETWORK_SYSCTLS = frozenset(
    {
        "net.core.somaxconn",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
SAFE_IPC_SYSCTLS = frozenset(
    {
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shm_rmid_forced",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
    }
)
FREE_LOG_DRIVERS = frozenset({"", "json-file", "local", "none"})
FREE_LOG_OPTIONS = frozenset(
    {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"}
)
_PRIVATE_PROPAGATION = frozenset({"", "private", "rprivate"})
_REALTIME_ULIMITS = frozenset({"rtprio", "nice", "rttime"})
_OTHER_APP = "it reaches a container that is not part of the app"


def _cap_add(where: Where, value: tuple[str, ...]) -> Iterable[Ask]:
    reason = "a capability beyond the safe set lets a process do what only the host's root should"
    asked = ((name, normal_capability(name)) for name in value)
    return tuple(
        ask(where, "cap_add", "cap-add", cap, reason, n) for n, cap in asked if cap not in DEFAULT_CAPABILITIES
    )


def _security_opt(where: Where, value: tuple[str, ...]) -> Iterable[Ask]:
    harmless = {"no-new-privileges", "no-new-privileges:true"}
    reason = "it replaces a rule that keeps the container inside its walls"
    return tuple(
        ask(where, "security_opt", "security-opt", option, reason)
        for option in (raw.replace("=", ":", 1) for raw in value)
        if option not in harmless
    )


def _devices(where: Where, value: tuple[Device, ...]) -> Iterable[Ask]:
    return tuple(
        ask(where, "devices", "device", f"{paths.normal(d.source)}:{d.permissions}", "a device belongs to the host")
        for d in value
    )


def _sysctls(where: Where, value: dict[str, str]) -> Iterable[Ask]:
    safe: frozenset[str] = frozenset()
    if "network" not in where.host_namespaces:
        safe |= SAFE_NETWORK_SYSCTLS
    if "ipc" not in where.host_namespaces:
        safe |= SAFE_IPC_SYSCTLS
    reason = "this kernel setting is not known to stay inside the container"
    return tuple(
        ask(where, "sysctls", "sysctl", name, reason, f"{name}={setting}")
        for name, setting in ((n.replace("/", "."), s) for n, s in value.items())
        if name not in safe
    )


def namespace(name: str, kind: str, reason: str, harmless: frozenset[str] = frozenset({"private"})) -> Rule:
    """Return the rule for a namespace setting: private and a service of the app are free, the host's needs a grant."""

    def rule(where: Where, value: str) -> Iterable[Ask]:
        own_service = value.startswith("service:") and value.removeprefix("service:") in where.services
        if not value or value in harmless or own_service:
            return ()
        if value == "host":
            return (ask(where, name, kind, "", reason, value),)
        if value.startswith(("container:", "service:")):
            return (ask(where, name, "container-namespace", value, _OTHER_APP),)
        return (ask(where, name, NOT_GRANTABLE, value, "this value is not known, so it is refused"),)

    return rule


def network_mode(where: Where, value: str) -> Iterable[Ask]:
    """Judge `network_mode`: none and a service's are free; the host's, a container's and an engine network are not."""
    known = namespace("network_mode", "network-host", "it uses every address and port of the host", frozenset({"none"}))
    if value in {"", "none", "host"} or value.startswith(("service:", "container:")):
        return known(where, value)
    reason = "this engine network is shared with containers of other apps"
    return (ask(where, "network_mode", "external-network", value, reason),)


def mount(where: Where, value: Mount) -> Iterable[Ask]:
    """Judge one mount: only binds reach the host; volumes are judged where the app defines them."""
    if value.kind is not MountKind.BIND:
        return ()
    # A relabelled path is written to even if it is mounted for reading.
    reading = value.read_only and not value.selinux
    found = [host_path(where, "volumes", value.source, reading)]
    if value.propagation not in _PRIVATE_PROPAGATION:
        reason = "mounts made on one side would appear on the other"
        found.append(ask(where, "volumes", "mount-propagation", value.propagation, reason))
    return tuple(found)


def host_path(where: Where, name: str, source: str, reading: bool) -> Ask:
    """Return the ask for one path of the host; a sealed one is not grantable."""
    asked = paths.normal(source) + (paths.READ_ONLY if reading else "")
    if not source.startswith("/"):
        return ask(where, name, NOT_GRANTABLE, source, "a host path must be absolute")
    if paths.sealed(source):
        reason = "it holds or contains an engine's socket or this platform's own data, and that is the whole host"
        return ask(where, name, NOT_GRANTABLE, asked, reason)
    return ask(where, name, "host-path", asked, "a path of the host is the shortest way out of a container")


def _mounts(where: Where, value: tuple[Mount, ...]) -> Iterable[Ask]:
    return tuple(found for one in value for found in mount(where, one))


def _volumes_from(where: Where, value: tuple[str, ...]) -> Iterable[Ask]:
    sources = (entry.removesuffix(":ro").removesuffix(":rw") for entry in value)
    return tuple(
        ask(where, "volumes_from", "volumes-from", source, _OTHER_APP)
        for source in sources
        if source not in where.services
    )


def _links(where: Where, value: tuple[str, ...]) -> Iterable[Ask]:
    names = (entry.partition(":")[0] for entry in value)
    return tuple(ask(where, "links", "external-link", n, _OTHER_APP) for n in names if n not in where.services)


def _gpus(where: Where, value: tuple[DeviceRequest, ...]) -> Iterable[Ask]:
    shown = ", ".join(sorted({c for request in value for c in request.capabilities})) or "all"
    return (ask(where, "gpus", "gpu", "", "devices belong to the host", shown),) if value else ()


def _ulimits(where: Where, value: dict[str, Ulimit]) -> Iterable[Ask]:
    reason = "it lets the container run before other processes of the host"
    return tuple(ask(where, "ulimits", "realtime", "", reason, name) for name in value if name in _REALTIME_ULIMITS)


def _oom_score(where: Where, value: int) -> Iterable[Ask]:
    reason = "the kernel would kill other processes of the host first"
    return (ask(where, "oom_score_adj", "oom-score-adj", "", reason, str(value)),) if value < 0 else ()


def _pids(where: Where, value: int) -> Iterable[Ask]:
    reason = "without a limit one container can use up the host's processes"
    return (ask(where, "pids_limit", "pids-unlimited", "", reason, str(value)),) if value < 0 else ()


def _log_options(where: Where, value: dict[str, str]) -> Iterable[Ask]:
    reason = "a log option of this kind can read files or reach addresses of the host"
    return tuple(
        ask(where, "logging.options", "log-driver", name, reason) for name in value if name not in FREE_LOG_OPTIONS
    )


_REALTIME = "realtime scheduling can starve every other process of the host"

PRIVILEGES: dict[str, Rule] = {
    "privileged": flag("privileged", "privileged", "a privileged container is the host's root"),
    "cap_add": _cap_add,
    "cap_drop": free,
    "security_opt": _security_opt,
    "devices": _devices,
    "device_cgroup_rules": named("device_cgroup_rules", "device-cgroup-rule", "devices belong to the host"),
    "sysctls": _sysctls,
    "cgroup": namespace("cgroup", "cgroup-host", "it shows the host's control groups"),
    "cgroup_parent": named("cgroup_parent", "cgroup-parent", "the limits of another group would hold"),
    "ipc": namespace("ipc", "ipc-host", "it shares memory with the host", frozenset({"private", "shareable", "none"})),
    "pid": namespace("pid", "pid-host", "it shows every process of the host"),
    "uts": namespace("uts", "uts-host", "it shares the host's name"),
    "userns_mode": namespace("userns_mode", "userns-host", "its root would be the host's root"),
    "use_api_socket": flag("use_api_socket", NOT_GRANTABLE, "whoever talks to the engine is the host's root"),
}

LIMITS: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "cpu_nano",
            "cpu_shares",
            "cpu_period_us",
            "cpu_quota_us",
            "cpuset",
            "memory_bytes",
            "memory_reservation_bytes",
            "memory_swap_bytes",
            "memory_swappiness",
            "blkio",
        ),
        free,
    ),
    "cpu_rt_period_us": flag("cpu_rt_period", "realtime", _REALTIME),
    "cpu_rt_runtime_us": flag("cpu_rt_runtime", "realtime", _REALTIME),
    "pids": _pids,
    "oom_score_adj": _oom_score,
    "oom_kill_disable": flag("oom_kill_disable", "oom-kill-disable", "the host can stand still when memory runs out"),
}

LOGGING: dict[str, Rule] = {
    "driver": named("logging.driver", "log-driver", "this driver sends output elsewhere", FREE_LOG_DRIVERS),
    "options": _log_options,
}

HOOK: dict[str, Rule] = {
    **dict.fromkeys(("command", "user", "working_dir", "environment", "image", "per_replica"), free),
    "privileged": flag("privileged", "hook-privileged", "a privileged command is the host's root"),
}

ATTACHMENT: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "network",
            "aliases",
            "ipv4_address",
            "ipv6_address",
            "link_local_ips",
            "mac_address",
            "priority",
            "gateway_priority",
            "interface_name",
        ),
        free,
    ),
    "driver_opts": named("driver_opts", "network-option", "network drivers act on options with the host's rights"),
}

# Judged whole by `mount` above; the table says that each field was thought of.
MOUNT_FIELDS = frozenset(
    {
        "kind",
        "target",
        "source",
        "read_only",
        "nocopy",
        "subpath",
        "propagation",
        "create_host_path",
        "selinux",
        "size_bytes",
        "mode",
    }
)

# Judged by a table of their own.
NESTED = frozenset({"privileges", "limits", "logging", "networks"})

CONTAINER: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "image",
            "command",
            "entrypoint",
            "environment",
            "labels",
            "hostname",
            "domainname",
            "container_name",
            "user",
            "group_add",
            "working_dir",
            "tty",
            "stdin_open",
            "init",
            "read_only",
            "stop_signal",
            "stop_grace_seconds",
            "platform",
            "pull_policy",
            "shm_size_bytes",
            "healthcheck",
            "dns",
            "secrets",
            "configs",
            "mac_address",
            "ports",
            "expose",
        ),
        free,
    ),
    "annotations": named("annotations", "annotation", "low-level runtimes act on annotations"),
    "runtime": named("runtime", "runtime", "another runtime has other walls"),
    "storage_opt": named("storage_opt", "storage-opt", "it changes how the engine stores files", frozenset({"size"})),
    "ulimits": _ulimits,
    "gpus": _gpus,
    "mounts": _mounts,
    "volumes_from": _volumes_from,
    "network_mode": network_mode,
    "links": _links,
}
