"""Every field of the engine's create request, and what becomes of it.

The agent writes the whole request, so a field that is not here cannot be sent. A test compares this table with what
the body builder makes and with what a real engine shows: a field that a newer engine adds fails it until somebody
decides. PLAN = from the plan; FIXED = always the value given in `body`; NEVER = not sent, the engine's default holds.
"""

import enum


class Source(enum.Enum):
    """Where a field's value comes from."""

    PLAN = "from the plan"
    FIXED = "always the same"
    NEVER = "never sent"


def _table(plan: str, fixed: str, never: str) -> dict[str, Source]:
    table = dict.fromkeys(plan.split(), Source.PLAN)
    table |= dict.fromkeys(fixed.split(), Source.FIXED)
    return table | dict.fromkeys(never.split(), Source.NEVER)


CONFIG = _table(
    plan="""
    Cmd Domainname Entrypoint Env ExposedPorts Healthcheck Hostname Image Labels MacAddress OpenStdin StopSignal
    StopTimeout Tty User WorkingDir HostConfig NetworkingConfig
    """,
    fixed="AttachStdin AttachStdout AttachStderr StdinOnce",
    never="ArgsEscaped NetworkDisabled OnBuild Shell Volumes",
)

HOST_CONFIG = _table(
    plan="""
    Annotations Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeight
    BlkioWeightDevice CapAdd CapDrop CgroupParent CgroupnsMode CpuPeriod CpuQuota CpuRealtimePeriod
    CpuRealtimeRuntime CpuShares CpusetCpus DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch
    ExtraHosts GroupAdd Init IpcMode LogConfig MaskedPaths Memory MemoryReservation MemorySwap MemorySwappiness Mounts
    NanoCpus NetworkMode OomKillDisable OomScoreAdj PidMode PidsLimit PortBindings Privileged ReadonlyPaths
    ReadonlyRootfs Runtime SecurityOpt ShmSize StorageOpt Sysctls UTSMode Ulimits UsernsMode VolumesFrom
    """,
    fixed="AutoRemove PublishAllPorts RestartPolicy",
    never="""
    Capabilities Cgroup ConsoleSize ContainerIDFile CpuCount CpuPercent CpusetMems IOMaximumBandwidth IOMaximumIOps
    Isolation KernelMemory KernelMemoryTCP Links Tmpfs VolumeDriver
    """,
)

MOUNT = _table(
    plan="BindOptions ImageOptions ReadOnly Source Target TmpfsOptions Type VolumeOptions",
    fixed="",
    never="ClusterOptions Consistency",
)

ENDPOINT = _table(
    plan="Aliases DriverOpts GwPriority IPAMConfig MacAddress",
    fixed="",
    never="""
    DNSNames EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen IPAddress IPPrefixLen IPv6Gateway Links NetworkID
    """,
)

# Fields of `ContainerSpec` that the body does not read, and who turns them into something it does read.
SPEC_FIELDS_RESOLVED_BEFORE = {
    "image": "the plan names an image id that is present",
    "labels": "the plan's labels contain them",
    "container_name": "the plan has the one name; this one becomes an alias on the networks",
    "platform": "decides which image is pulled",
    "pull_policy": "decides whether an image is pulled",
    "mounts": "the plan's mounts, with engine names",
    "volumes_from": "the plan's, with container names",
    "secrets": "read-only binds of files the agent keeps in memory",
    "configs": "read-only binds of files the agent keeps",
    "network_mode": "the plan's",
    "networks": "the plan's endpoints",
    "links": "aliases on the networks",
    "ports": "the plan's, with the host ports that were given out",
}
PRIVILEGES_RESOLVED_BEFORE = {
    "ipc": "the plan's",
    "pid": "the plan's",
    "uts": "the plan's",
    "use_api_socket": "refused by policy",
}
