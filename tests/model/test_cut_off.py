"""What becomes of tasks on a cut-off node: as written, else fenced where two of a slot cannot both live."""

from msgspec.structs import replace

from pilothouse.control.assignments import needs
from pilothouse.model.container import ContainerSpec, Mount, MountKind, Port, PortMode
from pilothouse.model.cut_off import FENCE, KEEP, cut_off_of, strictest
from pilothouse.model.objects import ResolvedImage, Service
from pilothouse.model.spec import CutOff, CutOffAction, Mode
from tests.control.world import World, spec

WRITES = ContainerSpec(image="x", mounts=(Mount(kind=MountKind.VOLUME, source="data", target="/data"),))
READS = ContainerSpec(image="x", mounts=(Mount(kind=MountKind.VOLUME, source="d", target="/d", read_only=True),))
STOP = CutOff(action=CutOffAction.STOP, after_seconds=60.0)


def service(**fields):
    return Service(id="shop/web", app="shop", name="web", spec=spec(**fields), image=ResolvedImage(ref="x"))


def test_what_is_written_wins():
    assert cut_off_of(service(container=WRITES, cut_off=STOP)) == STOP
    assert cut_off_of(service(container=WRITES, cut_off=KEEP)) == KEEP
    assert cut_off_of(service(cut_off=FENCE)) == FENCE


def test_only_what_two_cannot_have_is_fenced_by_itself():
    assert cut_off_of(service()) == KEEP
    assert cut_off_of(service(container=READS)) == KEEP
    assert cut_off_of(service(container=WRITES)) == FENCE
    port = Port(target=80, published=(80, 80), mode=PortMode.HOST)
    assert cut_off_of(service(container=ContainerSpec(image="x", ports=(port,)))) == FENCE


def test_a_task_that_has_nowhere_else_to_go_is_kept():
    assert cut_off_of(service(container=WRITES, mode=Mode.GLOBAL)) == KEEP
    assert cut_off_of(service(container=WRITES, mode=Mode.GLOBAL, cut_off=FENCE)) == FENCE


def test_tasks_of_an_older_spec_that_had_to_be_fenced_still_are():
    world = World(spec(container=WRITES)).rest()
    old = world.one()
    now = replace(world.service(), spec=spec())
    assert cut_off_of(now) == KEEP
    assert strictest(now, [old]) == FENCE
    assert strictest(now, []) == KEEP


def test_a_node_is_told_the_rule_of_each_service_that_does_not_keep_its_tasks():
    world = World(spec("web"), spec("db", container=WRITES), spec("job", cut_off=STOP)).rest()
    assert needs(world, "node1").assignment.cut_offs == {"shop/db": FENCE, "shop/job": STOP}
