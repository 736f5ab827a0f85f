"""What the engine is asked to make for a task."""

import msgspec
import pytest

from pilothouse.agent.plan import (
    Surroundings,
    hook_name,
    hook_names,
    networks_of,
    plan_container,
    plan_hook,
    volumes_of,
)
from pilothouse.agent.runtime.interface import PlannedMount
from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.model.container import ContainerSpec, FileGrant, Mount, MountKind, NetworkAttachment, Privileges
from pilothouse.model.names import task_id_of
from pilothouse.model.objects import PortBinding, ResolvedImage
from pilothouse.model.spec import Hook
from pilothouse.model.steps import hook_spec
from tests.agent.world import make_assignment, make_network, make_task, make_volume


def plan(task, **around):
    given = {"assignment": make_assignment(task, volumes=(make_volume(),)), **around}
    return plan_container(task, Surroundings(**given))


def test_a_container_is_named_after_its_task_and_found_by_service_name_container_name_and_task_name():
    made = plan(make_task(container={"container_name": "front"}))
    assert made.name == "ph.shop.web.1.t00000000001"
    assert [(e.network, e.key, e.aliases) for e in made.endpoints] == [
        ("shop_default", "default", ("web", "front", "web.1"))
    ]


def test_a_link_gives_its_target_another_name():
    web, db = make_task(container={"links": ("db:database",)}), make_task(2, service="db")
    assert plan(db, assignment=make_assignment(web, db)).endpoints[0].aliases == ("db", "db.1", "database")


def test_every_container_is_hardened():
    made = plan(make_task())
    assert made.spec.privileges.cap_drop == ("ALL",)
    assert "no-new-privileges:true" in made.spec.privileges.security_opt
    assert made.spec.limits.pids == 512


def test_the_image_that_was_resolved_is_run_not_what_its_name_means_now():
    assert plan(make_task(image=ResolvedImage(ref="web:1", id="sha256:1", digest="web@sha256:2"))).image == "sha256:1"
    assert plan(make_task(image=ResolvedImage(ref="web:1", digest="web@sha256:2"))).image == "web@sha256:2"


def test_our_labels_win_over_the_users_and_compose_tools_know_the_project():
    labels = plan(make_task(container={"labels": {"io.pilothouse.task": "forged", "tier": "gold"}})).labels
    assert labels["io.pilothouse.task"] == "t00000000001"
    assert labels["tier"] == "gold"
    assert (labels["com.docker.compose.project"], labels["com.docker.compose.service"]) == ("shop", "web")


def test_a_volume_is_mounted_under_its_engine_name_and_files_are_read_only_binds():
    mounts = (
        Mount(kind=MountKind.VOLUME, source="data", target="/data"),
        Mount(kind=MountKind.VOLUME, target="/anonymous"),
        Mount(kind=MountKind.BIND, source="/srv", target="/srv", read_only=True),
        Mount(kind=MountKind.TMPFS, target="/tmp", size_bytes=4096, mode=0o700),
    )
    task = make_task(
        container={
            "mounts": mounts,
            "secrets": (FileGrant(source="password", target="/run/secrets/password"),),
        }
    )
    made = plan(task, files={"/run/secrets/password": "/run/x/0"})
    assert made.mounts == (
        PlannedMount(kind="volume", source="shop_data", target="/data"),
        PlannedMount(kind="volume", target="/anonymous"),
        PlannedMount(kind="bind", source="/srv", target="/srv", read_only=True, create_host_path=True),
        PlannedMount(kind="tmpfs", target="/tmp", size_bytes=4096, mode=0o700),
        PlannedMount(kind="bind", source="/run/x/0", target="/run/secrets/password", read_only=True),
    )
    with pytest.raises(TemporaryError, match="password"):
        plan(task)


@pytest.mark.parametrize("change", [{"kind": MountKind.IMAGE, "source": "i:1"}, {"subpath": "sub", "source": "data"}])
def test_what_cannot_be_mounted_yet_is_refused_and_not_ignored(change):
    mount = Mount(**{"kind": MountKind.VOLUME, "target": "/data", **change})
    with pytest.raises(PermanentError, match="not supported"):
        plan(make_task(container={"mounts": (mount,)}))


def test_what_is_not_assigned_yet_is_waited_for():
    with pytest.raises(TemporaryError, match="network shop/default"):
        networks_of(make_task(), make_assignment(networks=()))
    mounted = make_task(container={"mounts": (Mount(kind=MountKind.VOLUME, source="data", target="/data"),)})
    with pytest.raises(TemporaryError, match="volume shop/data"):
        volumes_of(mounted, make_assignment())


def test_a_shared_namespace_is_that_of_the_neighbours_container():
    task = make_task(
        container={
            "network_mode": "service:db",
            "privileges": Privileges(ipc="service:db", pid="service:db", uts="host"),
            "volumes_from": ("db:ro", "container:other:rw"),
        }
    )
    made = plan(task, neighbours={"db": "abc"})
    assert (made.network_mode, made.ipc, made.pid, made.uts) == (
        "container:abc",
        "container:abc",
        "container:abc",
        "host",
    )
    assert made.volumes_from == ("abc:ro", "other:rw")
    assert made.endpoints == ()
    with pytest.raises(TemporaryError, match="container of db"):
        plan(task)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("web-{{.Task.Slot}}", "web-1"),
        ("{{ .Service.Name }}.{{.Node.Hostname}}", "web.box"),
        ("{{.Nonsense}}", "{{.Nonsense}}"),
        ("plain", "plain"),
    ],
)
def test_a_hostname_may_hold_placeholders(written, expected):
    made = plan(make_task(container={"hostname": written}), hostname="box")
    assert made.spec.hostname == expected


def test_ports_are_those_the_task_was_given():
    ports = (PortBinding(target=80, host_port=8080),)
    shared = PortBinding(target=81, host_port=8081, ingress=True)
    assert plan(make_task(ports=(*ports, shared))).ports == ports, "the proxy listens on the other"


def test_fixed_addresses_and_a_hardware_address_go_to_the_endpoint():
    attached = NetworkAttachment(network="default", ipv4_address="10.0.0.9", aliases=("w", "web"))
    endpoint = plan(make_task(container={"networks": (attached,), "mac_address": "02:00:00:00:00:01"})).endpoints[0]
    assert (endpoint.ipv4_address, endpoint.mac_address) == ("10.0.0.9", "02:00:00:00:00:01")
    assert endpoint.aliases == ("web", "web.1", "w")


def test_a_hooks_container_runs_its_command_with_the_tasks_volumes_but_not_its_names_and_ports():
    hook = Hook(command=("migrate",), user="5", environment={"A": "2"}, image="tools:1")
    task = make_task(
        spec={"pre_start": (hook,)},
        ports=(PortBinding(target=80, host_port=8080),),
    )
    around = Surroundings(assignment=make_assignment(task))
    made = plan_hook(task, 0, around, "sha256:tools")
    assert isinstance(made.spec, ContainerSpec)
    assert (made.image, made.spec.command, made.spec.entrypoint, made.spec.user) == (
        "sha256:tools",
        ("migrate",),
        (),
        "5",
    )
    assert made.ports == ()
    assert made.endpoints[0].aliases == ()
    assert made.spec.healthcheck.test == ("NONE",)
    assert made.spec.privileges.cap_drop == ("ALL",)


def test_a_hook_of_each_replica_has_a_container_of_its_own_and_a_step_none():
    hooks = (Hook(command=("a",)), Hook(command=("b",), per_replica=True))
    one = make_task(1, spec={"pre_start": hooks})
    two = make_task(2, slot=2, spec={"pre_start": hooks})
    assert hook_names(one) == ("ph.shop.web.pre-start-1.1.t00000000001",)
    assert hook_name(one, 1) != hook_name(two, 1)
    assert task_id_of(hook_name(one, 1)) == one.id


def test_a_step_is_made_without_names_by_which_anybody_finds_it():
    attached = NetworkAttachment(network="default", aliases=("w",), ipv4_address="10.0.0.9")
    whole = make_task(
        container={"hostname": "w", "container_name": "web", "networks": (attached,)},
        spec={"pre_start": (Hook(command=("migrate",)),)},
    )
    task = msgspec.structs.replace(whole, slot=0, step=0, spec=hook_spec(whole.spec, 0))
    made = plan(task)
    assert made.name == "ph.shop.web.0.t00000000001"
    (endpoint,) = made.endpoints
    assert (endpoint.aliases, endpoint.ipv4_address, made.spec.hostname) == ((), "", "")
    assert made.labels["io.pilothouse.hook"] == "pre_start.0"
    assert made.labels["com.docker.compose.oneoff"] == "True"


def test_a_network_of_another_app_is_not_used():
    other = make_network()
    foreign = type(other)(id="other/default", app="other", spec=other.spec)
    with pytest.raises(TemporaryError):
        plan(make_task(), assignment=make_assignment(networks=(foreign,)))
