"""A fixed port of the engine is one of each node: as many tasks can have it as there are nodes that could take them."""

import pytest

from pilothouse.model.container import Port, PortMode
from pilothouse.model.node import Node, NodeDescription, NodeSpec
from pilothouse.model.placement import Placement
from pilothouse.model.spec import AppSpec, Mode, ServiceSpec, TaskSpec
from pilothouse.server.deploy.crowding import crowded
from tests.server.harness import service

HOST = Port(target=80, published=(8080, 8080), mode=PortMode.HOST)
PATH = "services.web.ports[0].published"


def nodes(number, **labels):
    return [
        Node(id=f"n{at}", description=NodeDescription(os="linux", arch="x86_64"), spec=NodeSpec(labels=labels))
        for at in range(number)
    ]


def web(name="web", port=HOST, constraint="", **fields) -> ServiceSpec:
    container = service(name, "img", ports=(port,)).task.container
    placement = Placement(constraints=(constraint,) if constraint else ())
    return ServiceSpec(name=name, task=TaskSpec(container=container, placement=placement), **fields)


def found(services, there):
    return crowded(AppSpec(name="shop", services=tuple(services)), there)


def test_one_host_takes_one_replica_and_says_what_to_write_instead():
    assert found([web(replicas=3)], nodes(1)) == (
        f"{PATH}: one host port for 3 replicas, and the engine publishes `mode: host`, each replica on a port of its "
        'own; write "8080:80", which all replicas share, or a range such as "8080-8082:80"',
    )


@pytest.mark.parametrize(
    ("asked", "there", "fits"),
    [
        (web(replicas=1), nodes(1), True),
        (web(replicas=3), nodes(3), True),
        (web(replicas=3), nodes(2), False),
        (web(replicas=2, constraint="node.id != n0"), nodes(2), False),
        (web(mode=Mode.GLOBAL), nodes(5), True),
        (web(port=Port(target=80, published=(8080, 8080)), replicas=9), nodes(1), True),
        (web(port=Port(target=80, published=(8080, 8081)), replicas=2), nodes(1), True),
        (web(port=Port(target=80, mode=PortMode.HOST), replicas=9), nodes(1), True),
        (web(replicas=3), [], True),
    ],
)
def test_a_fixed_port_has_room_for_one_task_on_each_node_that_could_take_it(asked, there, fits):
    assert (found([asked], there) == ()) is fits


def test_on_several_nodes_the_message_counts_them():
    (said,) = found([web(replicas=3)], nodes(2))
    assert said.startswith(
        f"{PATH}: one host port on 2 nodes that could take it for 3 replicas, and the engine publishes `mode: host`, "
        "one replica on each node; write"
    )


def test_two_services_may_have_one_port_on_different_nodes():
    both = [web(), web("api")]
    assert found(both, nodes(2)) == ()
    assert found(both, nodes(1)) == (
        "services.api.ports[0].published: port 8080/tcp is also that of services.web.ports[0]; change one of them",
    )
    (said,) = found([web(replicas=2), web("api")], nodes(2))
    assert said.endswith("is also that of services.web.ports[0]; change one of them (3 tasks on 2 nodes)")
    assert found([web(mode=Mode.GLOBAL), web("api")], nodes(3)) != ()
    assert (
        found([web(mode=Mode.GLOBAL, constraint="node.id == n0"), web("api", constraint="node.id == n1")], nodes(2))
        == ()
    )


def test_as_many_replicas_as_the_nodes_can_stand():
    many = service("web", "img", replicas=1_001)
    assert (
        found([many], nodes(1))
        == found([many], [])
        == ("services.web.deploy.replicas: 1,001 cannot run on one host; write 0 to 1,000",)
    )
    assert found([many], nodes(2)) == ()
    several = [service(f"s{number}", "img", replicas=1_000) for number in range(11)]
    assert found(several, nodes(1)) == (
        "services: 11,000 replicas in all are too many for one host; at most 10,000 can run",
    )
    assert found(several, nodes(2)) == ()
