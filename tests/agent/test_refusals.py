"""What is refused early, and bugs that stay with the task they happened to."""

import msgspec
import pytest

from pilothouse.agent.probes import prober
from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.model.container import Mount, MountKind, NetworkAttachment
from pilothouse.model.names import container_name
from pilothouse.model.spec import Probe, ProbeKind, Probes
from pilothouse.model.states import TaskState
from tests.agent.manager import Manager, Node
from tests.agent.world import IMAGE, make_network, make_task, make_volume

S = TaskState


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"mounts": (Mount(kind=MountKind.VOLUME, source="data", target="/data"),)}, "docker volume create shop_data"),
        ({"networks": (NetworkAttachment(network="back"),)}, "docker network create shop_back"),
    ],
)
async def test_what_is_external_and_does_not_exist_rejects_the_task_and_is_not_made(node, container, message):
    task = make_task(container=container)
    networks = [make_network(), external(make_network("back"))]
    manager = Manager(task, networks=networks, volumes=[external(make_volume())])
    async with node.agent(manager):
        await manager.reaches(task, S.REJECTED)
        assert message in manager.status(task).message
        assert "shop_data" not in node.host.volumes
        assert "shop_back" not in node.host.networks


async def test_an_external_volume_that_exists_is_used_and_stays(node):
    node.host.volumes["shop_data"] = ""
    mount = Mount(kind=MountKind.VOLUME, source="data", target="/data")
    task = make_task(container={"mounts": (mount,)})
    manager = Manager(task, volumes=[external(make_volume())])
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        manager.volumes = [external(make_volume(removing=True))]
        manager.want(S.SHUTDOWN)
        await manager.until(lambda: not manager.volumes)
    assert node.host.volumes == {"shop_data": ""}


@pytest.mark.parametrize("kind", ["ready", "live"])
async def test_a_bug_in_a_probe_fails_that_probe_alone_and_is_told(node, kind, capsys):
    # An answer that the engine never gives stands for what nobody foresaw.
    node.host.images[IMAGE] = FakeImage(ref=IMAGE, commands={("check",): ()})
    probe = Probe(kind=ProbeKind.EXEC, command=("check",), interval_seconds=0.02, failures=2)
    bad = make_task(1, service="api", spec={"probes": Probes(**{kind: probe})})
    good = make_task(2)
    manager = Manager(bad, good)
    async with node.agent(manager):
        await manager.reaches(good, S.RUNNING)
        await manager.until(lambda: "an error inside Pilothouse: ValueError" in manager.status(bad).message)
        if kind == "live":
            await manager.reaches(bad, S.FAILED)
            assert "its live probe failed 2 times in a row" in manager.status(bad).message
        else:
            assert (manager.state(bad), manager.status(bad).ready) == (S.RUNNING, False)
        assert manager.state(good) is S.RUNNING
        assert container_name(good) in node.host.running()
    assert "Traceback" in capsys.readouterr().err


async def test_a_bug_between_questions_ends_the_asking_and_not_the_agent(node, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("no such interval")

    monkeypatch.setattr(prober, "wait_seconds", broken)
    probe = Probe(kind=ProbeKind.EXEC, command=("check",), interval_seconds=0.02)
    bad, good = make_task(1, spec={"probes": Probes(ready=probe)}), make_task(2, service="api")
    manager = Manager(bad)
    async with node.agent(manager):
        await manager.until(lambda: "no such interval" in manager.status(bad).message)
        manager.put(good)
        await manager.reaches(good, S.RUNNING)


def external(place):
    """Return a network or volume that somebody else has to make."""
    return msgspec.structs.replace(place, spec=msgspec.structs.replace(place.spec, external=True))
