"""What the agent refuses to make, whatever the server allowed."""

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent.equipment import Equipment
from pilothouse.agent.fence import Fence
from pilothouse.agent.lease import Lease
from pilothouse.agent.proxy.fake import FakeIngress
from pilothouse.agent.refusal import host_paths, refuse
from pilothouse.agent.runtime.fake import FakeEngine
from pilothouse.agent.runtime.interface import ContainerPlan, PlannedMount
from pilothouse.clock import SystemClock
from pilothouse.errors import PermanentError
from pilothouse.ids import SeededIds
from pilothouse.model.container import ContainerSpec, Device, FileGrant, Mount, MountKind, Privileges
from pilothouse.model.objects import Volume
from pilothouse.model.sealed import SEALED_PATHS, below, normal
from pilothouse.model.spec import Hook, VolumeSpec
from pilothouse.model.states import TaskState
from tests.agent.manager import Manager, Node
from tests.agent.world import make_task

FILES = "/run/pilothouse/files"
PLACES = ("/srv/platform/data", "/srv/engine/store", "/opt/engine.sock")
LINKS = {"/srv/link": "/srv/engine/store/overlay2", "/srv/elsewhere": "/mnt/disk", "/srv/platform/data": "/mnt/state"}


def plan(*mounts, **spec):
    return ContainerPlan(
        name="ph.shop.web.1.t1", task_id="t1", image="i", spec=ContainerSpec(image="i", **spec), mounts=mounts
    )


def bind(source, target="/x", **changes):
    return PlannedMount(kind="bind", source=source, target=target, **changes)


def judge(made, volumes=(), links=LINKS):
    refuse(host_paths(made, volumes, FILES), PLACES, links)


@pytest.mark.parametrize(
    "source",
    [
        *SEALED_PATHS,
        "/var/run/docker.sock",
        "/var/run/docker/../docker.sock",
        "/",
        "/run",
        "/var/lib",
        "/var/lib/docker/volumes/other/_data",
        "/run/pilothouse/files/t1/0",
        "/srv/platform",
        "/srv/platform/data/store.db",
        "/srv/engine/store",
        "/opt/engine.sock",
        "/srv/link",
        "/mnt/state/store.db",
    ],
)
def test_a_sealed_place_is_refused_with_key_and_value_however_it_is_written(source):
    with pytest.raises(PermanentError) as refused:
        judge(plan(bind(source)))
    assert str(refused.value).startswith(f"volumes: the source of /x, {source}")


@pytest.mark.parametrize("source", ["/srv/app", "/srv/elsewhere", "/srv/platform2", "/run/app", "/var/lib/dockerish"])
def test_any_other_path_is_left_to_what_the_server_granted(source):
    judge(plan(bind(source)))


def test_where_a_link_leads_is_said():
    with pytest.raises(PermanentError, match="/srv/link, which leads to /srv/engine/store/overlay2, holds, or lies in"):
        judge(plan(bind("/srv/link")))


def test_a_volume_that_is_a_host_directory_under_another_name_is_no_way_in():
    volume = Volume(
        id="shop/data",
        app="shop",
        spec=VolumeSpec(key="data", name="shop_data", driver_opts={"type": "none", "o": "bind", "device": "/run"}),
    )
    mount = PlannedMount(kind="volume", source="shop_data", target="/data")
    with pytest.raises(PermanentError, match=r"driver_opts.device of shop_data, /run "):
        judge(plan(mount), (volume,))
    judge(plan(mount))


def test_neither_a_device_nor_the_key_for_it_gives_the_engines_socket():
    with pytest.raises(PermanentError, match=r"devices: /var/run/docker.sock "):
        judge(plan(privileges=Privileges(devices=(Device(source="/var/run/docker.sock", target="/d"),))))
    with pytest.raises(PermanentError, match="use_api_socket true"):
        judge(plan(privileges=Privileges(use_api_socket=True)))


def test_only_the_tasks_own_files_read_only_and_where_they_were_granted_are_let_through():
    grant = {"secrets": (FileGrant(source="key", target="/run/secrets/key"),)}
    own = bind(f"{FILES}/t1/0", "/run/secrets/key", read_only=True)
    judge(plan(own, **grant))
    for changed in (
        plan(own),
        plan(msgspec.structs.replace(own, read_only=False), **grant),
        plan(msgspec.structs.replace(own, target="/x"), **grant),
        plan(msgspec.structs.replace(own, source=f"{FILES}/t2/0"), **grant),
        plan(msgspec.structs.replace(own, source=f"{FILES}/t1/../t2/0"), **grant),
        plan(msgspec.structs.replace(own, source=FILES), **grant),
    ):
        with pytest.raises(PermanentError):
            judge(changed)


PARTS = st.sampled_from(["run", "var", "lib", "docker", "docker.sock", "srv", "engine", "store", "app", "..", ".", ""])
PATHS = st.lists(PARTS, max_size=6).map(lambda parts: "/" + "/".join(parts))


@given(path=PATHS, leads=PATHS)
def test_what_passes_reaches_nothing_sealed_and_what_is_refused_does(path, leads):
    def reaches(each):
        at = normal(each)
        return any(below(at, normal(p)) or below(normal(p), at) for p in (*SEALED_PATHS, *PLACES))

    try:
        judge(plan(bind(path)), links={path: leads})
    except PermanentError:
        assert reaches(path) or reaches(leads)
    else:
        assert not reaches(path)
        assert not reaches(leads)


def _kit(tmp_path):
    node, clock = Node(tmp_path), SystemClock()
    engine, ingress = FakeEngine(node.host), FakeIngress(clock, node.proxy)
    fence = Fence(Lease(clock, endless=True), clock)
    return Equipment(Manager(), engine, ingress, clock, SeededIds(), tmp_path / "data", tmp_path / "run", fence)


@pytest.mark.parametrize("place", ["data", "run"])
async def test_a_link_into_this_agents_own_directories_is_refused_wherever_they_are(tmp_path, place):
    kit = _kit(tmp_path)
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / "apps").mkdir()
    os.symlink(tmp_path / place, tmp_path / "apps" / "innocent")
    await kit.check(plan(bind(str(tmp_path / "apps"))))
    with pytest.raises(PermanentError, match="innocent, which leads to"):
        await kit.check(plan(bind(str(tmp_path / "apps" / "innocent"))))


async def test_an_engines_own_places_are_refused(tmp_path):
    kit = _kit(tmp_path)
    (tmp_path / "engine").mkdir()
    await kit.check(plan(bind(str(tmp_path / "engine"))))
    kit.places = (str(tmp_path / "engine"),)
    with pytest.raises(PermanentError, match="no container may have those"):
        await kit.check(plan(bind(str(tmp_path / "engine"))))


@pytest.mark.parametrize("hooks", [(), (Hook(command=("true",)),)])
async def test_a_task_that_the_server_should_not_have_let_through_is_rejected_and_nothing_is_made(tmp_path, hooks):
    mount = Mount(kind=MountKind.BIND, source=str(tmp_path / "data"), target="/x")
    task, node = make_task(container={"mounts": (mount,)}, spec={"pre_start": hooks}), Node(tmp_path)
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, TaskState.REJECTED)
    assert f"volumes: the source of /x, {tmp_path / 'data'}" in manager.status(task).message
    assert node.host.containers == {}
