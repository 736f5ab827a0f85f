"""Who has to go for whom, and that the room goes to whom it was taken for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.scheduler.fleet import fleet_of
from pilothouse.control.scheduler.place import place
from pilothouse.control.scheduler.shape import shape_of
from pilothouse.model.container import Mount, MountKind
from pilothouse.model.placement import PREEMPTION_GAP
from pilothouse.model.states import TaskState
from tests.control.reference import Reference
from tests.control.test_batches import node, tasks
from tests.examples import examples


def run(made, *nodes, created_at=0.0):
    """The tasks as they run on nodes, one on each in turn."""
    return [
        replace(task, node_id=nodes[number % len(nodes)], state=TaskState.RUNNING, created_at=created_at + number)
        for number, task in enumerate(made)
    ]


def pending(*made):
    return [(task, shape_of(task)) for some in made for task in some]


def victims(outcome):
    return sorted(task.id for task, _, _ in outcome.preempted)


def test_a_higher_class_takes_the_room_of_a_lower_one_and_both_sides_say_so():
    fleet = fleet_of([node("a", cpu=2)], run(tasks("low", 2, cpu=1, priority=300), "a"))
    outcome = place(fleet, pending(tasks("web", 1, cpu=1)))
    assert [(task.id, why) for task, why in outcome.left] == [
        ("web-1", "waits for its room on a: low.2 of shop is stopped for it, 1 task of priority 300 against its 500")
    ]
    ((victim, beneficiary, reason),) = outcome.preempted
    assert (victim.id, beneficiary) == ("low-2", "web-1")
    assert reason == (
        "its room on a goes to web.1 of shop, which has a priority of 500 against its 300 and found no other node"
    )


@pytest.mark.parametrize(
    "change",
    [{"priority": 301}, {"preemptible": False}],
    ids=["too small a gap", "not preemptible"],
)
def test_who_is_not_low_enough_or_will_not_go_stays(change):
    low = tasks("low", 2, cpu=1, **{"priority": 300, **change})
    outcome = place(fleet_of([node("a", cpu=2)], run(low, "a")), pending(tasks("web", 1, cpu=1)))
    assert victims(outcome) == []
    assert "has 0 of 0 cores free" in outcome.left[0][1]


def test_who_keeps_data_on_its_node_stays():
    low = run(tasks("low", 1, cpu=2, priority=100), "a")
    mount = Mount(kind=MountKind.VOLUME, source="data", target="/data")
    low = [replace(t, spec=replace(t.spec, container=replace(t.spec.container, mounts=(mount,)))) for t in low]
    assert victims(place(fleet_of([node("a", cpu=2)], low), pending(tasks("web", 1, cpu=1)))) == []


def test_the_lowest_class_goes_then_the_fewest_then_the_newest():
    nodes = [node("a", cpu=4), node("b", cpu=4), node("c", cpu=4)]
    placed = [
        *run(tasks("mid", 2, cpu=2, priority=300), "a"),
        *run(tasks("low", 4, cpu=1, priority=100), "b"),
        *run(tasks("big", 4, cpu=2, priority=100), "c", "c", created_at=50)[:2],
    ]
    outcome = place(fleet_of(nodes, placed), pending(tasks("web", 1, cpu=2)))
    assert victims(outcome) == ["big-2"]


def test_no_service_is_left_without_its_only_task_if_that_can_be_avoided():
    placed = [
        *run(tasks("only", 1, cpu=2, priority=100), "a"),
        *run(tasks("many", 4, cpu=2, priority=300), "b"),
    ]
    nodes = [node("a", cpu=2), node("b", cpu=8)]
    assert victims(place(fleet_of(nodes, placed), pending(tasks("web", 1, cpu=2)))) == ["many-4"]
    assert victims(place(fleet_of(nodes[:1], placed), pending(tasks("web", 1, cpu=2)))) == ["only-1"]


def test_room_that_becomes_free_by_itself_is_waited_for():
    stopping = replace(run(tasks("low", 1, cpu=2, priority=100), "a")[0], desired_state=TaskState.SHUTDOWN)
    placed = [stopping, *run(tasks("other", 1, cpu=2, priority=100), "b")]
    outcome = place(fleet_of([node("a", cpu=2), node("b", cpu=2)], placed), pending(tasks("web", 1, cpu=2)))
    assert victims(outcome) == []


def test_nobody_else_takes_the_room_that_was_made():
    fleet = fleet_of([node("a", cpu=2)], run(tasks("low", 2, cpu=1, priority=100), "a"))
    web = pending(tasks("web", 1, cpu=2, priority=900))
    assert victims(place(fleet, web)) == ["low-1", "low-2"]
    fleet.drop_task("low-1")
    # One of two is gone: what is free is not enough for the one it is for, and not there for anybody else.
    outcome = place(fleet, [*web, *pending(tasks("small", 1, cpu=1, priority=100))])
    assert {task.id for task, _ in outcome.left} == {"web-1", "small-1"}
    assert outcome.preempted == []
    fleet.drop_task("low-2")
    assert [task.id for task in place(fleet, pending(tasks("small", 1, cpu=1, priority=100))).placed] == []
    assert [task.id for task in place(fleet, web).placed] == ["web-1"]


def test_a_claim_on_a_node_that_takes_no_tasks_any_more_is_given_up():
    fleet = fleet_of([node("a", cpu=2), node("b", cpu=2)], run(tasks("low", 2, cpu=2, priority=100), "a", "b"))
    web = pending(tasks("web", 1, cpu=2, priority=900))
    (first,) = victims(place(fleet, web))
    lost = fleet.roster.entries[first].task.node_id
    fleet.put_node(node(lost, cpu=2, ready=False))
    (second,) = victims(place(fleet, web))
    assert second != first


@examples(60)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from([100, 300, 500, 700]), st.booleans()), max_size=8),
    st.integers(1, 6),
    st.sampled_from([300, 500, 900]),
)
def test_whoever_goes_makes_room_and_nobody_goes_in_vain(lower, wanted, priority):
    nodes = [node("a", cpu=6), node("b", cpu=6)]
    made = [
        tasks(f"s{number}", 1, cpu=cpu, priority=each, preemptible=may)[0]
        for number, (cpu, each, may) in enumerate(lower)
    ]
    placed = place(fleet_of(nodes, ()), pending(made)).placed
    fleet = fleet_of(nodes, placed)
    (new,) = tasks("web", 1, cpu=wanted, priority=priority)
    outcome = place(fleet, pending([new]))
    gone = {task.id for task, _, _ in outcome.preempted}
    after = Reference(nodes, [task for task in placed if task.id not in gone])
    if gone:
        assert all(t.spec.placement.priority <= priority - PREEMPTION_GAP for t, _, _ in outcome.preempted)
        assert any(after.suits(new, each) for each in nodes)
        for spared in gone:
            less = Reference(nodes, [task for task in placed if task.id not in gone - {spared}])
            assert not any(less.suits(new, each) for each in nodes if each.id == outcome.preempted[0][0].node_id)
    elif outcome.left:
        may_go = {
            task.id
            for task in placed
            if task.spec.placement.preemptible and task.spec.placement.priority <= priority - PREEMPTION_GAP
        }
        emptied = Reference(nodes, [task for task in placed if task.id not in may_go])
        assert not any(emptied.suits(new, each) for each in nodes)
