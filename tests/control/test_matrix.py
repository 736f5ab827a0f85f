"""Why a task has no place, in groups and numbers; and the smallest change that is named does place it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.scheduler.fleet import fleet_of
from pilothouse.control.scheduler.matrix import explain
from pilothouse.model.matrix import RemedyKind
from pilothouse.model.node import Availability
from pilothouse.model.placement import Placement, Taint, Toleration
from pilothouse.model.spec import Resources
from pilothouse.model.states import TaskState
from tests.control.test_batches import decide, node, tasks
from tests.control.test_preemption import run
from tests.examples import examples


def ask(nodes, task, placed=()):
    return explain(fleet_of(nodes, placed), task)


def one(**wanted):
    return tasks("web", 1, **wanted)[0]


def test_nodes_that_lack_the_same_are_told_of_together_with_numbers():
    nodes = [
        *(node(f"a{n}", cpu=n % 3) for n in range(6)),
        *(node(f"b{n}", cpu=8, labels={"disk": "ssd"}, ready=False) for n in range(3)),
    ]
    cores = 1_000_000_000
    sizes = [Resources(cpu_nano=each.description.capacity.cpu_nano * cores) for each in nodes]
    nodes = [
        replace(each, description=replace(each.description, capacity=size))
        for each, size in zip(nodes, sizes, strict=True)
    ]
    answer = ask(nodes, one(cpu=4 * cores, constraints=("node.labels.disk==ssd",)))
    assert [(group.count, [lack.rule for lack in group.lacks]) for group in answer.groups] == [
        (3, ["ready"]),
        (6, ["constraints", "cpu"]),
    ]
    assert answer.groups[1].nodes == ("a0", "a1", "a2", "a3", "a4")
    assert answer.groups[1].lacks[1].sentence == "has 0 to 2 cores free, and the task reserves 4"
    assert answer.sentence == (
        "none of 9 nodes suits: 3 nodes (b0, b1, b2): is not ready (its agent is not connected); "
        "6 nodes (a0, a1, a2, …): has no node.labels.disk and has 0 to 2 cores free, and the task reserves 4"
    )
    rows = {row.rule: (row.kept, row.broken) for row in answer.rules}
    assert rows["ready"] == (6, 3)
    assert rows["cpu"] == (3, 6)
    assert (answer.nodes, answer.suitable) == (9, 0)


@pytest.mark.parametrize(
    ("nodes", "task", "kind", "said"),
    [
        ([node("a", cpu=3), node("b", cpu=1)], one(cpu=4), RemedyKind.RESERVATION, "then it fits on a"),
        ([node("a")], one(constraints=("node.labels.disk==ssd",)), RemedyKind.LABEL, "node label a disk=ssd"),
        ([node("a", labels={"x": "1"})], one(constraints=("node.labels.x!=1",)), RemedyKind.LABEL, "node label a x-"),
        ([node("a", taints=(Taint(key="x"),))], one(), RemedyKind.TAINT, "tolerate 'x', or take it off a"),
        ([node("a", availability=Availability.PAUSE)], one(), RemedyKind.AVAILABILITY, "node activate a"),
        ([node("a", ready=False)], one(), RemedyKind.WAIT, "it is placed once a is ready again"),
    ],
)  # fmt: skip
def test_the_smallest_change_is_named(nodes, task, kind, said):
    first = ask(nodes, task).remedies[0]
    assert first.kind is kind
    assert said in first.sentence


def test_a_task_whose_room_would_do_is_named_with_the_priority_that_would_take_it():
    placed = run(tasks("low", 3, cpu=2, priority=400), "a")
    rooms = [each for each in ask([node("a", cpu=6)], one(cpu=2), placed).remedies if each.kind is RemedyKind.ROOM]
    assert [each.sentence for each in rooms] == [
        "stop low.1 of shop on a, which has a priority of 400, or give this one a priority of 600 or more"
    ]


def test_a_placed_task_is_asked_about_as_if_it_were_not_placed_and_stays_where_it_is():
    (web,) = run([one(cpu=8)], "a")
    fleet = fleet_of([node("a", cpu=8)], [web])
    assert explain(fleet, web).suit == ("a",)
    assert fleet.roster.entries["web-1"].at == 0
    assert fleet.columns.free_of("cpu")[0] == 0


@st.composite
def hopeless(draw):
    nodes = [
        node(
            f"n{number}",
            cpu=draw(st.integers(0, 6)),
            memory=draw(st.integers(0, 6)),
            ready=draw(st.sampled_from([True, True, False])),
            availability=draw(st.sampled_from([Availability.ACTIVE, Availability.ACTIVE, Availability.PAUSE])),
            taints=draw(st.sampled_from([(), (), (Taint(key="t", value="v"),)])),
            labels=draw(st.sampled_from([{}, {"disk": "hdd"}, {"disk": "ssd"}])),
        )
        for number in range(draw(st.integers(1, 8)))
    ]
    task = one(
        cpu=draw(st.integers(0, 6)),
        memory=draw(st.integers(0, 6)),
        constraints=draw(st.sampled_from([(), ("node.labels.disk==ssd",), ("node.labels.disk!=hdd",)])),
    )
    placed = run(tasks("low", 4, cpu=1, memory=1, priority=100), *(n.id for n in nodes))
    return nodes, task, placed


def apply(nodes, task, placed, remedy):
    """Do what a remedy says, and nothing else."""
    at = next(number for number, each in enumerate(nodes) if each.id == remedy.node)
    nodes, spec = list(nodes), nodes[at].spec
    wants = task.spec.reservations
    match remedy.kind:
        case RemedyKind.RESERVATION:
            fields = {"cpu": "cpu_nano", "memory": "memory_bytes"}
            less = zip(remedy.name.split(","), map(int, remedy.value.split(",")), strict=True)
            wants = replace(wants, **{fields[k]: getattr(wants, fields[k]) - n for k, n in less})
            task = replace(task, fingerprint="less", spec=replace(task.spec, reservations=wants))
        case RemedyKind.LABEL:
            labels = {key: value for key, value in spec.labels.items() if key != remedy.name}
            labels |= {remedy.name: remedy.value} if remedy.value else {}
            nodes[at] = replace(nodes[at], spec=replace(spec, labels=labels))
        case RemedyKind.TAINT:
            placement = replace(task.spec.placement, tolerations=(Toleration(key=remedy.name.partition("=")[0]),))
            task = replace(task, fingerprint="bears", spec=replace(task.spec, placement=placement))
        case RemedyKind.AVAILABILITY:
            nodes[at] = replace(nodes[at], spec=replace(spec, availability=Availability.ACTIVE))
        case RemedyKind.ROOM:
            placed = [each for each in placed if each.id != remedy.name]
        case RemedyKind.WAIT:
            nodes[at] = replace(nodes[at], ready=True)
        case RemedyKind.LIMIT:
            task = replace(task, fingerprint="more", spec=replace(task.spec, placement=Placement()))
    return nodes, task, placed


@examples(120)
@given(hopeless())
def test_every_change_that_is_named_places_the_task_on_the_node_it_names(asked):
    nodes, task, placed = asked
    placed = [each for each in placed if each.state is not TaskState.COMPLETE]
    answer = ask(nodes, task, placed)
    assert sum(group.count for group in answer.groups) + answer.suitable == len(nodes)
    assert not (answer.suitable and answer.remedies)
    for remedy in answer.remedies:
        changed, new, left = apply(nodes, task, placed, remedy)
        assert remedy.node in ask(changed, new, left).suit, remedy
        assert decide(changed, [new], left).placed
