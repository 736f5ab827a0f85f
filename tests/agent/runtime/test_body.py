"""The create request is written whole: safe by default, every key known, nothing forgotten."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent.runtime.docker.body import ImageFacts, create_body, endpoint
from pilothouse.agent.runtime.docker.dialect import Dialect, dialect_of
from pilothouse.agent.runtime.docker.fields import (
    CONFIG,
    ENDPOINT,
    HOST_CONFIG,
    MOUNT,
    PRIVILEGES_RESOLVED_BEFORE,
    SPEC_FIELDS_RESOLVED_BEFORE,
    Source,
)
from pilothouse.agent.runtime.interface import ContainerPlan, EndpointPlan, PlannedMount
from pilothouse.errors import PermanentError
from pilothouse.model.container import (
    Blkio,
    ContainerSpec,
    Device,
    DeviceRequest,
    Dns,
    Healthcheck,
    Limits,
    Logging,
    Privileges,
    ThrottleDevice,
    Ulimit,
    WeightDevice,
)
from pilothouse.model.objects import PortBinding

OLD = Dialect()
NEW = Dialect(api=(1, 48))
PODMAN = Dialect(kind="podman")
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8)
MAPS = st.dictionaries(WORDS, WORDS, max_size=3)
LISTS = st.lists(WORDS, max_size=3).map(tuple)
# What a user can write without a grant.
PLAIN_SPECS = st.builds(
    ContainerSpec,
    image=WORDS,
    command=st.none() | LISTS,
    entrypoint=st.none() | LISTS,
    environment=MAPS,
    labels=MAPS,
    annotations=MAPS,
    hostname=WORDS,
    user=WORDS,
    working_dir=WORDS,
    tty=st.booleans(),
    init=st.none() | st.booleans(),
    read_only=st.booleans(),
    stop_signal=WORDS,
    stop_grace_seconds=st.floats(0, 1000),
    healthcheck=st.none() | st.builds(Healthcheck, test=LISTS, interval_seconds=st.none() | st.floats(0.001, 1000)),
    limits=st.builds(Limits, cpu_nano=st.integers(0, 10**10), memory_bytes=st.integers(0, 2**40)),
    ulimits=st.dictionaries(WORDS, st.builds(Ulimit, soft=st.integers(-1, 9), hard=st.integers(-1, 9)), max_size=2),
    privileges=st.builds(Privileges, cap_drop=LISTS),
)
PLANS = st.builds(
    ContainerPlan,
    name=st.just("ph.shop.web.1.t00000000000"),
    task_id=st.just("t00000000000"),
    image=WORDS,
    spec=PLAIN_SPECS,
    mounts=st.lists(
        st.builds(
            PlannedMount,
            kind=st.sampled_from(["volume", "bind", "tmpfs"]),
            target=WORDS.map(lambda word: "/" + word.replace(":", "")),
            source=WORDS.map(lambda word: "/" + word.replace(":", "")),
            read_only=st.booleans(),
            create_host_path=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    endpoints=st.lists(st.builds(EndpointPlan, network=WORDS.filter(bool), key=WORDS, aliases=LISTS), max_size=3).map(
        tuple
    ),
    ports=st.lists(
        st.builds(PortBinding, target=st.integers(1, 65535), host_port=st.integers(1, 65535)), max_size=3
    ).map(tuple),
    labels=MAPS,
)
DIALECTS = st.sampled_from([OLD, NEW, PODMAN])


def plan(spec=None, **changes):
    spec = spec or ContainerSpec(image="app:1")
    return ContainerPlan(
        name="ph.shop.web.1.t00000000000", task_id="t00000000000", image="sha256:1", spec=spec, **changes
    )


def host_config(spec=None, dialect=OLD, **changes):
    return create_body(plan(spec, **changes), dialect)["HostConfig"]


@given(plan=PLANS, dialect=DIALECTS)
def test_whatever_is_asked_without_a_grant_the_safe_defaults_are_there(plan, dialect):
    body = create_body(plan, dialect)
    made = body["HostConfig"]
    assert "no-new-privileges:true" in made["SecurityOpt"]
    assert made["CapDrop"] == ["ALL"]
    assert set(made["CapAdd"]) <= {"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}
    assert made["PidsLimit"] == 512
    assert made["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert made["RestartPolicy"] == {"Name": "no"}
    assert (made["Privileged"], made["AutoRemove"], made["PublishAllPorts"]) == (False, False, False)
    assert (made["IpcMode"], made["CgroupnsMode"]) == ("private", "private")
    assert (made["PidMode"], made["UTSMode"], made["UsernsMode"]) == ("", "", "")
    assert made["Devices"] == made["DeviceCgroupRules"] == made["DeviceRequests"] == made["VolumesFrom"] == []
    assert not {"MaskedPaths", "ReadonlyPaths"} & set(made)
    assert not any("seccomp" in option for option in made["SecurityOpt"])
    assert made["NetworkMode"] == (plan.endpoints[0].network if plan.endpoints else "none")


@given(plan=PLANS, dialect=DIALECTS)
def test_every_key_is_one_that_was_decided_on(plan, dialect):
    body = json.loads(msgspec.json.encode(create_body(plan, dialect)))

    def sendable(table):
        return {name for name, source in table.items() if source is not Source.NEVER}

    assert set(body) <= sendable(CONFIG)
    assert set(body["HostConfig"]) <= sendable(HOST_CONFIG)
    assert set(body["NetworkingConfig"]) == {"EndpointsConfig"}
    for mount in body["HostConfig"]["Mounts"]:
        assert set(mount) <= sendable(MOUNT)
        assert set(mount.get("VolumeOptions", {})) <= {"NoCopy", "Subpath"}, "never a driver of the user's"
    for settings in body["NetworkingConfig"]["EndpointsConfig"].values():
        assert set(settings) <= sendable(ENDPOINT)


@given(plan=PLANS, dialect=DIALECTS)
def test_every_mount_of_the_plan_is_made_once_and_no_other(plan, dialect):
    made = create_body(plan, dialect)["HostConfig"]
    targets = [bind.split(":")[1] for bind in made["Binds"]] + [mount["Target"] for mount in made["Mounts"]]
    assert sorted(targets) == sorted(mount.target for mount in plan.mounts)


# For each field of the spec one value that must change the body. A new field fails the test until it is added here or
# named in `fields` with the part that turns it into something else.
CHANGES = {
    "command": ("x",),
    "entrypoint": ("x",),
    "environment": {"A": "b"},
    "annotations": {"a": "b"},
    "hostname": "x",
    "domainname": "x",
    "user": "1000",
    "group_add": ("x",),
    "working_dir": "/x",
    "tty": True,
    "stdin_open": True,
    "init": True,
    "read_only": True,
    "stop_signal": "SIGINT",
    "stop_grace_seconds": 2.0,
    "runtime": "x",
    "shm_size_bytes": 1,
    "storage_opt": {"size": "1G"},
    "healthcheck": Healthcheck(test=("CMD", "true")),
    "logging": Logging(driver="local"),
    "limits": Limits(cpu_nano=1),
    "privileges": Privileges(privileged=True),
    "dns": Dns(servers=("10.0.0.1",)),
    "ulimits": {"nofile": Ulimit(soft=1, hard=2)},
    "gpus": (DeviceRequest(capabilities=("gpu",)),),
    "mac_address": "02:00:00:00:00:01",
    "expose": ("80",),
}
# The same for the structs inside it.
INNER = {
    Limits: {
        "cpu_nano": 1,
        "cpu_shares": 1,
        "cpu_period_us": 1,
        "cpu_quota_us": 1,
        "cpu_rt_period_us": 1,
        "cpu_rt_runtime_us": 1,
        "cpuset": "0",
        "memory_bytes": 1,
        "memory_reservation_bytes": 1,
        "memory_swap_bytes": 1,
        "memory_swappiness": 0,
        "pids": 1,
        "oom_score_adj": 1,
        "oom_kill_disable": True,
        "blkio": Blkio(weight=1),
    },
    Privileges: {
        "privileged": True,
        "cap_add": ("NET_RAW",),
        "cap_drop": ("CHOWN",),
        "security_opt": ("seccomp=unconfined",),
        "devices": (Device(source="/dev/x", target="/dev/x"),),
        "device_cgroup_rules": ("c 1:3 mr",),
        "sysctls": {"net.core.somaxconn": "1"},
        "cgroup": "host",
        "cgroup_parent": "/x",
        "userns_mode": "host",
    },
    Dns: {"servers": ("1.1.1.1",), "search": ("x",), "options": ("x",), "extra_hosts": ("a:1.1.1.1",)},
    Logging: {"driver": "local", "options": {"a": "b"}},
    Healthcheck: {
        "test": ("NONE",),
        "interval_seconds": 1.0,
        "timeout_seconds": 1.0,
        "start_period_seconds": 1.0,
        "start_interval_seconds": 1.0,
        "retries": 1,
    },
    Blkio: {
        "weight": 1,
        "weight_device": (WeightDevice(path="/dev/x", weight=1),),
        "device_read_bps": (ThrottleDevice(path="/dev/x", rate=1),),
        "device_write_bps": (ThrottleDevice(path="/dev/x", rate=1),),
        "device_read_iops": (ThrottleDevice(path="/dev/x", rate=1),),
        "device_write_iops": (ThrottleDevice(path="/dev/x", rate=1),),
    },
}
FIELD_OF = {Limits: "limits", Privileges: "privileges", Dns: "dns", Logging: "logging", Healthcheck: "healthcheck"}


def test_no_field_of_a_spec_is_forgotten():
    assert set(CHANGES) | set(SPEC_FIELDS_RESOLVED_BEFORE) == set(ContainerSpec.__struct_fields__)
    assert not set(CHANGES) & set(SPEC_FIELDS_RESOLVED_BEFORE)
    resolved = {Privileges: set(PRIVILEGES_RESOLVED_BEFORE)}
    for kind, changes in INNER.items():
        assert set(changes) | resolved.get(kind, set()) == set(kind.__struct_fields__), kind


@pytest.mark.parametrize("field", CHANGES)
def test_a_field_of_the_spec_reaches_the_engine(field):
    changed = ContainerSpec(image="app:1", **{field: CHANGES[field]})
    dialect = OLD if field == "mac_address" else NEW
    assert create_body(plan(changed), dialect) != create_body(plan(), dialect)


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in INNER.items() for field in fields])
def test_a_field_within_the_spec_reaches_the_engine(kind, field):
    def spec_with(value):
        if kind is Blkio:
            return ContainerSpec(image="app:1", limits=Limits(blkio=value))
        return ContainerSpec(image="app:1", **{FIELD_OF[kind]: value})

    changed = create_body(plan(spec_with(kind(**{field: INNER[kind][field]}))), NEW)
    assert changed != create_body(plan(spec_with(kind())), NEW)


def test_an_entrypoint_replaces_the_images_command_too():
    assert create_body(plan(ContainerSpec(image="a", entrypoint=("run",))), OLD)["Cmd"] == []


def test_an_empty_command_keeps_the_images_entrypoint_and_clears_its_command():
    body = create_body(plan(ContainerSpec(image="a", command=())), OLD, ImageFacts(entrypoint=("/start",)))
    assert (body["Entrypoint"], body["Cmd"]) == (["/start"], [])


def test_without_either_the_image_decides():
    assert not {"Cmd", "Entrypoint"} & set(create_body(plan(), OLD))


def test_ports_are_exposed_and_bound_where_they_were_given():
    ports = (
        PortBinding(target=80, host_port=8080),
        PortBinding(target=80, host_port=8081, host_ip="127.0.0.1"),
        PortBinding(target=53, host_port=53, protocol="udp"),
    )
    body = create_body(plan(ports=ports), OLD)
    assert body["ExposedPorts"] == {"53/udp": {}, "80/tcp": {}}
    assert body["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": "8081"}],
        "53/udp": [{"HostIp": "", "HostPort": "53"}],
    }


def test_the_first_network_comes_with_the_container_and_all_of_them_where_the_engine_can():
    endpoints = (EndpointPlan(network="front", key="front"), EndpointPlan(network="back", key="back"))
    made = {d.prefix + d.kind: create_body(plan(endpoints=endpoints), d) for d in (OLD, NEW, PODMAN)}
    networks = {name: list(body["NetworkingConfig"]["EndpointsConfig"]) for name, body in made.items()}
    assert networks == {"/v1.41docker": ["front"], "/v1.48docker": ["front", "back"], "/v1.41podman": ["front", "back"]}
    assert {body["HostConfig"]["NetworkMode"] for body in made.values()} == {"front"}


def test_an_endpoint_says_all_that_was_planned():
    planned = EndpointPlan(
        network="front",
        key="front",
        aliases=("web",),
        ipv4_address="10.0.0.9",
        mac_address="02:00:00:00:00:01",
        gateway_priority=5,
        interface_name="eth7",
    )
    assert endpoint(planned, NEW) == {
        "Aliases": ["web"],
        "IPAMConfig": {"IPv4Address": "10.0.0.9"},
        "MacAddress": "02:00:00:00:00:01",
        "GwPriority": 5,
        "DriverOpts": {"com.docker.network.endpoint.ifname": "eth7"},
    }
    body = create_body(plan(endpoints=(planned,)), OLD)
    assert body["MacAddress"] == "02:00:00:00:00:01"


def test_host_namespaces_come_only_from_the_plan():
    made = host_config(network_mode="host", ipc="host", pid="container:abc", uts="host")
    assert [made[key] for key in ("NetworkMode", "IpcMode", "PidMode", "UTSMode")] == [
        "host",
        "host",
        "container:abc",
        "host",
    ]


def test_open_system_paths_are_said_in_the_engines_own_way():
    made = host_config(ContainerSpec(image="a", privileges=Privileges(security_opt=("systempaths=unconfined",))))
    assert (made["MaskedPaths"], made["ReadonlyPaths"]) == ([], [])
    assert made["SecurityOpt"] == ["no-new-privileges:true"]


def test_a_host_path_that_must_be_made_uses_the_notation_that_makes_it():
    bind = PlannedMount(kind="bind", source="/srv/data", target="/data", read_only=True, create_host_path=True)
    assert host_config(mounts=(bind,))["Binds"] == ["/srv/data:/data:ro"]
    strict = msgspec.structs.replace(bind, create_host_path=False)
    assert host_config(mounts=(strict,))["Mounts"] == [
        {
            "Type": "bind",
            "Target": "/data",
            "ReadOnly": True,
            "BindOptions": {"Propagation": "rprivate"},
            "Source": "/srv/data",
        }
    ]


@pytest.mark.parametrize("path", ["/a:/etc", "relative", "/data:rw,shared"])
def test_a_path_cannot_smuggle_a_second_meaning(path):
    with pytest.raises(PermanentError, match="cannot be mounted"):
        host_config(mounts=(PlannedMount(kind="bind", source=path, target="/x", create_host_path=True),))


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        (PlannedMount(kind="volume", source="v", target="/x", subpath="a"), "26.0"),
        (PlannedMount(kind="image", source="i", target="/x"), "28.0"),
        (PlannedMount(kind="npipe", source="i", target="/x"), "npipe"),
    ],
)
def test_what_an_engine_has_no_word_for_is_refused_and_not_left_out(mount, said):
    with pytest.raises(PermanentError, match=said):
        host_config(mounts=(mount,))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}, Dialect(version="20.10.24")),
        ({"Version": "29.0", "ApiVersion": "1.52", "MinAPIVersion": "1.44"}, Dialect(version="29.0", api=(1, 48))),
        ({"Version": "40", "ApiVersion": "1.70", "MinAPIVersion": "1.60"}, Dialect(version="40", api=(1, 60))),
        ({"Version": "19", "ApiVersion": "1.40"}, Dialect(version="19", api=(1, 40), too_old=True)),
        (
            {"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]},
            Dialect(kind="podman", version="4.3.1"),
        ),
    ],
)
def test_the_newest_version_both_know_is_spoken(version, expected):
    assert dialect_of(version) == expected
