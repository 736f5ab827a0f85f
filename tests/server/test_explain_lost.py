"""What is said of nodes that are silent, lost, held back or in trouble, and of the tasks on them."""

import pytest
from msgspec.structs import replace

from pilothouse.model.cluster import Cluster
from pilothouse.model.container import ContainerSpec, Mount, MountKind
from pilothouse.model.node import Node, NodeDescription, NodeState
from pilothouse.model.spec import CutOff, CutOffAction
from pilothouse.server.doctor import findings
from pilothouse.server.explain import explain
from tests.control.world import World, node, spec

WRITES = ContainerSpec(image="x", mounts=(Mount(kind=MountKind.VOLUME, source="data", target="/data"),))
STOP = CutOff(action=CutOffAction.STOP, after_seconds=60.0)


def world(state, *, paused=False, **fields):
    it = World(spec("web"), spec("db", container=WRITES), spec("far", cut_off=STOP)).rest()
    it.force(node("node2", state=NodeState.READY))
    it.force(replace(it.get(Node, "node1"), state=state, since=it.now - 30, **{"ready": False, **fields}))
    since = it.now if paused else None
    it.force(
        Cluster(
            id="cluster", cluster="0" * 32, created_at=0.0, evictions_paused_since=since,
            evictions_message="too many are silent" if paused else "",
        )
    )  # fmt: skip
    return it


def about_node(it):
    return explain(it, "node/node1", it.now).sentence


def test_of_a_suspect_node_it_is_said_what_happens_when():
    said = about_node(world(NodeState.SUSPECT))
    assert "its tasks are made anew elsewhere 10 s after its last sign of life, those that must be single after" in said
    assert "three beats in a row end that" in said


def test_while_too_many_are_silent_that_is_said_instead():
    assert about_node(world(NodeState.SUSPECT, paused=True)).endswith("too many are silent.")


def test_of_a_lost_node_it_is_said_what_is_left_and_what_is_killed_when_it_is_back():
    it = world(NodeState.DOWN, losses=(990.0,))
    assert "what still runs there of the others is killed as soon as it is back" in about_node(it)
    facts = dict(explain(it, "node/node1", it.now).facts)
    assert (facts["silent for"], facts["lost"]) == ("40 s", "1 time, last 10 s ago")


def test_of_a_node_that_is_held_back_it_is_said_when_that_ends():
    it = world(NodeState.READY, held_until=1045.0)
    assert "it takes new tasks in 45 s, if it stays" in about_node(it)


def test_of_a_node_in_trouble_it_is_said_that_what_runs_is_left_running():
    it = world(NodeState.READY, pressure={"disk": "the disk is full"}, message="it gets no new tasks: the disk is full")
    assert "the disk is full" in about_node(it)
    assert "what runs there is left running" in about_node(it)
    assert "is away" not in explain(it, "shop/web.1", it.now).sentence


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("web", "it may run on there; another is made 10 s after the node's last sign of life, and this one is killed"),
        ("db", "it must be single (it writes to data), so its node kills it by itself at most 12 s after its last"),
        ("far", "its node stops it by itself 68 s after its last answer from a manager"),
    ],
)
def test_of_a_task_on_a_silent_node_it_is_said_what_becomes_of_it_there_and_elsewhere(service, said):
    told = explain(world(NodeState.SUSPECT), f"shop/{service}.1", 1000.0).sentence
    assert "was last seen in state RUNNING, but its node node1 is away for 30 s" in told
    assert said in told


@pytest.mark.parametrize(
    ("fields", "level", "advice"),
    [
        ({"state": NodeState.DOWN}, "error", "pilothouse node remove"),
        ({"state": NodeState.READY, "pressure": {"disk": "full"}}, "error", "docker system df"),
        ({"state": NodeState.READY, "pressure": {"engine": "hangs"}}, "error", "restart the engine"),
        ({"state": NodeState.READY, "pressure": {"clock": "1 h behind"}}, "error", "chronyc makestep"),
        ({"state": NodeState.READY, "held_until": 5.0}, "warning", "comes and goes"),
    ],
)
def test_doctor_tells_what_to_do_about_a_node_that_takes_no_work(fields, level, advice):
    it = Node(id="n1", description=NodeDescription(engine="docker 20.10.24"), message="so it is", **fields)
    found = findings((it,), ("n1",), (), ())[0]
    assert (found.level, advice in found.advice) == (level, True)
