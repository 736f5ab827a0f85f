"""What a spec may not say: found with a path, before it can make anything else fail."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from pilothouse.model.container import (
    Blkio,
    ContainerSpec,
    DeviceRequest,
    FileGrant,
    Healthcheck,
    Limits,
    Mount,
    MountKind,
    NetworkAttachment,
    Port,
    PortMode,
    Privileges,
    ThrottleDevice,
    Ulimit,
)
from pilothouse.model.placement import Placement
from pilothouse.model.spec import (
    AppSpec,
    Dependency,
    FileSpec,
    Hook,
    IpamPool,
    Mode,
    NetworkSpec,
    Probe,
    ProbeKind,
    Probes,
    Resources,
    RestartPolicy,
    ServiceSpec,
    TaskSpec,
    UpdatePolicy,
    VolumeSpec,
)
from pilothouse.model.validate import validate
from pilothouse.model.validate.dependencies import cycles
from tests.model.specs import anything, sensible_apps


def service(name="web", *, task=None, service=None, **container):
    body = ContainerSpec(**{"image": "web:1", **container})
    return ServiceSpec(name=name, task=TaskSpec(container=body, **(task or {})), **(service or {}))


def app(*services, **parts):
    return AppSpec(name="shop", services=services, networks=(NetworkSpec(key="front", name="shop_front"),), **parts)


def only(*services, **parts):
    (line,) = validate(app(*services, **parts))
    return line


def test_a_plain_app_is_fine():
    assert validate(app(service(networks=(NetworkAttachment(network="front"),)))) == ()


@pytest.mark.parametrize("name", ["", "Shop", "-a", "a" * 64, "a/b"])
def test_an_app_needs_a_name_that_everything_can_be_called_after(name):
    (line,) = validate(AppSpec(name=name))
    assert line.startswith("name: ")


def test_two_services_of_one_name_are_found():
    assert only(service(), service()) == "services.web: there are two services of this name; rename one of them"


@pytest.mark.parametrize(
    ("container", "path"),
    [
        ({"image": "Web:1"}, "image"),
        ({"image": "web 1"}, "image"),
        ({"environment": {"A=B": "1"}}, "environment"),
        ({"environment": {"": "1"}}, "environment"),
        ({"labels": {"io.pilothouse.task": "1"}}, "labels.io.pilothouse.task"),
        ({"user": "a b"}, "user"),
        ({"working_dir": "app"}, "working_dir"),
        ({"stop_signal": "SIGNOPE"}, "stop_signal"),
        ({"stop_grace_seconds": -1.0}, "stop_grace_period"),
        ({"hostname": "a_b c"}, "hostname"),
        ({"hostname": "web-{{.Task.Slot}}"}, "hostname"),
        ({"platform": "linux amd64"}, "platform"),
        ({"pull_policy": "sometimes"}, "pull_policy"),
        ({"healthcheck": Healthcheck(test=("curl",))}, "healthcheck.test"),
        ({"healthcheck": Healthcheck(test=("CMD",))}, "healthcheck.test"),
        ({"healthcheck": Healthcheck(interval_seconds=0.0001)}, "healthcheck.interval"),
        ({"limits": Limits(memory_bytes=1000)}, "mem_limit"),
        ({"limits": Limits(memory_bytes=2**60)}, "mem_limit"),
        ({"limits": Limits(memory_swap_bytes=2**30)}, "memswap_limit"),
        ({"limits": Limits(memory_bytes=2**30, memory_reservation_bytes=2**31)}, "mem_reservation"),
        ({"limits": Limits(cpu_nano=-1)}, "cpus"),
        ({"limits": Limits(cpu_nano=10**9, cpu_quota_us=50_000)}, "cpus"),
        ({"limits": Limits(cpuset="all")}, "cpuset"),
        ({"limits": Limits(pids=-2)}, "pids_limit"),
        ({"limits": Limits(oom_score_adj=1001)}, "oom_score_adj"),
        ({"limits": Limits(blkio=Blkio(weight=5))}, "blkio_config.weight"),
        (
            {"limits": Limits(blkio=Blkio(device_read_bps=(ThrottleDevice(path="sda", rate=1),)))},
            "blkio_config.device_read_bps[0].path",
        ),
        ({"ulimits": {"nofile": Ulimit(soft=5, hard=4)}}, "ulimits.nofile"),
        ({"ulimits": {"files": Ulimit(soft=5, hard=5)}}, "ulimits.files"),
        ({"gpus": (DeviceRequest(capabilities=("gpu",), count=0),)}, "gpus[0].count"),
        ({"privileges": Privileges(cap_add=("NET ADMIN",))}, "cap_add[0]"),
        ({"privileges": Privileges(pid="all")}, "pid"),
        ({"privileges": Privileges(uts="service:nobody")}, "uts"),
        ({"privileges": Privileges(cgroup="service:nobody")}, "cgroup"),
        ({"pull_policy": "every_1.5h"}, "pull_policy"),
        ({"privileges": Privileges(ipc="service:nobody")}, "ipc"),
        ({"privileges": Privileges(sysctls={"somaxconn": "1"})}, "sysctls"),
        ({"network_mode": "service:nobody"}, "network_mode"),
        ({"volumes_from": ("nobody",)}, "volumes_from[0]"),
        ({"links": ("nobody:x",)}, "links[0]"),
        ({"mac_address": "02:42"}, "mac_address"),
        ({"expose": ("http",)}, "expose[0]"),
        ({"networks": (NetworkAttachment(network="back"),)}, "networks.back"),
        ({"networks": (NetworkAttachment(network="front", ipv4_address="fd00::1"),)}, "networks.front.ipv4_address"),
        ({"mounts": (Mount(kind=MountKind.VOLUME, source="data", target="/d"),)}, "volumes[0].source"),
        ({"mounts": (Mount(kind=MountKind.VOLUME, target="d"),)}, "volumes[0].target"),
        ({"mounts": (Mount(kind=MountKind.VOLUME, target="/"),)}, "volumes[0].target"),
        ({"mounts": (Mount(kind=MountKind.BIND, source="./d", target="/d"),)}, "volumes[0].source"),
        ({"mounts": (Mount(kind=MountKind.BIND, source="/a/../b", target="/d"),)}, "volumes[0].source"),
        ({"mounts": (Mount(kind=MountKind.VOLUME, target="/d", subpath="../x"),)}, "volumes[0].subpath"),
        ({"mounts": (Mount(kind=MountKind.TMPFS, target="/d", mode=0o17777),)}, "volumes[0].tmpfs.mode"),
        ({"secrets": (FileGrant(source="key", target="/k"),)}, "secrets[0].source"),
        ({"configs": (FileGrant(source="site", target="k"),)}, "configs[0].target"),
        ({"ports": (Port(target=0),)}, "ports[0].target"),
        ({"ports": (Port(target=80, published=(9, 8)),)}, "ports[0].published"),
        ({"ports": (Port(target=80, protocol="icmp"),)}, "ports[0].protocol"),
        ({"ports": (Port(target=80, host_ip="localhost"),)}, "ports[0].host_ip"),
        ({"ports": (Port(target=80),), "network_mode": "host"}, "ports"),
    ],
)
def test_each_senseless_setting_is_found_where_it_stands(container, path):
    lines = validate(app(service(**container), configs=(FileSpec(key="site", name="shop_site"),)))
    assert [line.partition(": ")[0] for line in lines] == [f"services.web.{path}"]


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ({"post_start": (Hook(),)}, "post_start[0].command"),
        ({"pre_stop": (Hook(command=("a",), image="b"),)}, "pre_stop[0]"),
        ({"pre_start": (Hook(image="B"),)}, "pre_start[0].image"),
        ({"probes": Probes(ready=Probe(kind=ProbeKind.TCP))}, "x-pilothouse.probes.ready.tcp.port"),
        ({"probes": Probes(live=Probe(kind=ProbeKind.EXEC))}, "x-pilothouse.probes.live.exec.command"),
        (
            {"probes": Probes(ready=Probe(kind=ProbeKind.HTTP, port=80, path="ready"))},
            "x-pilothouse.probes.ready.http.path",
        ),
        (
            {"probes": Probes(ready=Probe(kind=ProbeKind.HTTP, port=80, headers={"A": "b\r\nC: d"}))},
            "x-pilothouse.probes.ready.http.headers",
        ),
        (
            {"probes": Probes(startup=Probe(kind=ProbeKind.TCP, port=80, interval_seconds=0.0))},
            "x-pilothouse.probes.startup.interval",
        ),
        ({"placement": Placement(constraints=("zone is a",))}, "deploy.placement.constraints[0]"),
        ({"reservations": Resources(cpu_nano=-1)}, "deploy.resources.reservations.cpus"),
        ({"reservations": Resources(generic={"gpu": 0})}, "deploy.resources.reservations.generic_resources.gpu"),
    ],
)
def test_hooks_probes_and_reservations_are_judged(task, path):
    assert only(service(task=task)).partition(": ")[0] == f"services.web.{path}"


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"replicas": -1}, "replicas"),
        ({"replicas": 100_001}, "replicas"),
        ({"restart": RestartPolicy(delay_seconds=-1.0)}, "restart_policy.delay"),
        ({"restart": RestartPolicy(max_attempts=-1)}, "restart_policy.max_attempts"),
        ({"update": UpdatePolicy(max_failure_ratio=1.5)}, "update_config.max_failure_ratio"),
        ({"update": UpdatePolicy(parallelism=-1)}, "update_config.parallelism"),
        ({"rollback": UpdatePolicy(failure_action="rollback")}, "rollback_config.failure_action"),
        ({"endpoint_mode": "dns"}, "endpoint_mode"),
    ],
)
def test_the_deploy_section_is_judged(said, path):
    assert only(service(service=said)).partition(": ")[0] == f"services.web.deploy.{path}"


def test_one_host_port_serves_all_replicas_through_the_proxy():
    assert validate(app(service(ports=(Port(target=80, published=(8080, 8080)),), service={"replicas": 9}))) == ()


@pytest.mark.parametrize(
    ("port", "message"),
    [
        (
            Port(target=80, published=(8080, 8081)),
            "2 host ports for 3 replicas, and the engine publishes a range of ports, each replica on a port of its "
            'own; write "8080:80", which all replicas share, or a range such as "8080-8082:80"',
        ),
        (
            Port(target=53, published=(53, 54), protocol="udp"),
            "2 host ports for 3 replicas, and the engine publishes UDP, each replica on a port of its own; "
            'write a range such as "53-55:53/udp"',
        ),
    ],
)
def test_what_the_engine_publishes_needs_a_host_port_for_each_replica(port, message):
    assert only(service(ports=(port,), service={"replicas": 3})) == f"services.web.ports[0].published: {message}"


def test_a_range_as_long_as_the_replicas_is_fine():
    ports = (Port(target=80, published=(8080, 8081)),)
    assert validate(app(service(ports=ports, service={"replicas": 2}))) == ()
    assert validate(app(service(ports=ports, service={"mode": Mode.GLOBAL, "replicas": 9}))) == ()


def test_two_services_cannot_have_the_same_port_on_the_same_address():
    one = service("a", ports=(Port(target=80, published=(80, 80)),))
    same = service("b", ports=(Port(target=81, published=(80, 80), host_ip="127.0.0.1"),))
    udp = service("c", ports=(Port(target=81, published=(80, 80), protocol="udp"),))
    assert only(one, same, udp) == (
        "services.b.ports[0].published: port 80/tcp is also that of services.a.ports[0]; change one of them"
    )


def test_two_services_may_have_the_same_port_of_the_engine_on_different_nodes():
    host = Port(target=80, published=(80, 80), mode=PortMode.HOST)
    assert validate(app(service("a", ports=(host,)), service("b", ports=(host,)))) == ()
    assert validate(app(service("a", ports=(host,), service={"replicas": 3}))) == ()
    assert "is also that of services.a.ports[0]" in only(service("a", ports=(host, host)))
    shared = Port(target=80, published=(80, 80))
    assert "is also that of services.a.ports[0]" in only(service("a", ports=(host,)), service("b", ports=(shared,)))


def test_what_belongs_to_one_container_forbids_replicas():
    place = NetworkAttachment(network="front", ipv4_address="10.1.1.5")
    lines = validate(app(service(container_name="web", networks=(place,), service={"replicas": 2})))
    assert [line.partition(": ")[0] for line in lines] == [
        "services.web.networks.front.ipv4_address",
        "services.web.container_name",
    ]


def test_a_cycle_of_dependencies_is_named():
    a = service("a", service={"depends_on": (Dependency(service="b"),)})
    b = service("b", network_mode="service:c")
    c = service("c", volumes_from=("a:ro",))
    assert only(a, b, c) == ("services.a.depends_on: waits for itself: a → b → c → a; remove one of these dependencies")


def test_a_long_chain_of_dependencies_is_no_problem():
    edges = {f"s{n:05}": {f"s{n + 1:05}"} for n in range(20_000)} | {"s20000": set()}
    assert list(cycles(edges)) == []


def test_an_optional_dependency_may_be_absent_a_required_one_may_not():
    optional = service(service={"depends_on": (Dependency(service="db", required=False),)})
    required = service(service={"depends_on": (Dependency(service="db"),)})
    assert validate(app(optional)) == ()
    assert only(required).startswith("services.web.depends_on.db: there is no such service")


def test_two_things_cannot_be_mounted_on_one_place():
    volume = VolumeSpec(key="data", name="shop_data")
    mounts = (Mount(kind=MountKind.VOLUME, source="data", target="/a"), Mount(kind=MountKind.TMPFS, target="/a/"))
    assert only(service(mounts=mounts), volumes=(volume,)) == (
        "services.web.volumes[1].target: '/a/' is also that of services.web.volumes[0]; mount one thing there"
    )


def test_subnets_must_be_subnets_and_apart():
    bad = NetworkSpec(key="a", name="shop_a", ipam=(IpamPool(subnet="10.0.0.0/33"),))
    out = NetworkSpec(key="b", name="shop_b", ipam=(IpamPool(subnet="10.0.0.0/24", gateway="10.0.1.1"),))
    twice = NetworkSpec(key="c", name="shop_c", ipam=(IpamPool(subnet="10.0.0.128/25"),))
    lines = validate(AppSpec(name="shop", networks=(bad, out, twice)))
    assert [line.partition(": ")[0] for line in lines] == [
        "networks.a.ipam.config[0].subnet",
        "networks.b.ipam.config[0].gateway",
        "networks.c.ipam",
    ]


def test_no_text_holds_what_no_program_can_be_given():
    assert only(service(environment={"A": "a\0b"})).startswith("services.web.task.container.environment.A: holds")


def test_more_tasks_than_any_cluster_runs_are_refused():
    many = [service(f"s{n}", service={"replicas": 100_000}) for n in range(11)]
    assert only(*many).startswith("services: 1,100,000 replicas in all")


@given(sensible_apps())
def test_a_sensible_app_is_let_through_and_survives_json(spec):
    assert validate(spec) == ()
    assert msgspec.json.decode(msgspec.json.encode(spec), type=AppSpec) == spec


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(anything(AppSpec))
def test_whatever_decodes_is_judged_without_failing_and_each_finding_has_a_path_and_a_sentence(spec):
    for line in validate(spec):
        path, _, message = line.partition(": ")
        assert path
        assert len(message) > 10


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(anything(ContainerSpec))
def test_a_container_that_is_let_through_holds_only_what_can_be_sent(container):
    if not validate(AppSpec(name="shop", services=(ServiceSpec(name="web", task=TaskSpec(container=container)),))):
        assert b"\\u0000" not in msgspec.json.encode(container)
        assert msgspec.json.decode(msgspec.json.encode(container), type=ContainerSpec) == container
