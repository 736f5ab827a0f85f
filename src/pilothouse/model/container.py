"""How to run one container, as the user asked: everything Compose can say about it, typed, with units in the names.

Nothing here knows an engine. The agent builds the engine's whole request from these values and from nothing else.
"""

import enum

from pilothouse.model.base import Value


class Healthcheck(Value, frozen=True, kw_only=True):
    """A check that the engine runs inside the container (Compose `healthcheck`).

    Attributes:
        test: `("CMD", ...)` or `("CMD-SHELL", line)`; `("NONE",)` switches the image's own check off.
        interval_seconds: Time between checks; None is the engine's default (30).
        start_interval_seconds: Time between checks until the first success within the start period.
    """

    test: tuple[str, ...] = ()
    interval_seconds: float | None = None
    timeout_seconds: float | None = None
    start_period_seconds: float | None = None
    start_interval_seconds: float | None = None
    retries: int | None = None


class MountKind(enum.Enum):
    """Where the content of a mount comes from."""

    VOLUME = "volume"
    BIND = "bind"
    TMPFS = "tmpfs"
    IMAGE = "image"


class Mount(Value, frozen=True, kw_only=True):
    """One place in the container's file system that is not the image's.

    Attributes:
        source: A volume's key in the app, "" for an anonymous volume, an absolute host path for a bind, an image
            reference for an image, "" for a tmpfs.
        target: Absolute path in the container.
        size_bytes, mode: Of a tmpfs; mode is an octal permission as a number.
    """

    kind: MountKind
    target: str
    source: str = ""
    read_only: bool = False
    nocopy: bool = False
    subpath: str = ""
    propagation: str = ""
    create_host_path: bool = True
    selinux: str = ""
    size_bytes: int | None = None
    mode: int | None = None


class FileGrant(Value, frozen=True, kw_only=True):
    """A secret or config that the container sees as a read-only file.

    Attributes:
        source: The key of the secret or config in the app.
        target: Absolute path in the container.
        uid, gid: Numeric owner, as text; "" is the container's user (secrets) or root (configs).
        mode: Octal permission as a number; None is 0o400 for a secret and 0o444 for a config.
    """

    source: str
    target: str
    uid: str = ""
    gid: str = ""
    mode: int | None = None


class NetworkAttachment(Value, frozen=True, kw_only=True):
    """The container's place on one network of its app.

    Attributes:
        network: The network's key in the app.
        aliases: Extra names beside the service's own.
        priority, gateway_priority: Higher connects first; the highest gateway priority gives the default route.
    """

    network: str
    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: tuple[str, ...] = ()
    mac_address: str = ""
    driver_opts: dict[str, str] = {}
    priority: int = 0
    gateway_priority: int = 0
    interface_name: str = ""


class PortMode(enum.Enum):
    """Who answers on a published port: any node (ingress) or only the task's own (host)."""

    INGRESS = "ingress"
    HOST = "host"


class Port(Value, frozen=True, kw_only=True):
    """A port of the container that can be reached from outside its networks.

    Attributes:
        target: The port inside the container.
        published: First and last host port that may be used; None lets the platform choose one.
        host_ip: The host address to listen on; "" is every address.
        protocol: "tcp", "udp" or "sctp".
        app_protocol: What is spoken on it ("http", "grpc", "tcp" …); "" lets the proxy see for itself.
        client_address: How a raw TCP program learns who calls: "" not at all, "proxy-protocol" by PROXY protocol v2.
    """

    target: int
    published: tuple[int, int] | None = None
    host_ip: str = ""
    protocol: str = "tcp"
    mode: PortMode = PortMode.INGRESS
    name: str = ""
    app_protocol: str = ""
    client_address: str = ""

    @property
    def ingress(self) -> bool:
        """Whether the proxy serves it: TCP on one host port, or on one the platform chooses.

        UDP and SCTP, `mode: host` and ranges of host ports go through the engine, each task on a port of its own.
        """
        one = self.published is None or self.fixed
        return self.protocol == "tcp" and self.mode is PortMode.INGRESS and one

    @property
    def fixed(self) -> bool:
        """Whether one host port is written."""
        return self.published is not None and self.published[0] == self.published[1]


class Device(Value, frozen=True, kw_only=True):
    """A host device the container may use; *permissions* is a subset of "rwm"."""

    source: str
    target: str
    permissions: str = "rwm"


class DeviceRequest(Value, frozen=True, kw_only=True):
    """A request for devices by capability (`gpus`, `deploy.resources.reservations.devices`); count -1 means all."""

    capabilities: tuple[str, ...]
    driver: str = ""
    count: int | None = None
    device_ids: tuple[str, ...] = ()
    options: dict[str, str] = {}


class Ulimit(Value, frozen=True, kw_only=True):
    """A soft and a hard limit of the processes in the container; -1 is unlimited."""

    soft: int
    hard: int


class WeightDevice(Value, frozen=True, kw_only=True):
    """The share of block I/O on one device."""

    path: str
    weight: int


class ThrottleDevice(Value, frozen=True, kw_only=True):
    """A rate on one device, in bytes or operations per second."""

    path: str
    rate: int


class Blkio(Value, frozen=True, kw_only=True):
    """Limits on block I/O (Compose `blkio_config`)."""

    weight: int = 0
    weight_device: tuple[WeightDevice, ...] = ()
    device_read_bps: tuple[ThrottleDevice, ...] = ()
    device_write_bps: tuple[ThrottleDevice, ...] = ()
    device_read_iops: tuple[ThrottleDevice, ...] = ()
    device_write_iops: tuple[ThrottleDevice, ...] = ()


class Limits(Value, frozen=True, kw_only=True):
    """The most the container may use; 0 or "" means not stated.

    Attributes:
        cpu_nano: CPU time in billionths of one core per second.
        memory_swap_bytes: Memory plus swap; -1 is unlimited swap.
        memory_swappiness: 0 to 100, or None.
        pids: Processes and threads; -1 is unlimited, 0 takes the platform's default.
    """

    cpu_nano: int = 0
    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpu_rt_period_us: int = 0
    cpu_rt_runtime_us: int = 0
    cpuset: str = ""
    memory_bytes: int = 0
    memory_reservation_bytes: int = 0
    memory_swap_bytes: int = 0
    memory_swappiness: int | None = None
    pids: int = 0
    oom_score_adj: int = 0
    oom_kill_disable: bool = False
    blkio: Blkio | None = None


class Logging(Value, frozen=True, kw_only=True):
    """The engine's log driver and its options; driver "" is the platform's default with rotation."""

    driver: str = ""
    options: dict[str, str] = {}


class Privileges(Value, frozen=True, kw_only=True):
    """Everything that reaches past the container's walls; each non-default value needs a grant.

    Attributes:
        cap_drop: Needs no grant.
        security_opt: Engine syntax, e.g. "seccomp=unconfined", "label=disable", "apparmor=NAME".
        sysctls: Only the namespaced safe ones are free.
        cgroup, ipc, pid, uts, userns_mode: "host", "private", "shareable" or "service:NAME" as Compose says.
    """

    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    sysctls: dict[str, str] = {}
    cgroup: str = ""
    cgroup_parent: str = ""
    ipc: str = ""
    pid: str = ""
    uts: str = ""
    userns_mode: str = ""
    use_api_socket: bool = False


class Dns(Value, frozen=True, kw_only=True):
    """The container's resolver settings and fixed host names (`extra_hosts` as "NAME:ADDRESS")."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()


class ContainerSpec(Value, frozen=True, kw_only=True):
    """How to run one container; copied whole into each task and never modified.

    Attributes:
        image: A reference as the user wrote it.
        command, entrypoint: None takes the image's; an empty tuple clears it.
        environment: Fully resolved; nothing is taken from the server's own environment.
        user: "" takes the image's.
        stop_grace_seconds: Time between the stop signal and the kill.
        network_mode: "" uses *networks*; else "none", "host", "bridge" or "service:NAME".
        volumes_from: "SERVICE[:ro|rw]" or "container:NAME[:ro|rw]".
        gpus: Device requests of every origin.
        expose: "PORT" or "PORT/PROTOCOL" that other services of the app may use.
    """

    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: dict[str, str] = {}
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    hostname: str = ""
    domainname: str = ""
    container_name: str = ""
    user: str = ""
    group_add: tuple[str, ...] = ()
    working_dir: str = ""
    tty: bool = False
    stdin_open: bool = False
    init: bool | None = None
    read_only: bool = False
    stop_signal: str = ""
    stop_grace_seconds: float = 10.0
    platform: str = ""
    runtime: str = ""
    pull_policy: str = ""
    shm_size_bytes: int = 0
    storage_opt: dict[str, str] = {}
    healthcheck: Healthcheck | None = None
    logging: Logging = Logging()
    limits: Limits = Limits()
    privileges: Privileges = Privileges()
    dns: Dns = Dns()
    ulimits: dict[str, Ulimit] = {}
    gpus: tuple[DeviceRequest, ...] = ()
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    secrets: tuple[FileGrant, ...] = ()
    configs: tuple[FileGrant, ...] = ()
    network_mode: str = ""
    networks: tuple[NetworkAttachment, ...] = ()
    links: tuple[str, ...] = ()
    mac_address: str = ""
    ports: tuple[Port, ...] = ()
    expose: tuple[str, ...] = ()
