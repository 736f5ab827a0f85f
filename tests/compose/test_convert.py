"""A loaded model becomes specs: every key is carried, warned about or refused, with its path."""

import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse.compose.convert import convert
from pilothouse.compose.service_classes import SERVICE
from pilothouse.errors import InvalidManifestError
from pilothouse.model.container import (
    Device,
    DeviceRequest,
    FileGrant,
    Healthcheck,
    Mount,
    MountKind,
    NetworkAttachment,
    Port,
    PortMode,
    Ulimit,
)
from pilothouse.model.placement import Placement, Spread
from pilothouse.model.spec import (
    AppSpec,
    Condition,
    Dependency,
    Hook,
    Mode,
    Resources,
    RestartCondition,
    RestartPolicy,
    UpdateOrder,
    UpdatePolicy,
)
from pilothouse.model.validate import validate

DEPLOY_KEYS = (
    "mode",
    "replicas",
    "resources",
    "limits",
    "reservations",
    "memory",
    "placement",
    "update_config",
    "delay",
)
X_KEYS = ("x-pilothouse", "probes", "ready", "http", "port", "file", "external", "ipam", "config", "subnet", "driver")
ODD = ("8080-8090", "1h30m", "64m", "host", "service:web", "0440", "/a:/b", "on-failure:3", "\ud800", "\0", "all", "$X")
KEYS = (
    *SERVICE,
    *DEPLOY_KEYS,
    *X_KEYS,
    "source",
    "target",
    "type",
    "published",
    "condition",
    "soft",
    "hard",
    "command",
)
FILES = {"/p/key.pem": b"sealed\n", "/p/site.conf": b"listen 80\n"}


def read_file(path):
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def project(services, **more):
    return convert(
        {"name": "shop", "services": services, **more},
        project_directory="/p",
        read_file=read_file,
        environment={"TOKEN": "s3cret"},
    )


def service(**keys):
    return project({"web": {"image": "web:1", **keys}}).spec.services[0]


def container(**keys):
    return service(**keys).task.container


def findings(services, **more):
    with pytest.raises(InvalidManifestError) as refused:
        project(services, **more)
    return str(refused.value).splitlines()


def finding(**keys):
    (line,) = findings({"web": {"image": "web:1", **keys}})
    return line


def test_the_smallest_service_is_one_replica_on_the_default_network_that_is_always_restarted():
    app = project({"web": {"image": "web:1", "command": None, "entrypoint": None}}).spec
    web = app.services[0]
    assert (app.name, web.name, web.mode, web.replicas) == ("shop", "web", Mode.REPLICATED, 1)
    assert web.task.container.networks == (NetworkAttachment(network="default"),)
    assert [(n.key, n.name) for n in app.networks] == [("default", "shop_default")]
    assert web.restart == RestartPolicy(condition=RestartCondition.ANY)
    assert (web.task.container.command, web.task.container.entrypoint) == (None, None)


def test_an_empty_command_clears_the_images():
    assert (container(command=[]).command, container(entrypoint=[]).entrypoint) == ((), ())


def test_a_variable_without_a_value_is_left_out():
    assert container(environment={"A": "1", "B": None, "C": ""}).environment == {"A": "1", "C": ""}


def test_durations_become_seconds_and_sizes_bytes():
    found = container(stop_grace_period="1m30s", shm_size="64m", mem_limit="1073741824", memswap_limit="-1")
    assert (found.stop_grace_seconds, found.shm_size_bytes) == (90.0, 64 * 2**20)
    assert (found.limits.memory_bytes, found.limits.memory_swap_bytes) == (2**30, -1)


def test_a_health_check_keeps_its_form():
    check = container(healthcheck={"test": ["CMD", "ok"], "interval": "500ms", "timeout": "1s", "retries": 4})
    expected = Healthcheck(test=("CMD", "ok"), interval_seconds=0.5, timeout_seconds=1.0, retries=4)
    assert check.healthcheck == expected
    assert container(healthcheck={"test": "curl x"}).healthcheck == Healthcheck(test=("CMD-SHELL", "curl x"))


@pytest.mark.parametrize("written", [{"disable": True}, {"test": ["NONE"]}])
def test_a_health_check_can_be_switched_off(written):
    assert container(healthcheck=written).healthcheck == Healthcheck(test=("NONE",))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("no", RestartPolicy(condition=RestartCondition.NONE)),
        ("always", RestartPolicy(condition=RestartCondition.ANY)),
        ("unless-stopped", RestartPolicy(condition=RestartCondition.ANY)),
        ("on-failure", RestartPolicy(condition=RestartCondition.ON_FAILURE)),
        ("on-failure:3", RestartPolicy(condition=RestartCondition.ON_FAILURE, max_attempts=3)),
    ],
)
def test_restart_says_which_ends_call_for_another_task(written, expected):
    assert service(restart=written).restart == expected


def test_the_deployed_restart_policy_wins_over_restart():
    policy = {"condition": "on-failure", "delay": "5s", "max_attempts": 3, "window": "2m"}
    expected = RestartPolicy(
        condition=RestartCondition.ON_FAILURE, delay_seconds=5.0, max_attempts=3, window_seconds=120.0
    )
    assert service(restart="always", deploy={"restart_policy": policy}).restart == expected


def test_what_others_wait_for_to_complete_is_run_to_completion():
    edge = {"migrate": {"condition": "service_completed_successfully", "required": True}}
    app = project({"migrate": {"image": "m"}, "web": {"image": "w", "depends_on": edge}}).spec
    restarts = {s.name: s.restart.condition for s in app.services}
    assert restarts == {"migrate": RestartCondition.ON_FAILURE, "web": RestartCondition.ANY}


def test_a_written_restart_stands_even_if_others_wait_for_completion():
    edge = {"migrate": {"condition": "service_completed_successfully"}}
    app = project({"migrate": {"image": "m", "restart": "no"}, "web": {"image": "w", "depends_on": edge}}).spec
    assert app.services[0].restart.condition is RestartCondition.NONE


def test_a_job_is_repeated_only_after_a_failure():
    assert service(deploy={"mode": "replicated-job", "replicas": 3}).restart.condition is RestartCondition.ON_FAILURE
    asked = project({"j": {"image": "j", "restart": "always", "deploy": {"mode": "global-job"}}})
    assert asked.spec.services[0].restart.condition is RestartCondition.ON_FAILURE
    assert asked.warnings == (
        "services.j.restart: of a job means on-failure: a task of a job that exits with 0 is done",
    )


def test_dependencies_are_kept_and_implied_ones_added():
    found = service(
        depends_on={"db": {"condition": "service_healthy", "restart": True, "required": False}},
        links=["cache:c"],
        volumes_from=["data:ro", "container:old"],
        pid="service:db",
        network_mode="service:vpn",
    )
    assert found.depends_on == (
        Dependency(service="cache", restart=True),
        Dependency(service="data"),
        Dependency(service="db", condition=Condition.HEALTHY, restart=True, required=False),
        Dependency(service="vpn", restart=True),
    )
    assert (found.task.container.network_mode, found.task.container.networks) == ("service:vpn", ())


def test_ports_keep_ranges_addresses_and_modes():
    written = [
        {"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp"},
        {"mode": "host", "target": 53, "published": "5300-5303", "protocol": "udp", "host_ip": "127.0.0.1"},
        {"target": 70, "name": "gopher", "app_protocol": "gopher"},
    ]
    assert container(ports=written).ports == (
        Port(target=80, published=(8080, 8080)),
        Port(target=53, published=(5300, 5303), protocol="udp", host_ip="127.0.0.1", mode=PortMode.HOST),
        Port(target=70, name="gopher", app_protocol="gopher"),
    )


def test_mounts_of_every_kind():
    part = {"nocopy": True, "subpath": "a"}
    written = [
        {"type": "volume", "source": "d", "target": "/d", "read_only": True, "volume": part},
        {"type": "volume", "target": "/anonymous", "volume": {}},
        {"type": "bind", "source": "/s", "target": "/s", "bind": {"create_host_path": True, "propagation": "rslave"}},
        {"type": "tmpfs", "target": "/t", "tmpfs": {"size": "1048576", "mode": 1023}},
        {"type": "image", "source": "assets:1", "target": "/assets", "image": {"subpath": "www"}},
    ]  # fmt: skip
    assert container(volumes=written, tmpfs=["/run", "/tmp:size=64m,mode=1777,noexec"]).mounts == (
        Mount(kind=MountKind.VOLUME, source="d", target="/d", read_only=True, nocopy=True, subpath="a"),
        Mount(kind=MountKind.VOLUME, target="/anonymous"),
        Mount(kind=MountKind.BIND, source="/s", target="/s", propagation="rslave"),
        Mount(kind=MountKind.TMPFS, target="/t", size_bytes=2**20, mode=0o1777),
        Mount(kind=MountKind.IMAGE, source="assets:1", target="/assets", subpath="www"),
        Mount(kind=MountKind.TMPFS, target="/run"),
        Mount(kind=MountKind.TMPFS, target="/tmp", size_bytes=64 * 2**20, mode=0o1777),
    )


def test_a_tmpfs_option_that_would_be_lost_is_refused():
    assert finding(tmpfs=["/tmp:uid=5"]) == (
        "services.web.tmpfs[0]: option 'uid=5' is not supported; only size=, mode=, ro and rw are"
    )


def test_secrets_and_configs_get_absolute_targets_and_octal_modes():
    found = container(
        secrets=[{"source": "key", "target": "/run/secrets/key"}, {"source": "key", "target": "other", "mode": "0440"}],
        configs=[{"source": "site"}, {"source": "site", "target": "etc/site", "uid": "33", "gid": "33"}],
    )
    assert found.secrets == (
        FileGrant(source="key", target="/run/secrets/key"),
        FileGrant(source="key", target="/run/secrets/other", mode=0o440),
    )
    assert found.configs == (
        FileGrant(source="site", target="/site"),
        FileGrant(source="site", target="/etc/site", uid="33", gid="33"),
    )


def test_contents_come_from_files_variables_and_the_manifest_itself():
    found = project(
        {"web": {"image": "w"}},
        secrets={"key": {"file": "/p/key.pem", "name": "shop_key"}, "token": {"environment": "TOKEN"}},
        configs={"site": {"file": "site.conf"}, "text": {"content": "a $b"}, "old": {"external": True, "name": "o"}},
    )
    assert found.secrets == {"key": b"sealed\n", "token": b"s3cret"}
    assert found.configs == {"site": b"listen 80\n", "text": b"a $b"}
    assert [(f.key, f.name, f.external) for f in found.spec.configs] == [
        ("old", "o", True), ("site", "shop_site", False), ("text", "shop_text", False)]  # fmt: skip


def test_no_content_is_ever_shown():
    assert "s3cret" not in repr(project({}, secrets={"token": {"environment": "TOKEN"}}))


def test_a_missing_file_or_variable_or_source_is_found():
    assert findings({}, secrets={"a": {"file": "/p/no"}, "b": {"environment": "NO"}, "c": {}}) == [
        "secrets.a.file: /p/no cannot be read (No such file or directory); create it or name another file",
        "secrets.b.environment: the variable NO is not set; set it, or use file",
        "secrets.c: has no content; write file or environment, or external: true if it exists already",
    ]


def test_a_secret_that_only_a_build_uses_is_left_out():
    build = {"context": ".", "secrets": [{"source": "a"}, "b"]}
    web = {"build": build, "secrets": [{"source": "b"}]}
    found = project({"web": web}, secrets={"a": {"file": "/no"}, "b": {"environment": "TOKEN"}})
    assert found.secrets == {"b": b"s3cret"}


def test_deploy_is_carried_whole():
    deploy = {
        "mode": "replicated",
        "replicas": 4,
        "endpoint_mode": "dnsrr",
        "labels": {"team": "a"},
        "placement": {
            "constraints": ["node.role==worker"],
            "preferences": [{"spread": "node.labels.zone"}],
            "max_replicas_per_node": 2,
        },
        "resources": {
            "limits": {"cpus": 1.5, "memory": "67108864", "pids": 100},
            "reservations": {
                "cpus": "0.25",
                "memory": "33554432",
                "devices": [{"capabilities": ["gpu"], "count": 2, "driver": "nvidia"}],
                "generic_resources": [{"discrete_resource_spec": {"kind": "licence", "value": 2}}],
            },
        },
        "update_config": {"parallelism": 2, "delay": "10s", "order": "start-first", "failure_action": "rollback",
                          "monitor": "1m0s", "max_failure_ratio": 0.5},
        "rollback_config": {"parallelism": 0},
    }  # fmt: skip
    found = service(deploy=deploy)
    limits = found.task.container.limits
    assert (found.replicas, found.endpoint_mode, found.labels) == (4, "dnsrr", {"team": "a"})
    assert found.task.placement == Placement(
        constraints=("node.role==worker",), spread=(Spread(level="node.labels.zone"),), max_replicas_per_node=2
    )
    assert (limits.cpu_nano, limits.memory_bytes, limits.pids) == (1_500_000_000, 2**26, 100)
    assert (limits.memory_reservation_bytes, found.task.container.labels) == (2**25, {})
    assert found.task.reservations == Resources(cpu_nano=250_000_000, memory_bytes=2**25, generic={"licence": 2})
    assert found.task.container.gpus == (DeviceRequest(capabilities=("gpu",), count=2, driver="nvidia"),)
    assert found.update == UpdatePolicy(
        parallelism=2, delay_seconds=10.0, order=UpdateOrder.START_FIRST, failure_action="rollback",
        monitor_seconds=60.0, max_failure_ratio=0.5)  # fmt: skip
    assert found.rollback == UpdatePolicy(parallelism=0)


def test_a_bare_constraint_is_about_a_label_of_the_node():
    written = ["disktype=ssd", "node.role==manager", "node.labels.a != b"]
    found = service(deploy={"placement": {"constraints": written}}).task.placement.constraints
    assert found == ("node.labels.disktype==ssd", "node.role==manager", "node.labels.a != b")


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_is_accepted(mode):
    assert service(deploy={"mode": mode.value}).mode is mode


def test_replicas_of_a_global_service_are_ignored_with_a_warning():
    found = project({"web": {"image": "w", "deploy": {"mode": "global", "replicas": 3}}})
    assert found.spec.services[0].replicas == 1
    assert found.warnings == (
        "services.web.deploy.replicas: is ignored: mode global has one task on each node",
    )  # fmt: skip


def test_scale_is_another_word_for_replicas():
    assert service(scale=3).replicas == 3
    assert service(scale=3, deploy={"replicas": 3}).replicas == 3
    assert finding(scale=3, deploy={"replicas": 2}) == (
        "services.web.scale: is 3 but deploy.replicas is 2; keep one of the two"
    )


def test_limits_written_twice_must_agree():
    assert finding(cpus=1, deploy={"resources": {"limits": {"cpus": 2}}}).startswith("services.web.cpus: and deploy")


def test_devices_gpus_and_ulimits():
    found = container(
        devices=[{"source": "/dev/a", "target": "/dev/b", "permissions": "r"}],
        gpus=[{"count": -1}],
        ulimits={"nproc": 5, "nofile": {"soft": 1, "hard": 2}},
    )
    assert found.privileges.devices == (Device(source="/dev/a", target="/dev/b", permissions="r"),)
    assert found.gpus == (DeviceRequest(capabilities=("gpu",), count=-1),)
    assert found.ulimits == {"nproc": Ulimit(soft=5, hard=5), "nofile": Ulimit(soft=1, hard=2)}


def test_hooks_are_commands_with_a_place():
    found = service(
        pre_start=[{"image": "tools", "per_replica": True}],
        post_start=[{"command": ["warm", "up"], "user": "root", "environment": {"A": "b"}}],
        pre_stop=[{"command": ["drain"], "working_dir": "/w", "privileged": True}],
    ).task
    assert found.pre_start == (Hook(image="tools", per_replica=True),)
    assert found.post_start == (Hook(command=("warm", "up"), user="root", environment={"A": "b"}),)
    assert found.pre_stop == (Hook(command=("drain",), working_dir="/w", privileged=True),)


def test_the_engines_bridge_becomes_the_apps_default_network():
    found = project({"web": {"image": "w", "network_mode": "bridge"}})
    assert found.spec.services[0].task.container.network_mode == ""
    assert [n.key for n in found.spec.networks] == ["default"]
    assert found.warnings[0].startswith("services.web.network_mode: 'bridge' is the default network")


def test_swarms_overlay_is_an_ordinary_network_on_one_host():
    found = project({}, networks={"a": {"driver": "overlay", "driver_opts": {"encrypted": "", "x": "y"}}})
    assert (found.spec.networks[0].driver, found.spec.networks[0].driver_opts) == ("", {"x": "y"})
    assert found.warnings[0].startswith("networks.a.driver: overlay is an ordinary network on one host")


@pytest.mark.parametrize("action", ["rollback", "pause", "continue"])
def test_what_a_failed_update_leads_to_is_taken_as_written(action):
    found = project({"web": {"image": "w", "deploy": {"update_config": {"failure_action": action}}}})
    assert found.spec.services[0].update.failure_action == action
    assert found.warnings == ()


def test_a_private_namespace_is_what_a_container_has_anyway():
    found = container(pid="private", uts="private", ipc="private").privileges
    assert (found.pid, found.uts, found.ipc) == ("", "", "private")


def test_networks_are_ordered_by_priority():
    found = container(networks={"a": None, "b": {"priority": 5, "aliases": ["x"], "gw_priority": 1}})
    assert found.networks == (
        NetworkAttachment(network="b", aliases=("x",), priority=5, gateway_priority=1),
        NetworkAttachment(network="a"),
    )


def test_extra_hosts_have_one_form():
    assert container(extra_hosts=["a=1.2.3.4", "b=::1"]).dns.extra_hosts == ("a:1.2.3.4", "b:::1")


def test_an_image_that_is_built_beforehand_has_the_projects_name_and_is_never_pulled():
    found = project({"web": {"build": {"context": "/p"}}}).spec.services[0].task.container
    assert (found.image, found.pull_policy) == ("shop-web", "never")


def test_windows_keys_are_ignored_with_a_warning():
    found = project({"web": {"image": "w", "cpu_percent": 10, "isolation": "process"}})
    assert [line.partition(":")[0] for line in found.warnings] == ["services.web.cpu_percent", "services.web.isolation"]


def test_several_errors_come_in_one_go_each_with_its_path():
    assert findings(
        {
            "a": {"restart": "sometimes"},
            "b": {"image": "b", "deploy": {"mode": "both"}, "external_links": ["x"], "stop_grace_period": "soon"},
            "c": {"image": "c", "ports": [{"target": 80, "published": "99999"}], "imagee": "typo"},
        }
    ) == [
        "services.a.image: is needed; write the image to run, or build: . for one that is built beforehand",
        "services.a.restart: 'sometimes' is not known; write \"no\", always, unless-stopped or on-failure:3",
        "services.b.deploy.mode: 'both' is not known; write replicated, global, replicated-job, global-job",
        "services.b.external_links: is not supported: containers of other apps have no fixed name; "
        "join an external network and use its aliases",
        "services.b.stop_grace_period: 'soon' is not a duration; write a number with a unit, such as \"90s\" or "
        '"1m30s"',
        "services.c.ports[0].published: '99999' is no range of ports; ports go from 1 to 65535, the lower one first",
        "services.c.imagee: is not a key of this place; did you mean 'image'?",
    ]


def test_a_spec_survives_json():
    app = project(
        {"web": {"image": "w", "ports": [{"target": 80, "published": "80"}], "deploy": {"mode": "global"}}}
    ).spec
    assert msgspec.json.decode(msgspec.json.encode(app), type=AppSpec) == app
    assert json.loads(msgspec.json.encode(app))["name"] == "shop"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=5), JSON)
def test_whatever_a_model_holds_it_is_converted_or_refused_with_paths(web, other):
    sections = {"networks": other, "volumes": other, "secrets": other, "configs": other, "x-pilothouse": other}
    model = {"name": "shop", "services": {"web": web, "other": other}, **sections}

    def again():
        return convert(model, project_directory="/p", read_file=read_file)

    errors = ()
    try:
        made = again()
    except InvalidManifestError as error:
        errors = error.errors
    else:
        assert again() == made
        assert msgspec.json.decode(msgspec.json.encode(made.spec), type=AppSpec) == made.spec
        validate(made.spec)
    assert all(": " in line for line in errors)
