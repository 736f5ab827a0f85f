"""Every key of a service, in the order in which a loaded service is printed."""

from pilothouse.compose.deploy_keys import DEPLOY
from pilothouse.compose.keys import (
    DEVICE_REQUEST,
    HOOKS,
    HOSTS,
    LABELS,
    PRE_START,
    WATCH,
    duration,
    flag,
    listing,
    mounted_files,
    options,
    pairs,
    size,
    strings,
    struct,
    text,
    ulimits,
    whole,
)
from pilothouse.compose.shapes import (
    FLAG,
    NUMBER,
    USER_KEY,
    WHOLE,
    Field,
    Listing,
    Named,
    Pairs,
    Scalar,
    Struct,
    Words,
)

_STRING = frozenset({"string"})


def _number(codec: str, cast: str) -> Field:
    return Field(Scalar(accepts=NUMBER, codec=codec, cast=cast))


def _throttles() -> Field:
    rate = Field(Scalar(accepts=WHOLE, codec="size", keep=True), out="Rate", always=True)
    item = Struct(fields={"path": Field(Scalar(keep=True), out="Path", always=True), "rate": rate}, extensions=False)
    return listing(item)


_WEIGHTS = listing(
    Struct(
        fields={
            "path": Field(Scalar(keep=True), out="Path", always=True),
            "weight": Field(Scalar(accepts=WHOLE, codec="number", keep=True), out="Weight", always=True),
        },
        extensions=False,
    )
)

_BUILD = Struct(
    fields={
        "context": text(path="context"),
        "dockerfile": text(),
        "dockerfile_inline": text(),
        "entitlements": strings(),
        "args": pairs("environment", merge="sequence", unique="key"),
        "provenance": Field(Scalar(accepts=FLAG, long="text")),
        "sbom": Field(Scalar(accepts=FLAG, long="text")),
        "ssh": pairs("ssh", long="ssh", path="ssh"),
        "labels": LABELS,
        "cache_from": strings(),
        "cache_to": strings(),
        "no_cache": flag(),
        "additional_contexts": pairs("mapping", merge="sequence", unique="key", long="pairs", path="contexts"),
        "pull": flag(),
        "extra_hosts": HOSTS,
        "isolation": text(),
        "network": text(),
        "target": text(),
        "secrets": mounted_files(""),
        "shm_size": size(WHOLE),
        "tags": strings(unique="key"),
        "ulimits": ulimits(cast=False),
        "platforms": strings(),
        "privileged": flag(),
    },
    short=_STRING,
    merge="build",
    long="build",
    default="build",
)

_DEPENDENCY = Struct(
    fields={
        "condition": text(choices=("service_started", "service_healthy", "service_completed_successfully")),
        "restart": flag(),
        "required": Field(Scalar(accepts=frozenset({"boolean"}), codec="flag", keep=True)),
    },
    required=("condition",),
)

_ENV_FILE = Struct(
    fields={
        "path": text(path="plain"),
        "required": Field(Scalar(accepts=FLAG, codec="flag", keep=True)),
        "format": text(),
    },
    required=("path",),
    extensions=False,
    short=_STRING,
)

_SERVICE_NETWORK = Struct(
    fields={
        "aliases": strings(distinct=True, unique="key"),
        "driver_opts": options(),
        "gw_priority": Field(Scalar(accepts=frozenset({"number"}), codec="whole")),
        "interface_name": text(),
        "ipv4_address": text(),
        "ipv6_address": text(),
        "link_local_ips": strings(distinct=True, unique="key"),
        "mac_address": text(),
        "priority": Field(Scalar(accepts=frozenset({"number"}), codec="whole")),
    },
    nullable=True,
)

_PORT = Struct(
    fields={
        "name": text(),
        "mode": text(),
        "host_ip": text(),
        "target": whole(),
        "published": Field(Scalar(accepts=WHOLE)),
        "protocol": text(),
        "app_protocol": text(),
    },
    short=NUMBER,
    default="port",
)

_VOLUME = Struct(
    fields={
        "type": text(choices=("bind", "volume", "tmpfs", "cluster", "npipe", "image")),
        "source": text(),
        "target": text(),
        "read_only": flag(cast=True),
        "consistency": text(),
        "bind": struct(
            selinux=text(choices=("z", "Z")),
            propagation=text(),
            create_host_path=flag(),
            recursive=text(choices=("enabled", "disabled", "writable", "readonly")),
        ),
        "volume": struct(labels=pairs("mapping", merge="sequence"), nocopy=flag(cast=True), subpath=text()),
        "tmpfs": struct(
            size=Field(Scalar(accepts=WHOLE, codec="size", low=0)),
            mode=Field(Scalar(accepts=NUMBER, codec="number")),
        ),
        "image": struct(subpath=text()),
    },
    required=("type",),
    short=_STRING,
    long="volume",
    path="volume",
)

_DEVICE = Struct(
    fields={"source": text(), "target": text(), "permissions": text()},
    required=("source",),
    short=_STRING,
    long="device",
)

_MODEL = Struct(fields={"endpoint_var": text(), "model_var": text()}, nullable=True)

_PROVIDER_VALUES = frozenset({"string", "number", "boolean"})

SERVICE: dict[str, Field] = {
    "profiles": strings(distinct=True, unique="key"),
    "annotations": pairs("mapping", merge="sequence", unique="key"),
    "attach": flag(keep=True),
    "build": Field(_BUILD),
    "develop": Field(
        Struct(fields={"watch": listing(Struct(fields=WATCH, required=("path", "action")))}, nullable=True)
    ),
    "blkio_config": Field(
        Struct(
            fields={
                "weight": Field(Scalar(accepts=WHOLE, codec="number")),
                "weight_device": _WEIGHTS,
                "device_read_bps": _throttles(),
                "device_read_iops": _throttles(),
                "device_write_bps": _throttles(),
                "device_write_iops": _throttles(),
            },
            extensions=False,
        )
    ),
    "cap_add": strings(distinct=True, unique="key"),
    "cap_drop": strings(distinct=True, unique="key"),
    "cgroup_parent": text(),
    "cgroup": text(choices=("host", "private")),
    "cpu_count": whole(low=0),
    "cpu_percent": Field(Scalar(accepts=WHOLE, codec="float32", cast="float", low=0, high=100)),
    "cpu_period": _number("whole", "whole"),
    "cpu_quota": _number("whole", "whole"),
    "cpu_rt_period": _number("whole", "whole"),
    "cpu_rt_runtime": _number("whole", "whole"),
    "cpus": _number("float32", "float32"),
    "cpuset": text(),
    "cpu_shares": _number("whole", "whole"),
    "command": Field(Words(merge="replace"), always=True),
    "configs": mounted_files("config"),
    "container_name": text(pattern=r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"),
    "credential_spec": struct(config=text(), file=text(), registry=text()),
    "depends_on": Field(Named(value=_DEPENDENCY, key=USER_KEY, names=True, merge="dependencies", long="dependencies")),
    "deploy": Field(DEPLOY),
    "device_cgroup_rules": strings(distinct=True),
    "devices": listing(_DEVICE, unique="device"),
    "dns": strings(distinct=True, lone=True, merge="sequence", unique="key", long="addresses"),
    "dns_opt": strings(distinct=True, merge="sequence", unique="key"),
    "dns_search": strings(distinct=True, lone=True, merge="sequence", unique="key"),
    "domainname": text(),
    "entrypoint": Field(Words(merge="replace"), always=True),
    "provider": struct(
        required=("type",),
        type=text(),
        options=Field(Pairs(codec="multi", values=_PROVIDER_VALUES, lists=True, listed=False)),
    ),
    "environment": pairs("environment", merge="sequence", unique="key"),
    "env_file": Field(Listing(item=_ENV_FILE, lone=True, merge="sequence", unique="env_file", long="env_file")),
    "expose": Field(
        Listing(item=Scalar(accepts=NUMBER, codec="printed"), distinct=True, unique="expose"),
    ),
    "extends": Field(
        Struct(
            fields={"file": text(path="plain"), "service": text()},
            required=("service",),
            extensions=False,
            short=_STRING,
            long="extends",
        )
    ),
    "external_links": strings(distinct=True),
    "extra_hosts": HOSTS,
    "group_add": Field(Listing(item=Scalar(accepts=WHOLE), distinct=True)),
    "gpus": Field(
        Listing(item=Struct(fields=DEVICE_REQUEST, default="device_request"), lone=True, long="gpus"),
    ),
    "hostname": text(),
    "healthcheck": struct(
        test=Field(Words(codec="test", merge="replace", nullable=False)),
        timeout=duration(),
        interval=duration(),
        retries=Field(Scalar(accepts=NUMBER, codec="unsigned", cast="whole", keep=True)),
        start_period=duration(),
        start_interval=duration(),
        disable=flag(cast=True),
    ),
    "image": text(),
    "init": flag(cast=True, keep=True),
    "ipc": text(),
    "isolation": text(),
    "labels": LABELS,
    "label_file": Field(Listing(item=Scalar(), lone=True, merge="sequence", long="list", path="plains")),
    "links": strings(distinct=True, unique="key"),
    "logging": Field(
        Struct(
            fields={"driver": text(), "options": options(frozenset({"string", "number", "null"}))},
            merge="logging",
        )
    ),
    "mem_limit": size(),
    "mem_reservation": size(WHOLE),
    "memswap_limit": size(),
    "mem_swappiness": size(WHOLE),
    "mac_address": text(),
    "models": Field(Named(value=_MODEL, key=USER_KEY, names=True, merge="names", long="names")),
    "network_mode": text(),
    "networks": Field(Named(value=_SERVICE_NETWORK, key=USER_KEY, names=True, merge="names", long="names")),
    "oom_kill_disable": flag(cast=True),
    "oom_score_adj": whole(low=-1000, high=1000),
    "pid": Field(Scalar(accepts=frozenset({"string", "null"}))),
    "pids_limit": _number("whole", "whole"),
    "platform": text(),
    "ports": Field(Listing(item=_PORT, distinct=True, unique="port", long="ports")),
    "privileged": flag(cast=True),
    "pull_policy": text(
        pattern="always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+"
    ),
    "pull_refresh_after": Field(Scalar(), silent=True),
    "read_only": flag(cast=True),
    "restart": text(),
    "runtime": text(),
    "scale": whole(keep=True),
    "secrets": mounted_files("secret", "secret"),
    "security_opt": strings(distinct=True),
    "shm_size": size(),
    "stdin_open": flag(cast=True),
    "stop_grace_period": duration(),
    "stop_signal": text(),
    "storage_opt": Field(Pairs(codec="options", values=WHOLE, listed=False)),
    "sysctls": pairs("mapping", merge="sequence", unique="key"),
    "tmpfs": strings(distinct=True, lone=True, merge="sequence", unique="key"),
    "tty": flag(cast=True),
    "ulimits": ulimits(cast=True),
    "use_api_socket": Field(Scalar(accepts=frozenset({"boolean"}), codec="flag")),
    "user": text(),
    "userns_mode": text(),
    "uts": text(),
    "volumes": Field(Listing(item=_VOLUME, distinct=True, unique="mount")),
    "volumes_from": strings(distinct=True),
    "working_dir": text(),
    "pre_start": PRE_START,
    "post_start": HOOKS,
    "pre_stop": HOOKS,
}
