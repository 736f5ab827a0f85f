"""A plan on several nodes: where new tasks would go and why, what finds no place, and what would be apart."""

from collections import Counter

from msgspec.structs import replace

from pilothouse.model.container import ContainerSpec, Mount, MountKind, NetworkAttachment, Port, PortMode
from pilothouse.model.node import Node, NodeSpec
from pilothouse.model.objects import Task
from pilothouse.model.placement import PRIORITIES, Affinity, Placement
from pilothouse.model.spec import NetworkSpec, Resources, TaskSpec, UpdateOrder, UpdatePolicy, VolumeSpec
from pilothouse.server.deploy.foresee import foresee
from pilothouse.server.deploy.pipeline import load
from tests.control.world import World, needs, node, spec
from tests.server.test_foresee import asked, deploy, released

GIB = 1 << 30
VOLUMES = (VolumeSpec(key="data", name="shop_data"),)
DATA = Mount(kind=MountKind.VOLUME, source="data", target="/data")


def service(name="web", replicas=1, memory=0, image="web:1", **fields):
    container = ContainerSpec(image=image, **{k: fields.pop(k) for k in ("mounts", "ports", "networks") if k in fields})
    placement = Placement(**{k: fields.pop(k) for k in ("constraints", "affinities", "priority") if k in fields})
    task = TaskSpec(container=container, reservations=Resources(memory_bytes=memory), placement=placement)
    return spec(name, replicas=replicas, task=task, **fields)


def cluster(*names):
    return World(nodes=[node(name, spec=NodeSpec(labels={"name": name})) for name in names or ("a", "b", "c")])


def plan(world, *services, **fields):
    return foresee(world, load(world, "shop"), asked(*services, **fields))


def running(*services, nodes=(), **fields):
    return released(deploy(cluster(*nodes), asked(*services, **fields)).rest())


def test_a_plan_names_the_node_of_every_new_task_and_why():
    (web,) = plan(cluster(), service(replicas=4)).services
    assert web.nodes == {"a": 2, "b": 1, "c": 1}
    assert [place.task for place in web.places] == ["web.1", "web.2", "web.3", "web.4"]
    assert all(place.sentence.startswith(f"placed on {place.node}: 3 of 3 nodes suit") for place in web.places)


def test_what_a_plan_names_is_where_the_tasks_then_go():
    world = cluster()
    database = service("db", memory=4 * GIB, constraints=("node.id == c",))
    deploy(world, asked(database)).rest()
    services = (database, service(replicas=4, memory=3 * GIB))
    told = plan(world, *services).services[-1]
    deploy(world, asked(*services)).rest()
    assert Counter(task.node_id for task in world.find(Task, service="web")) == told.nodes


def test_on_one_node_there_is_nothing_to_tell():
    (web,) = plan(World(), service(replicas=2)).services
    assert (web.nodes, web.places) == ({}, ())


def test_services_are_counted_together():
    first, second = plan(
        cluster("a", "b"), service(memory=5 * GIB, replicas=2), service("api", memory=5 * GIB)
    ).services
    assert (sum(first.nodes.values()), sum(second.nodes.values())) in {(2, 0), (1, 1)}


def test_what_finds_no_place_is_a_risk_with_the_smallest_change():
    (web,) = plan(cluster(), service(replicas=2, memory=9 * GIB)).services
    (risk,) = [risk for risk in web.risks if "would wait for a place" in risk]
    assert risk.startswith("web.1 (2 of them) would wait for a place: none of 3 nodes suits: a: has 8192 of 8192 MiB")
    assert "; the smallest change: " in risk
    assert [place.node for place in web.places] == ["", ""]


def test_a_replaced_task_that_stops_first_shares_the_room_of_the_old_one():
    stop_first = UpdatePolicy(order=UpdateOrder.STOP_FIRST)
    world = running(service(memory=8 * GIB, update=stop_first), nodes=("a", "b"))
    (old,) = world.find(Task)
    other = next(each for each in world.find(Node) if each.id != old.node_id)
    world.force(replace(other, ready=False))
    (web,) = plan(world, service(memory=8 * GIB, image="web:2", update=stop_first)).services
    assert web.nodes == {old.node_id: 1}


def test_a_replaced_task_that_starts_first_needs_room_beside_the_old_one():
    world = running(service(memory=5 * GIB), nodes=("a", "b"))
    (old,) = world.find(Task)
    (web,) = plan(world, service(memory=5 * GIB, image="web:2")).services
    assert list(web.nodes) == [name for name in ("a", "b") if name != old.node_id]


def test_fixed_ports_of_the_engine_go_to_different_nodes():
    port = Port(target=80, published=(8080, 8080), mode=PortMode.HOST)
    (web,) = plan(cluster(), service(replicas=3, ports=(port,))).services
    assert web.nodes == {"a": 1, "b": 1, "c": 1}
    assert not any("belongs to" in risk for risk in web.risks)


def test_services_that_would_not_reach_each_other_are_told_of():
    view = plan(
        cluster(),
        service("web", constraints=("node.id == a",), depends_on=(needs("db"),)),
        service("db", constraints=("node.id == b",)),
    )
    assert view.warnings == (
        "on the network default containers reach each other only on their own node: web on a would not reach db; "
        "`x-pilothouse.placement.near` keeps services together",
    )


def test_services_that_are_kept_together_reach_each_other():
    near = (Affinity(service="db"),)
    view = plan(cluster(), service("web", affinities=near, depends_on=(needs("db"),)), service("db"))
    assert view.warnings == ()
    (where,) = {tuple(each.nodes) for each in view.services}
    assert len(where) == 1


def test_services_on_different_networks_need_not_reach_each_other():
    one, other = ((NetworkAttachment(network=name),) for name in ("front", "back"))
    networks = tuple(NetworkSpec(key=name, name=f"shop_{name}") for name in ("front", "back"))
    both = (
        service("web", networks=one, constraints=("node.id == a",)),
        service("db", networks=other, constraints=("node.id == b",)),
    )
    assert plan(cluster(), *both, networks=networks).warnings == ()


def test_a_task_that_stays_counts_as_where_it_is():
    db = service("db", constraints=("node.id == b",))
    world = running(db)
    view = plan(world, db, service("web", constraints=("node.id == b",), depends_on=(needs("db"),)))
    assert view.warnings == ()
    moved = plan(world, db, service("web", constraints=("node.id == c",), depends_on=(needs("db"),)))
    assert "web on c would not reach db" in moved.warnings[0]


def test_data_on_one_node_is_a_risk_where_there_are_several():
    (web,) = plan(cluster(), service(replicas=3, mounts=(DATA,)), volumes=VOLUMES).services
    first, second = [risk for risk in web.risks if "volume data" in risk]
    assert first.startswith(
        "all 3 tasks go to one node, as the volume data has its data there; use a volume that every"
    )
    assert second.startswith("if the node with the volume data is lost it waits until that node is back; ")
    assert len(web.nodes) == 1
    (alone,) = plan(World(), service(mounts=(DATA,)), volumes=VOLUMES).services
    assert not any("volume data" in risk for risk in alone.risks)


def test_a_volume_that_every_node_reaches_is_no_risk():
    shared = (replace(VOLUMES[0], driver_opts={"type": "nfs", "device": ":/x"}),)
    (web,) = plan(cluster(), service(replicas=3, mounts=(DATA,)), volumes=shared).services
    assert not any("volume data" in risk for risk in web.risks)
    assert web.nodes == {"a": 1, "b": 1, "c": 1}


def test_whose_room_is_taken_is_named_before_it_is_taken():
    low = service("batch", memory=6 * GIB, replicas=2, priority=PRIORITIES["low"])
    world = running(low, nodes=("a", "b"))
    (_, urgent) = plan(world, low, service("urgent", memory=5 * GIB, priority=PRIORITIES["high"])).services
    (place,) = urgent.places
    (victim,) = place.displaces
    assert victim in {"shop/batch.1 (priority 300)", "shop/batch.2 (priority 300)"}
    assert urgent.nodes == {place.node: 1}
    assert f"urgent.1 takes the room of {victim}, which is stopped for it; write `priority` lower, or make room" in (
        urgent.risks
    )
    (_, equal) = plan(world, low, service("equal", memory=5 * GIB, priority=PRIORITIES["normal"])).services
    assert equal.places[0].displaces != ()
    (_, lower) = plan(world, low, service("lower", memory=5 * GIB, priority=PRIORITIES["low"])).services
    assert (lower.places[0].node, lower.places[0].displaces) == ("", ())
