"""Only what nobody needs is forgotten: dead tasks beyond the newest, and what was removed once nothing uses it."""

from msgspec.structs import replace

from pilothouse.control.assignments import needs
from pilothouse.control.orchestrators.reaper import next_expiry, old_tasks
from pilothouse.control.orchestrators.reaping import forget_gone
from pilothouse.model.container import ContainerSpec, FileGrant, Mount, MountKind, NetworkAttachment
from pilothouse.model.objects import App, Config, Network, Secret, Service, Task, Volume
from pilothouse.model.rollout import StepRecord
from pilothouse.model.spec import FileSpec, Mode, NetworkSpec, VolumeSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.model.wire import ResourceReport
from tests.control.world import World, spec

CONTAINER = ContainerSpec(
    image="x",
    networks=(NetworkAttachment(network="front"),),
    mounts=(Mount(kind=MountKind.VOLUME, source="data", target="/data"),),
    secrets=(FileGrant(source="key", target="/k"),),
    configs=(FileGrant(source="conf", target="/c"),),
)


def _full():
    world = World()
    world.force(Network(id="shop/front", app="shop", spec=NetworkSpec(key="front", name="f")))
    world.force(Volume(id="shop/data", app="shop", spec=VolumeSpec(key="data", name="d")))
    world.force(Secret(id="shop/key", app="shop", spec=FileSpec(key="key", name="k"), content_version="v1"))
    world.force(Config(id="shop/conf", app="shop", spec=FileSpec(key="conf", name="c"), content_version="c1"))
    world.deploy(spec(container=CONTAINER))
    return world.rest()


def _crash(world, times):
    for _ in range(times):
        world.now = max(world.now, world.one().not_before)
        world.rest()
        world.now += 1
        world.fail(world.one())
        world.orchestrate()


def test_the_twenty_newest_dead_tasks_of_a_service_are_kept():
    world = World(spec()).rest()
    _crash(world, 25)
    world.reap()
    assert sorted(task.failures for task in world.tasks()) == list(range(5, 26)), "twenty dead and the live one"


def test_no_dead_task_is_kept_for_more_than_seven_days_but_the_newest_of_each_slot():
    world = World(spec(replicas=2)).rest()
    for _ in range(3):
        for task in world.running():
            world.now += 700
            world.fail(task)
        world.rest()
    died = sorted(task.status.finished_at for task in world.tasks() if task.state.terminal)
    assert next_expiry(world, "shop", world.now) == died[0] + 7 * 86_400
    world.now = died[2] + 7 * 86_400
    world.reap()
    assert sorted(task.status.finished_at for task in world.tasks() if task.state.terminal) == died[3:]
    assert next_expiry(world, "shop", world.now) == died[3] + 7 * 86_400
    world.now += 7 * 86_400
    world.reap()
    assert [task.state.terminal for task in world.tasks()] == [False, False], "they have live successors"
    assert next_expiry(world, "shop", world.now) is None


def test_the_newest_dead_task_of_a_slot_is_kept_for_ever_and_nobody_looks_again_for_it():
    world = World(spec(mode=Mode.REPLICATED_JOB, replicas=2)).rest()
    for task in world.running():
        world.complete(task)
    world.now += 30 * 86_400
    world.reap()
    assert len(world.tasks()) == 2
    assert next_expiry(world, "shop", world.now) is None
    world.rest()
    assert len(world.tasks()) == 2, "no job is run again because its end was forgotten"


def test_a_step_whose_end_is_remembered_is_forgotten_after_seven_days():
    world = World(spec()).rest()
    step = replace(world.one(), id="t00000000099", version=0, step=0, slot=0, state=TaskState.COMPLETE)
    world.force(step)
    world.now += 8 * 86_400
    world.reap()
    assert world.get(Task, step.id) is not None, "it is the only witness of its end"
    record = StepRecord(fingerprint=step.fingerprint, index=0, task_id=step.id, done=True)
    world.force(replace(world.service(), steps=(record,)))
    world.reap()
    assert world.get(Task, step.id) is None


def test_twenty_dead_tasks_of_a_service_are_kept_but_always_the_newest_of_each_slot():
    world = World(spec(mode=Mode.REPLICATED_JOB, replicas=30)).rest()
    for task in world.running():
        world.complete(task)
    world.reap()
    assert len(world.tasks()) == 30
    world.rest()
    assert len(world.tasks()) == 30, "no job is run again because its end was forgotten"
    world = World(spec(replicas=8)).rest()
    for _ in range(4):
        for task in world.running():
            world.now += 700
            world.fail(task)
        world.rest()
    world.reap()
    assert len([task for task in world.tasks() if task.state.terminal]) == 20
    assert old_tasks(world.tasks(), world.now) == []


def test_reaping_twice_deletes_nothing_more():
    world = World(spec(replicas=2)).rest()
    world.down()
    world.rest()
    world.reap()
    revision = world.revision
    world.reap()
    assert world.revision == revision
    assert world.find(App) == []


def test_an_app_waits_for_its_networks_and_for_volumes_that_are_to_go_with_it():
    world = _full()
    world.down()
    for kind, key in ((Network, "shop/front"), (Volume, "shop/data")):
        world.force(replace(world.get(kind, key), removing=True))
    world.rest()
    world.reap()
    assert (world.find(Service), world.find(Task), world.find(Secret), world.find(Config)) == ([], [], [], [])
    assert world.get(App, "shop") is not None
    world.writer = Writer.REAPER
    reports = [ResourceReport(kind="network", id="shop/front"), ResourceReport(kind="volume", id="shop/data")]
    forget_gone(world, reports)
    world.reap()
    assert (world.find(App), world.find(Network), world.find(Volume)) == ([], [], [])


def test_a_volume_nobody_asked_to_remove_outlives_its_app():
    world = _full()
    world.down()
    world.force(replace(world.get(Network, "shop/front"), removing=True))
    world.rest()
    world.writer = Writer.REAPER
    forget_gone(world, [ResourceReport(kind="network", id="shop/front"), ResourceReport(kind="volume", id="shop/data")])
    world.reap()
    assert world.find(App) == []
    assert [volume.id for volume in world.find(Volume)] == ["shop/data"]


def test_what_a_live_task_uses_is_not_forgotten_even_if_a_node_says_that_it_is_gone():
    world = _full()
    world.force(replace(world.get(Network, "shop/front"), removing=True))
    world.force(replace(world.get(Secret, "shop/key"), removing=True))
    world.writer = Writer.REAPER
    forget_gone(world, [ResourceReport(kind="network", id="shop/front"), ResourceReport(kind="zebra", id="shop/front")])
    world.reap()
    assert world.get(Network, "shop/front") is not None
    assert world.get(Secret, "shop/key") is not None


def test_an_external_network_is_forgotten_without_asking_a_node():
    world = World(spec())
    spec_ = NetworkSpec(key="n", name="n", external=True)
    world.force(Network(id="shop/n", app="shop", spec=spec_, removing=True))
    world.reap()
    assert world.find(Network) == []


def test_an_assignment_is_whole_and_names_only_what_the_nodes_tasks_were_granted():
    world = _full()
    world.force(Secret(id="shop/other", app="shop", spec=FileSpec(key="other", name="o")))
    world.force(Network(id="shop/unused", app="shop", spec=NetworkSpec(key="unused", name="u")))
    world.force(Volume(id="old/data", app="old", spec=VolumeSpec(key="data", name="o"), removing=True))
    found = needs(world, "node1")
    assert found.assignment.tasks == tuple(world.tasks())
    assert [network.id for network in found.assignment.networks] == ["shop/front"]
    assert [volume.id for volume in found.assignment.volumes] == ["old/data", "shop/data"]
    assert (found.secrets, found.configs) == ((("shop/key", "v1"),), (("shop/conf", "c1"),))
    assert found.assignment.revision == world.revision
    assert (found.assignment.secrets, found.assignment.configs) == ((), ())
    assert needs(world, "node2").secrets == ()


def test_a_dead_tasks_files_are_not_handed_out_any_more():
    world = _full()
    world.deploy(spec(container=CONTAINER, replicas=0))
    world.rest()
    found = needs(world, "node1")
    assert len(found.assignment.tasks) == 1
    assert (found.secrets, found.configs) == ((), ())


def test_a_task_that_is_not_yet_assigned_is_in_no_assignment():
    world = World(spec(mode=Mode.GLOBAL))
    world.orchestrate()
    assert world.one().node_id == "node1"
    assert needs(world, "node1").assignment.tasks == ()
