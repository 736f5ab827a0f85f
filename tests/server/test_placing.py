"""Questions about where tasks go or would go, answered by the scheduler's own rules."""

import pytest
from msgspec.structs import replace

from pilothouse.errors import InvalidRequestError, NotFoundError
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ClusterSpec, Disruption, PoolPolicy
from pilothouse.model.container import ContainerSpec, Mount, MountKind, Port, PortMode
from pilothouse.model.node import Node, NodeDescription, NodeSpec
from pilothouse.model.objects import Service, Task, Volume
from pilothouse.model.placement import Placement, Pool
from pilothouse.model.spec import Mode, Resources, TaskSpec, VolumeSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.server.explain.door import explain
from pilothouse.server.placing.imagined import fixed_ports
from pilothouse.server.placing.rebalancing import ask, proposed, view
from pilothouse.server.placing.simulate import lose
from pilothouse.server.placing.survival import MOST_ASKED, survival
from pilothouse.server.placing.why_not import why_not
from pilothouse.server.views import app_view
from tests.control.world import World, node, spec

GIB = 1 << 30
DATA = Mount(kind=MountKind.VOLUME, source="data", target="/data")


def service(name="web", replicas=1, memory=0, constraints=(), mounts=(), ports=(), **fields):
    container = ContainerSpec(image="web:1", mounts=mounts, ports=ports)
    placement = Placement(constraints=constraints)
    task = TaskSpec(container=container, reservations=Resources(memory_bytes=memory), placement=placement)
    return spec(name, replicas=replicas, task=task, **fields)


def world(*services, nodes=("a", "b", "c"), **labels):
    there = [node(name, spec=NodeSpec(labels=labels.get(name, {}))) for name in nodes]
    made = World(nodes=there)
    for each in services:
        for mount in each.task.container.mounts:
            made.force(Volume(id=f"shop/{mount.source}", app="shop", spec=VolumeSpec(key="data", name="shop_data")))
    made.deploy(*services)
    return made.rest()


def moves(found):
    return {f"{move.task} {move.source}": (move.target, move.sentence) for move in found.moves}


def test_losing_a_node_names_where_its_tasks_go():
    there = world(service(replicas=3))
    found = lose(there, ["a"])
    ((task, (target, why)),) = moves(found).items()
    assert (task.split()[1], target in {"b", "c"}) == ("a", True)
    assert why.startswith(f"placed on {target}: 2 of 2 nodes suit")
    assert [(app.app, app.survives, app.interrupted) for app in found.apps] == [("shop", True, ())]
    assert found.sentence == "without a 1 of 1 task would be made again on other nodes, and every app survives it"
    assert there.find(Task) == there.find(Task), "nothing is written"


def test_a_service_with_one_task_has_nobody_who_answers_meanwhile():
    there = world(service())
    (task,) = there.find(Task)
    (app,) = lose(there, [task.node_id]).apps
    assert (app.survives, app.interrupted) == (True, ("web",))
    assert app.sentence == "shop has nobody who answers for web until it is made again"


def test_a_task_whose_data_is_on_the_lost_node_is_gone():
    there = world(service(mounts=(DATA,)), service("api", replicas=3))
    (task,) = there.find(Task, service="web")
    found = lose(there, [task.node_id])
    (app,) = found.apps
    assert (app.survives, app.gone) == (False, ("web",))
    target, why = moves(found)[f"web.1 {task.node_id}"]
    assert (target, "the data of the volume shop/data is on" in why) == ("", True)
    assert found.sentence.endswith("; shop would not survive it")


def test_what_finds_no_room_is_missing_but_the_service_goes_on():
    there = world(service(replicas=3, memory=5 * GIB))
    (app,) = lose(there, ["a"]).apps
    assert (app.survives, app.fewer) == (True, ("web",))
    assert "has 3072 of 8192 MiB of memory free" in lose(there, ["a"]).moves[0].sentence


def test_one_task_on_each_node_is_not_made_again():
    found = lose(world(service(mode=Mode.GLOBAL)), ["a"])
    assert moves(found) == {"web a": ("", "is one of a service with one task on each node, so no other is made for it")}
    assert found.apps[0].survives


def test_several_nodes_are_lost_at_once():
    there = world(service(replicas=3))
    assert len(lose(there, ["a", "b"]).moves) == 2
    found = lose(there, ["a", "b", "c"])
    assert (found.lost, found.apps[0].gone) == (("a", "b", "c"), ("web",))


def test_a_node_without_tasks_is_not_missed():
    there = world(service(constraints=("node.id == a",)))
    assert lose(there, ["b"]).sentence == "without b nothing would change: no task is there"
    with pytest.raises(NotFoundError, match="there is no node called 'x'; the ids of the nodes are: a, b, c"):
        lose(there, ["x"])


def answers(found):
    return {answer.rule: answer.sentence for answer in found.answers if not answer.kept}


def test_every_rule_answers_for_one_more_task():
    there = world(service(constraints=("node.labels.disk == ssd",), memory=5 * GIB), a={"disk": "ssd"})
    free = why_not(there, "shop/web", "b")
    assert (free.suits, free.here, answers(free)) == (False, 0, {"constraints": "has no node.labels.disk"})
    assert free.sentence == "b has 0 tasks of shop/web, and one more cannot go there: it has no node.labels.disk"
    full = why_not(there, "shop/web", "a")
    assert (full.here, list(answers(full))) == (1, ["memory"])
    assert "platform" in {answer.rule for answer in full.answers if answer.kept}


def test_a_node_that_suits_is_told_too():
    found = why_not(world(service(replicas=3)), "shop/web", "b")
    assert found.sentence == "b has 1 task of shop/web, and one more could go there: it keeps every rule"


def test_a_task_that_waits_is_the_one_that_is_asked_about():
    there = world(service(constraints=("node.id == z",)))
    assert "web.1, which waits for a place, cannot go there" in why_not(there, "shop/web", "a").sentence


def test_a_fixed_port_is_taken_on_the_node_that_has_it():
    port = Port(target=80, published=(8080, 8080), mode=PortMode.HOST)
    there = world(service(replicas=2, ports=(port,)))
    where = {task.node_id for task in there.find(Task)}
    assert len(where) == 2
    assert all("host port 8080/tcp is held by web." in answers(why_not(there, "shop/web", at))["ports"] for at in where)
    (free,) = {"a", "b", "c"} - where
    assert why_not(there, "shop/web", free).suits
    assert len(fixed_ports((port, Port(target=80, published=(1, 2)), Port(target=80, published=(3, 3))))) == 1


def test_a_question_about_nothing_is_refused_with_what_there_is():
    with pytest.raises(NotFoundError, match="there is no service 'shop/db'"):
        why_not(world(service()), "shop/db", "a")
    with pytest.raises(InvalidRequestError, match="write APP/SERVICE"):
        why_not(world(service()), "shop", "a")


def survives(there):
    return app_view(there, "shop", there.now).survival


def test_an_app_survives_the_loss_of_any_node_if_each_service_is_on_several():
    found = survives(world(service(replicas=2), service("api", replicas=3)))
    assert (found.survives, found.losses) == (True, {})


def test_a_service_on_one_node_leaves_a_gap_if_another_could_take_it():
    there = world(service())
    (task,) = there.find(Task)
    found = survives(there)
    assert found.survives
    assert found.sentence == (
        f"survives the loss of any one node, with a gap: without {task.node_id} nobody would answer for web until it "
        "is made again elsewhere"
    )


@pytest.mark.parametrize(
    ("asked", "labels"),
    [
        (service(constraints=("node.labels.disk == ssd",)), {"a": {"disk": "ssd"}}),
        (service(mounts=(DATA,)), {}),
    ],
)
def test_a_service_that_only_one_node_can_take_does_not_survive_it(asked, labels):
    there = world(asked, service("api", replicas=3), **labels)
    (task,) = there.find(Task, service="web")
    found = survives(there)
    assert (found.survives, list(found.losses)) == (False, [task.node_id])
    assert found.sentence == (
        f"does not survive the loss of {task.node_id}: web would be gone, as no other node can take it"
    )
    assert dict(explain(there, "shop", there.now).facts)["loss of a node"] == found.sentence


BIG = {
    "memory": {"memory_bytes": 5 * GIB},
    "cpu": {"cpu_nano": 3_000_000_000},
    "pids": {"pids": 700},
    "something declared": {"generic": {"gpu": 1}},
}


def alone(reserved, ports=()):
    """A service of one task, and one of two, of which each node can take one task."""
    amounts = Resources(cpu_nano=4_000_000_000, memory_bytes=8 * GIB, pids=1000, generic={"gpu": 1})
    there = World(nodes=[node(name, description=NodeDescription(capacity=amounts)) for name in "abc"])
    made = [
        spec(name, replicas=replicas, task=TaskSpec(container=ContainerSpec(image="web:1", ports=ports),
             reservations=Resources(**reserved)))
        for name, replicas in (("web", 1), ("api", 2))
    ]  # fmt: skip
    there.deploy(*made)
    return there.rest()


@pytest.mark.parametrize("reserved", BIG.values(), ids=BIG)
def test_a_service_for_which_no_other_node_has_room_does_not_survive_it_whatever_it_reserves(reserved):
    there = alone(reserved)
    (task,) = there.find(Task, service="web")
    assert {each.node_id for each in there.find(Task)} == {"a", "b", "c"}
    assert list(survives(there).losses) == [task.node_id]
    assert not survives(there).survives
    small = alone({key: value // 2 for key, value in reserved.items()} if "generic" not in reserved else {})
    assert survives(small).survives


def test_a_service_whose_host_port_is_taken_on_every_other_node_does_not_survive_it():
    there = alone({}, ports=(Port(target=80, published=(8080, 8080), mode=PortMode.HOST),))
    (task,) = there.find(Task, service="web")
    assert {each.node_id for each in there.find(Task)} == {"a", "b", "c"}
    assert list(survives(there).losses) == [task.node_id]
    assert not survives(there).survives


def test_where_very_many_nodes_could_take_a_task_one_of_them_is_taken_to_have_room():
    there = world(service(), nodes=[f"n{number}" for number in range(MOST_ASKED + 2)])
    services, nodes = there.find(Service), there.find(Node)
    never = lambda _node, _task: False  # noqa: E731
    assert survival(services, there.find(Task), nodes, {}, never).survives
    assert not survival(services, there.find(Task), nodes[: MOST_ASKED + 1], {}, never).survives


def test_on_one_node_there_is_nothing_to_survive():
    there = world(service(), nodes=("a",))
    assert survives(there) is None
    assert survival([], [], [node("a"), node("b")], {}) is None
    assert "loss of a node" not in dict(explain(there, "shop", there.now).facts)


def test_a_task_that_waits_is_explained_by_every_node_and_the_smallest_change():
    there = world(service(constraints=("node.labels.disk == ssd",), memory=9 * GIB), a={"disk": "ssd"})
    (task,) = there.find(Task)
    assert task.state is TaskState.PENDING
    told = explain(there, "shop/web.1", there.now)
    assert told.matrix.nodes == 3
    assert "the smallest change that would place it: " in told.sentence
    assert told.causes[0].startswith("a: has 8192 of 8192 MiB of memory free, and the task reserves 9216")
    service_told = explain(there, "shop/web", there.now)
    assert service_told.causes[0].startswith("The smallest change that would place it: ")
    assert service_told.causes[1] == told.causes[0]
    assert explain(there, "shop/web", there.now).matrix == told.matrix


def test_a_task_that_has_a_place_has_no_matrix():
    there = world(service())
    assert explain(there, "shop/web.1", there.now).matrix is None


def test_the_pools_of_the_cluster_count_where_something_is_asked_beforehand():
    there = world(service(replicas=3, memory=GIB))
    spec_ = ClusterSpec(pools={Pool.SERVICES: PoolPolicy(most=13)})
    there.force(Cluster(id=CLUSTER_ID, cluster="x", created_at=0.0, spec=spec_))
    assert "the pool 'services'" in answers(why_not(there, "shop/web", "a"))["pool"]


def test_nodes_are_found_by_the_name_of_their_machine():
    there = world(service())
    first = there.get(Node, "a")
    there.force(replace(first, description=replace(first.description, hostname="alpha")))
    assert why_not(there, "shop/web", "alpha").node == "a"


def test_tasks_are_moved_to_a_node_that_came_later():
    there = world(service(replicas=4), nodes=("a",))
    there.force(node("b"))
    moves = proposed(there, 10)
    told = view(there, moves, asked=False)
    assert [(move.source, move.target) for move in told.moves] == [("a", "b")] * len(moves)
    assert told.sentence == f"{len(moves)} tasks would be better on another node"
    assert len(moves) == 2
    assert len(proposed(there, 1)) == 1
    there.writer = Writer.API
    ask(there, moves, "uid:0(root)", there.now)
    assert {each.id for each in there.find(Disruption)} == {move.task.id for move in moves}
    assert {each.requested_by for each in there.find(Disruption)} == {"uid:0(root)"}
    assert proposed(there, 10) == []
    assert view(there, [], asked=True).sentence == "2 tasks are being moved already; ask again after that"


def test_what_is_spread_stays():
    there = world(service(replicas=3))
    assert view(there, proposed(there, 10), asked=True).sentence.endswith("nothing is to be moved")


def test_a_global_service_has_no_task_on_nodes_of_another_platform():
    there = world(service(mode=Mode.GLOBAL))
    (made,) = there.find(Service)
    there.force(replace(made, image=replace(made.image, platform="linux/arm64")))
    arm = there.get(Node, "b")
    there.force(replace(arm, description=replace(arm.description, arch="aarch64")))
    wanted = {task.node_id for task in there.rest().find(Task) if task.desired_state is TaskState.RUNNING}
    assert wanted == {"b"}
