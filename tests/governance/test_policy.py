"""A manifest reaches past a container's walls only where a grant says so."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import InvalidRequestError
from pilothouse.governance.policy import GRANT_KINDS, check_grant, containers, refusals, resources
from pilothouse.governance.policy.asks import Where
from pilothouse.governance.policy.evaluate import active, table
from pilothouse.model.base import Value
from pilothouse.model.container import (
    Blkio,
    ContainerSpec,
    Device,
    DeviceRequest,
    Dns,
    Healthcheck,
    Limits,
    Logging,
    Mount,
    MountKind,
    NetworkAttachment,
    Port,
    Privileges,
    Ulimit,
)
from pilothouse.model.objects import Grant
from pilothouse.model.spec import AppSpec, Hook, NetworkSpec, ServiceSpec, TaskSpec, VolumeSpec

NOW = 1000.0


def app(networks=(), volumes=(), hooks=(), **container):
    spec = ContainerSpec(image="img", **container)
    web = ServiceSpec(name="web", task=TaskSpec(container=spec, post_start=hooks))
    db = ServiceSpec(name="db", task=TaskSpec(container=ContainerSpec(image="img")))
    return AppSpec(name="shop", services=(web, db), networks=networks, volumes=volumes)


def privileged(**fields):
    return app(privileges=Privileges(**fields))


def bind(source, **fields):
    return app(mounts=(Mount(kind=MountKind.BIND, source=source, target="/data", **fields),))


def local(**options):
    return app(volumes=(VolumeSpec(key="data", name="shop_data", driver_opts=options),))


def granted(kind, value="", service="", until=None, revoked_at=None, app="shop"):
    return Grant(
        id="g1", app=app, kind=kind, value=check_grant(kind, value), service=service, until=until, revoked_at=revoked_at
    )


# What is asked for, and the grant (kind, value) that allows it; None means that no grant can.
REFUSED = [
    (privileged(privileged=True), ("privileged", "")),
    (privileged(cap_add=("NET_ADMIN",)), ("cap-add", "NET_ADMIN")),
    (privileged(cap_add=("cap_sys_admin",)), ("cap-add", "SYS_ADMIN")),
    (privileged(cap_add=("ALL",)), ("cap-add", "ALL")),
    (privileged(devices=(Device(source="/dev/fuse", target="/dev/fuse"),)), ("device", "/dev/fuse")),
    (privileged(device_cgroup_rules=("c 188:* rmw",)), ("device-cgroup-rule", "c 188:* rmw")),
    (privileged(security_opt=("seccomp=unconfined",)), ("security-opt", "seccomp:unconfined")),
    (privileged(security_opt=("label:disable",)), ("security-opt", "label=disable")),
    (privileged(security_opt=("no-new-privileges:false",)), ("security-opt", "no-new-privileges:false")),
    (privileged(security_opt=("systempaths=unconfined",)), ("security-opt", "systempaths=unconfined")),
    (privileged(sysctls={"kernel.core_pattern": "|/x"}), ("sysctl", "kernel.core_pattern")),
    (privileged(sysctls={"vm/overcommit_memory": "1"}), ("sysctl", "vm.overcommit_memory")),
    (privileged(sysctls={"kernel.sem": "1"}, ipc="host"), ("ipc-host", "")),
    (privileged(cgroup="host"), ("cgroup-host", "")),
    (privileged(cgroup_parent="system.slice"), ("cgroup-parent", "system.slice")),
    (privileged(pid="host"), ("pid-host", "")),
    (privileged(pid="container:other"), ("container-namespace", "container:other")),
    (privileged(ipc="host"), ("ipc-host", "")),
    (privileged(uts="host"), ("uts-host", "")),
    (privileged(userns_mode="host"), ("userns-host", "")),
    (privileged(ipc="something"), None),
    (privileged(use_api_socket=True), None),
    (bind("/srv/data"), ("host-path", "/srv/data")),
    (bind("/srv/data", read_only=True), ("host-path", "/srv:ro")),
    (bind("/srv/data", read_only=True, selinux="Z"), ("host-path", "/srv")),
    (bind("/srv", propagation="rshared"), ("mount-propagation", "rshared")),
    (bind("relative"), None),
    (bind("/var/run/docker.sock"), None),
    (bind("/run/docker.sock", read_only=True), None),
    (bind("/var/../var/run//docker.sock"), None),
    (bind("/run/podman/podman.sock"), None),
    (bind("/run/user/1000/podman/podman.sock"), None),
    (bind("/run/pilothouse/api.sock"), None),
    (bind("/var/run"), None),
    (bind("/var"), None),
    (bind("/"), None),
    (bind("/var/lib/pilothouse/secrets.key", read_only=True), None),
    (bind("/var/lib/docker"), None),
    (local(type="none", o="bind", device="/etc"), ("host-path", "/etc")),
    (local(type="tmpfs", o="bind", device="/etc"), ("host-path", "/etc")),
    (local(type="NONE", o="RBIND,ro", device="/etc"), ("host-path", "/etc:ro")),
    (local(o="bind", device="/var/run/docker.sock"), None),
    (local(type="nfs", o="addr=10.0.0.1,rw", device=":/x"), ("volume-driver", "local:nfs::/x")),
    (local(type="ext4", device="/dev/sda1"), ("volume-driver", "local:ext4:/dev/sda1")),
    (local(type="tmpfs", o="move", device="/etc"), ("volume-driver", "local:tmpfs:/etc")),
    (app(volumes=(VolumeSpec(key="d", name="x", driver="sshfs"),)), ("volume-driver", "sshfs")),
    (app(volumes=(VolumeSpec(key="d", name="x", external=True),)), ("external-volume", "x")),
    (app(networks=(NetworkSpec(key="n", name="x", external=True),)), ("external-network", "x")),
    (app(networks=(NetworkSpec(key="n", name="x", driver="macvlan"),)), ("network-driver", "macvlan")),
    (
        app(networks=(NetworkSpec(key="n", name="x", driver_opts={"com.docker.network.bridge.name": "br0"}),)),
        ("network-option", "com.docker.network.bridge.name"),
    ),
    (app(networks=(NetworkSpec(key="n", name="x", ipam_driver="dhcp"),)), ("network-driver", "dhcp")),
    (app(network_mode="host"), ("network-host", "")),
    (app(network_mode="container:other"), ("container-namespace", "container:other")),
    (app(network_mode="service:gone"), ("container-namespace", "service:gone")),
    (app(network_mode="bridge"), ("external-network", "bridge")),
    (app(network_mode="host", privileges=Privileges(sysctls={"net.core.somaxconn": "1"})), ("network-host", "")),
    (app(volumes_from=("container:other:ro",)), ("volumes-from", "container:other")),
    (app(links=("other:alias",)), ("external-link", "other")),
    (app(limits=Limits(oom_score_adj=-500)), ("oom-score-adj", "")),
    (app(limits=Limits(oom_kill_disable=True)), ("oom-kill-disable", "")),
    (app(limits=Limits(cpu_rt_runtime_us=1000)), ("realtime", "")),
    (app(limits=Limits(cpu_rt_period_us=1000)), ("realtime", "")),
    (app(limits=Limits(pids=-1)), ("pids-unlimited", "")),
    (app(ulimits={"rtprio": Ulimit(soft=1, hard=1)}), ("realtime", "")),
    (app(gpus=(DeviceRequest(capabilities=("gpu",), count=-1),)), ("gpu", "")),
    (app(runtime="kata"), ("runtime", "kata")),
    (app(annotations={"run.oci.handler": "x"}), ("annotation", "run.oci.handler")),
    (app(storage_opt={"dm.basesize": "1"}), ("storage-opt", "dm.basesize")),
    (app(logging=Logging(driver="syslog")), ("log-driver", "syslog")),
    (app(logging=Logging(options={"syslog-address": "x"})), ("log-driver", "syslog-address")),
    (
        app(hooks=(Hook(command=("x",), privileged=True),)),
        ("hook-privileged", ""),
    ),
]

FREE = [
    app(),
    privileged(cap_drop=("ALL",), cap_add=("CHOWN", "cap_net_bind_service")),
    privileged(security_opt=("no-new-privileges:true",), ipc="private", pid="service:db", cgroup="private"),
    privileged(sysctls={"net.core.somaxconn": "1024", "kernel.shmmax": "1"}),
    app(network_mode="service:db"),
    app(network_mode="none", volumes_from=("db:ro",), links=("db:database",)),
    app(
        mounts=(
            Mount(kind=MountKind.VOLUME, source="data", target="/d"),
            Mount(kind=MountKind.TMPFS, target="/tmp", size_bytes=1),
        ),
        volumes=(VolumeSpec(key="data", name="shop_data"),),
        networks=(NetworkSpec(key="n", name="shop_n", driver="bridge", internal=True),),
    ),
    local(type="tmpfs", device="tmpfs", o="size=100m,uid=1000,noexec"),
    app(limits=Limits(oom_score_adj=500, pids=100, cpu_nano=10**9, blkio=Blkio(weight=10))),
    app(logging=Logging(driver="local", options={"max-size": "1m"}), storage_opt={"size": "1G"}),
    app(ports=(Port(target=80, published=(80, 80)),), ulimits={"nofile": Ulimit(soft=1, hard=1)}, user="0"),
]


@pytest.mark.parametrize(("spec", "grant"), REFUSED, ids=str)
def test_what_reaches_the_host_is_refused_unless_a_grant_names_it(spec, grant):
    found = refusals(spec, (), NOW)
    assert found
    if grant is None:
        assert [r for r in found if r.grant == "" and r.command == ""]
        return
    kind, value = grant
    assert kind in {r.grant for r in found}
    assert kind not in {r.grant for r in refusals(spec, [granted(kind, value)], NOW)}


@pytest.mark.parametrize("spec", FREE, ids=str)
def test_what_stays_inside_the_container_is_free(spec):
    assert refusals(spec, (), NOW) == ()


@pytest.mark.parametrize("spec", [spec for spec, grant in REFUSED if grant is None], ids=str)
def test_what_no_grant_can_open_stays_shut_whatever_was_granted(spec):
    everything = [
        Grant(id=kind, app="shop", kind=kind, value=value)
        for kind in GRANT_KINDS
        for value in ("", "/", "/var/run/docker.sock", "host")
    ]
    assert refusals(spec, everything, NOW)


def test_a_refusal_names_key_value_reason_and_the_command_that_grants_it():
    (found,) = refusals(bind("/srv/my data", read_only=True), (), NOW)
    assert (found.service, found.key, found.value, found.grant) == (
        "web",
        "services.web.volumes",
        "/srv/my data:ro",
        "host-path",
    )
    assert found.reason
    assert found.command == ("pilothouse grant create shop host-path '/srv/my data:ro' --service web --reason \"WHY\"")


@pytest.mark.parametrize(
    ("grant", "counts"),
    [
        (granted("host-path", "/srv"), True),
        (granted("host-path", "/srv/data"), True),
        (granted("host-path", "/srv/data:ro"), False),
        (granted("host-path", "/srv/dat"), False),
        (granted("host-path", "/srv", service="web"), True),
        (granted("host-path", "/srv", service="db"), False),
        (granted("host-path", "/srv", app="other"), False),
        (granted("host-path", "/srv", until=NOW + 1), True),
        (granted("host-path", "/srv", until=NOW), False),
        (granted("host-path", "/srv", revoked_at=NOW - 1), False),
        (granted("device", "/srv/data"), False),
    ],
)
def test_a_grant_counts_only_for_its_app_service_value_and_time(grant, counts):
    assert (refusals(bind("/srv/data"), [grant], NOW) == ()) is counts


def test_a_device_grant_allows_no_more_than_its_permissions():
    asked = privileged(devices=(Device(source="/dev/x", target="/dev/y", permissions="rw"),))
    assert refusals(asked, [granted("device", "/dev/x:rwm")], NOW) == ()
    assert refusals(asked, [granted("device", "/dev/x:r")], NOW)


def test_a_service_called_host_opens_no_host_namespace():
    spec = AppSpec(
        name="shop",
        services=(
            ServiceSpec(
                name="host",
                task=TaskSpec(container=ContainerSpec(image="i", privileges=Privileges(pid="host", ipc="host"))),
            ),
        ),
    )
    assert {r.grant for r in refusals(spec, (), NOW)} == {"pid-host", "ipc-host"}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("nonsense", ""),
        ("privileged", "yes"),
        ("cap-add", ""),
        ("host-path", "relative"),
        ("host-path", "/"),
        ("host-path", "/run"),
        ("host-path", "/srv/*"),
        ("host-path", "/var/run/docker.sock"),
        ("device", "fuse"),
        ("device", "/dev/fuse:x"),
        ("device-cgroup-rule", " "),
        ("sysctl", "net.*"),
    ],
)
def test_a_grant_that_could_not_be_meant_is_not_recorded(kind, value):
    with pytest.raises(InvalidRequestError):
        check_grant(kind, value)


TABLES = [
    (ContainerSpec, set(containers.CONTAINER) | containers.NESTED),
    (Privileges, set(containers.PRIVILEGES)),
    (Limits, set(containers.LIMITS)),
    (Logging, set(containers.LOGGING)),
    (Hook, set(containers.HOOK)),
    (NetworkAttachment, set(containers.ATTACHMENT)),
    (Mount, set(containers.MOUNT_FIELDS)),
    (NetworkSpec, set(resources.NETWORK)),
    (VolumeSpec, set(resources.VOLUME_FIELDS)),
    # Values without a field that reaches the host; a new field here must be looked at too.
    (Dns, {"servers", "search", "options", "extra_hosts"}),
    (
        Healthcheck,
        {"test", "interval_seconds", "start_interval_seconds", "timeout_seconds", "start_period_seconds", "retries"},
    ),
    (Port, {"target", "published", "host_ip", "protocol", "mode", "name", "app_protocol", "client_address"}),
    (Device, {"source", "target", "permissions"}),
    (TaskSpec, {"container", "reservations", "placement", "probes", "pre_start", "post_start", "pre_stop"}),
    (
        ServiceSpec,
        {
            "name",
            "task",
            "mode",
            "replicas",
            "depends_on",
            "restart",
            "update",
            "rollback",
            "labels",
            "endpoint_mode",
            "release",
            "cut_off",
        },
    ),
    (AppSpec, {"name", "services", "networks", "volumes", "secrets", "configs", "ownership"}),
]


@pytest.mark.parametrize(("kind", "classified"), TABLES, ids=lambda x: getattr(x, "__name__", ""))
def test_every_field_that_can_be_asked_for_is_classified(kind, classified):
    assert set(kind.__struct_fields__) == classified


def test_a_field_nobody_classified_is_refused_unless_it_has_its_default():
    class Tomorrow(Value, frozen=True, kw_only=True):
        known: str = ""
        extra: dict[str, str] = {}
        reach: bool = False

    where = Where(app="shop", prefix="services.web")
    rules = {"known": containers.free}
    assert list(table(where, Tomorrow(known="x"), rules)) == []
    (found,) = table(where, Tomorrow(reach=True), rules)
    assert (found.key, found.kind) == ("services.web.reach", "")
    assert list(table(where, Tomorrow(extra={"a": "b"}), rules))


def test_every_kind_of_grant_is_asked_for_by_something_and_says_what_it_opens():
    asked = {grant[0] for _, grant in REFUSED if grant}
    assert asked == set(GRANT_KINDS)
    assert all(kind.says.endswith(".") for kind in GRANT_KINDS.values())


@given(
    spec=st.sampled_from([spec for spec, _ in REFUSED]),
    kinds=st.lists(st.sampled_from(sorted(GRANT_KINDS)), max_size=4),
    values=st.lists(st.sampled_from(["", "/srv", "/srv:ro", "NET_ADMIN", "ALL", "x"]), max_size=4),
    now=st.floats(0, 2 * NOW),
)
def test_another_grant_never_leads_to_another_refusal(spec, kinds, values, now):
    grants = [
        Grant(id=str(n), app="shop", kind=kind, value=value, until=NOW)
        for n, (kind, value) in enumerate(zip(kinds, values, strict=False))
    ]
    before, after = refusals(spec, (), now), refusals(spec, grants, now)
    assert set(map(msgspec.json.encode, after)) <= set(map(msgspec.json.encode, before))
    if not any(active(grant, now) for grant in grants):
        assert after == before
