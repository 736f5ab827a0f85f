"""Every rule answers for every node, and a refusal names nodes and numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.scheduler.rules import RULES
from pilothouse.control.scheduler.table import Table
from pilothouse.errors import InvalidManifestError
from pilothouse.model.constraints import parse_constraint, satisfies
from pilothouse.model.container import ContainerSpec
from pilothouse.model.node import Availability, NodeDescription, NodeSpec
from pilothouse.model.objects import ResolvedImage
from pilothouse.model.placement import Placement
from pilothouse.model.spec import Resources, TaskSpec
from pilothouse.model.states import TaskState
from tests.control.world import World, node, spec

TASK = replace(World(spec()).rest().one(), state=TaskState.PENDING, node_id="")
GIB = 1 << 30
CORE = 1_000_000_000


def _task(id="new", platform="", constraints=(), most=0, **wanted):
    return replace(
        TASK,
        id=id,
        slot=9,
        spec=TaskSpec(
            container=ContainerSpec(image="x", platform=platform),
            reservations=Resources(**wanted),
            placement=Placement(constraints=constraints, max_replicas_per_node=most),
        ),
    )


def _placed(id, on, slot=1, **wanted):
    return replace(_task(id, **wanted), node_id=on, slot=slot, state=TaskState.RUNNING)


@pytest.mark.parametrize(
    ("task", "on", "said"),
    [
        (_task(), node(ready=False, message="its agent is not connected"), "is not ready (its agent is not connected)"),
        (_task(), node(spec=NodeSpec(availability=Availability.PAUSE)), "was set to 'pause', so it takes no new tasks"),
        (replace(_task(), node_id="node2"), node(), "the task is for node2"),
        (_task(constraints=("node.labels.disk==ssd",)), node(), "has no node.labels.disk"),
        (
            _task(constraints=("node.labels.disk == ssd",)),
            node(spec=NodeSpec(labels={"disk": "hdd"})),
            "constraint 'node.labels.disk == ssd' is not met (it has 'hdd')",
        ),
        (_task(constraints=("what ever",)), node(), "constraint 'what ever' cannot be read"),
        (_task(platform="linux/arm64"), node(), "is linux/x86_64, and the service asks for linux/arm64"),
        (
            replace(_task(), image=ResolvedImage(ref="web:1", nodes=("node2",))),
            node(),
            "has no image web:1, which came from no registry",
        ),
        (
            replace(_task(), image=ResolvedImage(ref="web:1", platform="linux/arm64")),
            node(),
            "is linux/amd64, and the image web:1 is for linux/arm64",
        ),
        (_task(cpu_nano=5 * CORE), node(), "has 4 of 4 cores free, and the task reserves 5"),
        (_task(memory_bytes=9 * GIB), node(), "has 8192 of 8192 MiB of memory free, and the task reserves 9216"),
        (_task(generic={"gpu": 2}), node(), "has 0 of 0 of gpu free, and the task reserves 2"),
    ],
)
def test_each_rule_says_what_is_missing(task, on, said):
    placement = Table([on], []).place(task)
    assert (placement.node_id, placement.message) == ("", f"no place: node1: {said}")


@pytest.mark.parametrize("platform", ["", "linux", "linux/amd64", "linux/amd64/v2"])
def test_a_platform_may_be_written_as_docker_does(platform):
    assert Table([node()], []).place(_task(platform=platform)).node_id == "node1"


def test_all_that_is_missing_is_said_and_the_node_that_needs_least_comes_first():
    nodes = [node("a", ready=False, message="away"), node("b")]
    message = Table(nodes, []).place(_task(memory_bytes=9 * GIB)).message
    assert message == (
        "none of 2 nodes suits: b: has 8192 of 8192 MiB of memory free, and the task reserves 9216; "
        "a: is not ready (away) and has 8192 of 8192 MiB of memory free, and the task reserves 9216"
    )


def test_what_is_reserved_by_others_is_not_free():
    table = Table([node()], [_placed("a", "node1", cpu_nano=3 * CORE)])
    assert "has 1 of 4 cores free" in table.place(_task(cpu_nano=2 * CORE)).message


def test_a_task_that_waits_for_the_one_it_replaces_takes_over_its_reservation():
    old = replace(_placed("old", "node1", cpu_nano=3 * CORE), slot=9)
    new = replace(_task(cpu_nano=4 * CORE), desired_state=TaskState.READY)
    assert Table([node()], [old]).place(new).node_id == "node1"
    assert Table([node()], [old]).place(replace(new, desired_state=TaskState.RUNNING)).node_id == ""


def test_no_more_than_the_allowed_tasks_of_a_service_are_on_one_node():
    table = Table([node()], [_placed("a", "node1", slot=1), _placed("b", "node1", slot=2)])
    assert table.place(_task(most=2)).message == "no place: node1: has 2 tasks of web and max_replicas_per_node is 2"
    assert table.place(_task(most=3)).node_id == "node1"


def test_tasks_go_to_the_nodes_that_have_their_image():
    table = Table([node("a"), node("b"), node("c")], [])
    image = ResolvedImage(ref="web:1", id="sha256:1", platform="linux/amd64", nodes=("b", "c", "gone"))
    tasks = [replace(_task(f"t{n}"), slot=n, image=image) for n in range(1, 5)]
    assert sorted(table.place(task).node_id for task in tasks) == list("bbcc")


def test_tasks_of_a_service_are_spread_over_the_nodes():
    table = Table([node("a"), node("b"), node("c")], [])
    assert sorted(table.place(replace(_task(f"t{n}"), slot=n)).node_id for n in range(1, 7)) == list("aabbcc")


def test_without_a_node_the_message_says_what_has_to_happen():
    assert Table([], []).place(_task()).message == "no node has joined yet; it is placed as soon as an agent connects"


def test_every_rule_is_asked_about_every_node():
    bad = node(ready=False, spec=NodeSpec(availability=Availability.DRAIN), description=NodeDescription(os="plan9"))
    task = _task("x", "linux", ("node.hostname==zz",), cpu_nano=CORE, memory_bytes=GIB, generic={"gpu": 1})
    (verdict,) = Table([bad], []).verdicts(task)
    others = {"pinned", "image", "taints", "volumes", "partners", "pids", "ports", "max-per-node", "affinity", "pool"}
    assert len(verdict.refusals) == len({rule.name for rule in RULES} - others)


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 3))
def test_a_node_never_has_more_reserved_than_it_has(wanted, nodes):
    table = Table([node(f"n{number}") for number in range(nodes)], [])
    used = dict.fromkeys((f"n{number}" for number in range(nodes)), 0)
    for number, cores in enumerate(wanted):
        placed = table.place(replace(_task(f"t{number}", cpu_nano=cores * CORE), slot=number + 1))
        if placed.node_id:
            used[placed.node_id] += cores
        else:
            assert all(4 - there < cores for there in used.values())
    assert max(used.values()) <= 4


@pytest.mark.parametrize(
    ("text", "labels", "holds"),
    [
        ("node.labels.disk==ssd", {"disk": "SSD"}, True),
        ("node.labels.disk!=ssd", {"disk": "ssd"}, False),
        ("node.labels.disk != ssd", {}, True),
        ("node.hostname == node1", {}, True),
        ("node.id!=node1", {}, False),
        ("node.role == manager", {}, True),
        ("node.platform.arch==amd64", {}, True),
        ("node.platform.os==windows", {}, False),
        ("engine.labels.a.b==x y", {"a.b": "x y"}, True),
    ],
)
def test_constraints_are_read_as_swarm_reads_them(text, labels, holds):
    assert satisfies(parse_constraint(text), node(spec=NodeSpec(labels=labels))) is holds


@pytest.mark.parametrize(
    "text", ["", "node.labels.disk", "node.labels.disk=ssd", "node.disk==ssd", "node.labels.==x", "a==b"]
)
def test_a_constraint_that_says_nothing_is_refused_with_what_to_write(text):
    with pytest.raises(InvalidManifestError, match=r"write"):
        parse_constraint(text)
