"""The whole create request of a container, as a pure function of its plan: no user's JSON ever reaches the engine.

The engine reads keys without regard to case and has three ways to mount a host path, so nothing is merged, filtered or
passed on: every key below is written here, in the engine's spelling, and `fields` says what becomes of the others.
"""

import math

import msgspec

from pilothouse.agent.runtime.docker.dialect import Dialect
from pilothouse.agent.runtime.interface import ContainerPlan, EndpointPlan, PlannedMount
from pilothouse.errors import PermanentError
from pilothouse.model.container import Blkio, ContainerSpec, Healthcheck, Limits, Privileges
from pilothouse.model.hardening import harden

Json = dict[str, object]
SYSTEM_PATHS_OPEN = {"systempaths=unconfined", "systempaths:unconfined"}
INTERFACE_OPTION = "com.docker.network.endpoint.ifname"
_NANO = 1_000_000_000


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the body needs to know of an image: the command line a plan may leave to it."""

    entrypoint: tuple[str, ...] = ()


def create_body(plan: ContainerPlan, dialect: Dialect, image: ImageFacts | None = None) -> Json:
    """Return the body of `POST /containers/create`.

    The safe defaults are put in once more, so that no caller can forget them.

    Raises:
        PermanentError: The plan asks for something this engine has no word for, or a path no engine can take.
    """
    spec = harden(plan.spec)
    body: Json = {
        "Image": plan.image,
        "Hostname": spec.hostname,
        "Domainname": spec.domainname,
        "User": spec.user,
        "WorkingDir": spec.working_dir,
        "Env": [f"{key}={value}" for key, value in spec.environment.items()],
        "Labels": dict(plan.labels),
        "Tty": spec.tty,
        "OpenStdin": spec.stdin_open,
        "StdinOnce": False,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "StopTimeout": math.ceil(spec.stop_grace_seconds),
        "ExposedPorts": {port: {} for port in _exposed(plan)},
        "HostConfig": _host_config(plan, spec, dialect),
        "NetworkingConfig": {"EndpointsConfig": {e.network: endpoint(e, dialect) for e in at_create(plan, dialect)}},
    }
    body |= _command(spec, image or ImageFacts())
    if spec.stop_signal:
        body["StopSignal"] = spec.stop_signal
    if spec.healthcheck is not None:
        body["Healthcheck"] = _healthcheck(spec.healthcheck, dialect)
    if (mac := _container_mac(plan, spec)) and not dialect.endpoint_mac_address:
        body["MacAddress"] = mac
    return body


def at_create(plan: ContainerPlan, dialect: Dialect) -> tuple[EndpointPlan, ...]:
    """Return the endpoints the create request carries; the rest is connected afterwards, before the start."""
    return plan.endpoints if dialect.all_networks_at_create else plan.endpoints[:1]


def endpoint(plan: EndpointPlan, dialect: Dialect) -> Json:
    """Return the settings of one endpoint, for create and for connect."""
    options = dict(plan.driver_opts)
    if plan.interface_name:
        options[INTERFACE_OPTION] = plan.interface_name
    settings: Json = {"Aliases": list(plan.aliases)}
    address = {
        "IPv4Address": plan.ipv4_address,
        "IPv6Address": plan.ipv6_address,
        "LinkLocalIPs": list(plan.link_local_ips),
    }
    if kept := {key: value for key, value in address.items() if value}:
        settings["IPAMConfig"] = kept
    if options:
        settings["DriverOpts"] = options
    if plan.mac_address and dialect.endpoint_mac_address:
        settings["MacAddress"] = plan.mac_address
    if plan.gateway_priority and dialect.gateway_priority:
        settings["GwPriority"] = plan.gateway_priority
    return settings


def _host_config(plan: ContainerPlan, spec: ContainerSpec, dialect: Dialect) -> Json:
    return {
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
        "PublishAllPorts": False,
        "PortBindings": _port_bindings(plan),
        "NetworkMode": plan.network_mode or (plan.endpoints[0].network if plan.endpoints else "none"),
        "Binds": [_bind(mount) for mount in plan.mounts if _needs_bind(mount)],
        "Mounts": [_mount(mount, dialect) for mount in plan.mounts if not _needs_bind(mount)],
        "VolumesFrom": list(plan.volumes_from),
        "ReadonlyRootfs": spec.read_only,
        "ShmSize": spec.shm_size_bytes,
        "StorageOpt": dict(spec.storage_opt),
        "GroupAdd": list(spec.group_add),
        "LogConfig": {"Type": spec.logging.driver, "Config": dict(spec.logging.options)},
        "Dns": list(spec.dns.servers),
        "DnsSearch": list(spec.dns.search),
        "DnsOptions": list(spec.dns.options),
        "ExtraHosts": list(spec.dns.extra_hosts),
        "Ulimits": [{"Name": n, "Soft": u.soft, "Hard": u.hard} for n, u in sorted(spec.ulimits.items())],
        "DeviceRequests": _device_requests(spec),
        "Runtime": spec.runtime,
        **({"Init": spec.init} if spec.init is not None else {}),
        **({"Annotations": dict(spec.annotations)} if spec.annotations and dialect.annotations else {}),
        **_isolation(plan, spec.privileges),
        **_limits(spec.limits),
    }


def _isolation(plan: ContainerPlan, privileges: Privileges) -> Json:
    """Return everything that decides how far the container reaches past its walls."""
    options = [option for option in privileges.security_opt if option not in SYSTEM_PATHS_OPEN]
    isolation: Json = {
        "Privileged": privileges.privileged,
        "CapAdd": list(privileges.cap_add),
        "CapDrop": list(privileges.cap_drop),
        "SecurityOpt": options,
        "Sysctls": dict(privileges.sysctls),
        "Devices": [
            {"PathOnHost": d.source, "PathInContainer": d.target, "CgroupPermissions": d.permissions}
            for d in privileges.devices
        ],
        "DeviceCgroupRules": list(privileges.device_cgroup_rules),
        "CgroupParent": privileges.cgroup_parent,
        "CgroupnsMode": privileges.cgroup or "private",
        "IpcMode": plan.ipc or "private",
        "PidMode": plan.pid,
        "UTSMode": plan.uts,
        "UsernsMode": privileges.userns_mode,
    }
    if len(options) < len(privileges.security_opt):
        isolation |= {"MaskedPaths": [], "ReadonlyPaths": []}
    return isolation


def _limits(limits: Limits) -> Json:
    wanted: Json = {
        "PidsLimit": limits.pids,
        "NanoCpus": limits.cpu_nano,
        "CpuShares": limits.cpu_shares,
        "CpuPeriod": limits.cpu_period_us,
        "CpuQuota": limits.cpu_quota_us,
        "CpuRealtimePeriod": limits.cpu_rt_period_us,
        "CpuRealtimeRuntime": limits.cpu_rt_runtime_us,
        "CpusetCpus": limits.cpuset,
        "Memory": limits.memory_bytes,
        "MemoryReservation": limits.memory_reservation_bytes,
        "MemorySwap": limits.memory_swap_bytes,
        "OomScoreAdj": limits.oom_score_adj,
        "OomKillDisable": limits.oom_kill_disable,
    }
    if limits.memory_swappiness is not None:
        wanted["MemorySwappiness"] = limits.memory_swappiness
    return wanted | (_blkio(limits.blkio) if limits.blkio else {})


def _blkio(blkio: Blkio) -> Json:
    rates = {
        "BlkioDeviceReadBps": blkio.device_read_bps,
        "BlkioDeviceWriteBps": blkio.device_write_bps,
        "BlkioDeviceReadIOps": blkio.device_read_iops,
        "BlkioDeviceWriteIOps": blkio.device_write_iops,
    }
    return {
        "BlkioWeight": blkio.weight,
        "BlkioWeightDevice": [{"Path": d.path, "Weight": d.weight} for d in blkio.weight_device],
        **{key: [{"Path": d.path, "Rate": d.rate} for d in devices] for key, devices in rates.items()},
    }


def _command(spec: ContainerSpec, image: ImageFacts) -> Json:
    if spec.entrypoint is not None:
        return {"Entrypoint": list(spec.entrypoint), "Cmd": list(spec.command or ())}
    if spec.command == ():
        # The engine takes an empty Cmd for "the image's"; only together with an entrypoint does it mean none.
        return {"Entrypoint": list(image.entrypoint), "Cmd": []}
    return {} if spec.command is None else {"Cmd": list(spec.command)}


def _healthcheck(check: Healthcheck, dialect: Dialect) -> Json:
    wanted: Json = {"Test": list(check.test)}
    times = {
        "Interval": check.interval_seconds,
        "Timeout": check.timeout_seconds,
        "StartPeriod": check.start_period_seconds,
        "StartInterval": check.start_interval_seconds if dialect.start_interval else None,
    }
    wanted |= {key: round(seconds * _NANO) for key, seconds in times.items() if seconds is not None}
    if check.retries is not None:
        wanted["Retries"] = check.retries
    return wanted


def _container_mac(plan: ContainerPlan, spec: ContainerSpec) -> str:
    return spec.mac_address or next((e.mac_address for e in plan.endpoints if e.mac_address), "")


def _exposed(plan: ContainerPlan) -> list[str]:
    wanted = {port if "/" in port else f"{port}/tcp" for port in plan.spec.expose}
    return sorted(wanted | {f"{port.target}/{port.protocol}" for port in plan.ports})


def _port_bindings(plan: ContainerPlan) -> Json:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in plan.ports:
        binding = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        bindings.setdefault(f"{port.target}/{port.protocol}", []).append(binding)
    return dict(bindings)


def _device_requests(spec: ContainerSpec) -> list[Json]:
    return [
        {
            "Driver": request.driver,
            "Count": request.count or 0,
            "DeviceIDs": list(request.device_ids),
            "Capabilities": [list(request.capabilities)],
            "Options": dict(request.options),
        }
        for request in spec.gpus
    ]


def _needs_bind(mount: PlannedMount) -> bool:
    """Whether a mount needs the older notation: only it creates the host path, and only it knows SELinux labels."""
    return mount.kind == "bind" and (mount.create_host_path or bool(mount.selinux))


def _bind(mount: PlannedMount) -> str:
    for path in (mount.source, mount.target):
        if ":" in path or not path.startswith("/"):
            raise PermanentError(
                f"the path {path!r} cannot be mounted: with create_host_path or selinux a path must be absolute and "
                "must not contain ':'; set create_host_path: false"
            )
    options = ["ro" if mount.read_only else "rw", mount.selinux, mount.propagation]
    return f"{mount.source}:{mount.target}:{','.join(option for option in options if option)}"


def _mount(mount: PlannedMount, dialect: Dialect) -> Json:
    wanted: Json = {"Type": mount.kind, "Target": mount.target, "ReadOnly": mount.read_only}
    match mount.kind:
        case "volume":
            _check(not mount.subpath or dialect.volume_subpath, f"mount a part of a volume at {mount.target}", "26.0")
            options = {"NoCopy": mount.nocopy, "Subpath": mount.subpath}
            wanted["VolumeOptions"] = {key: value for key, value in options.items() if value}
        case "bind":
            wanted["BindOptions"] = {"Propagation": mount.propagation or "rprivate"}
        case "tmpfs":
            wanted["TmpfsOptions"] = {"SizeBytes": mount.size_bytes or 0, "Mode": mount.mode or 0o1777}
        case "image":
            _check(dialect.image_mounts, f"mount an image at {mount.target}", "28.0")
            wanted["ImageOptions"] = {"Subpath": mount.subpath} if mount.subpath else {}
        case _:
            raise PermanentError(f"the mount at {mount.target} is of kind {mount.kind!r}, which no engine is asked for")
    if mount.kind != "tmpfs" and mount.source:
        wanted["Source"] = mount.source
    return wanted


def _check(possible: bool, what: str, since: str) -> None:
    if not possible:
        raise PermanentError(f"this engine cannot {what}: use Docker Engine {since} or newer, or leave it out")
