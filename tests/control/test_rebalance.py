"""Moves make things better, stay within the budget, and come one at a time over the hour."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.scheduler.fleet import fleet_of
from pilothouse.control.scheduler.rebalance import rebalance
from pilothouse.model.cluster import Cluster, ClusterSpec, Disruption, DisruptionKind
from pilothouse.model.objects import Task
from pilothouse.model.placement import Packing, Spread
from pilothouse.model.states import TaskState, Writer
from tests.control.reference import Reference
from tests.control.test_batches import ZONE, node, tasks
from tests.control.test_preemption import run
from tests.control.test_scheduler import Stage
from tests.examples import examples


def moves(nodes, placed, budget=10, taken=()):
    return [(each.task.id, each.to_node) for each in rebalance(fleet_of(nodes, placed), budget, taken)]


def test_a_node_that_joined_gets_its_share_of_a_service():
    placed = run(tasks("web", 6, cpu=1), "a", "b")
    assert len(moves([node("a"), node("b"), node("c")], placed)) == 2
    (first, *_) = rebalance(fleet_of([node("a"), node("b"), node("c")], placed), 1)
    assert first.reason == "web.5 of shop would be better on c than on a: it has 0 tasks of web, against 3"
    assert first.gain == 2


def test_a_zone_that_came_back_gets_its_share():
    placed = run(tasks("web", 4, spread=(Spread(level=ZONE),)), "a1", "a2", "a3", "a4")
    nodes = [*(node(f"a{n}", "a") for n in (1, 2, 3, 4)), node("b1", "b")]
    found = rebalance(fleet_of(nodes, placed), 10)
    assert [each.to_node for each in found] == ["b1", "b1"]
    assert "node.labels.zone b has 0 tasks of web, and a has 4" in found[0].reason


def test_single_tasks_leave_a_node_that_is_much_fuller_than_another():
    placed = [run(tasks(f"s{n}", 1, cpu=2), "a")[0] for n in range(4)]
    assert moves([node("a"), node("b")], placed) == [("s0-1", "b"), ("s1-1", "b")]
    assert moves([node("a"), node("b")], placed[:1]) == []


def test_what_may_not_be_moved_stays():
    placed = run(tasks("web", 6, cpu=1), "a")
    nodes = [node("a"), node("b")]
    assert moves(nodes, placed, budget=2) == [("web-6", "b"), ("web-5", "b")]
    assert moves(nodes, placed, budget=1, taken={"web-6"}) == [("web-5", "b")]
    assert moves(nodes, [replace(task, state=TaskState.STARTING) for task in placed]) == []
    assert moves(nodes, [replace(task, desired_state=TaskState.SHUTDOWN) for task in placed]) == []
    assert moves(nodes, run(tasks("web", 6, cpu=1, packing=Packing.PACK), "a")) == []


@examples(60)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3)), max_size=12), st.integers(0, 4))
def test_moves_keep_every_rule_and_a_second_look_after_all_of_them_finds_none(where, budget):
    nodes = [node(f"n{number}", zone, cpu=12) for number, zone in enumerate("aabc")]
    placed = []
    for number, (service, at, cpu) in enumerate(where):
        (task,) = tasks(f"s{service}", 1, cpu=cpu, first=number + 1, spread=(Spread(level=ZONE),) if service else ())
        placed += run([task], f"n{at}", created_at=number)
    if Reference(nodes, placed).broken():
        return
    fleet = fleet_of(nodes, placed)
    before = fleet.columns.free.copy()
    found = rebalance(fleet, budget)
    assert (fleet.columns.free == before).all()
    assert len(found) <= budget
    to = {each.task.id: each.to_node for each in found}
    after = [replace(task, node_id=to.get(task.id, task.node_id)) for task in placed]
    assert Reference(nodes, after).broken() == []
    everything = rebalance(fleet_of(nodes, placed), 100)
    to = {each.task.id: each.to_node for each in everything}
    settled = [replace(task, node_id=to.get(task.id, task.node_id)) for task in placed]
    for _ in range(20):
        more = rebalance(fleet_of(nodes, settled), 100)
        if not more:
            return
        to = {each.task.id: each.to_node for each in more}
        settled = [replace(task, node_id=to.get(task.id, task.node_id)) for task in settled]
    raise AssertionError("it would move tasks for ever")


async def test_the_loop_asks_for_one_move_at_a_time_over_the_hour_and_only_if_it_may():
    async with Stage(node("a")) as stage:
        await stage.ask(tasks("web", 6, cpu=1))
        await stage.rest()
        for number in range(1, 7):
            await stage.change(Writer.AGENT, f"web-{number}", state=TaskState.RUNNING)
        await stage.put_node(node("b"))
        await stage.rest()
        stage.clock.at += 10_000
        assert await stage.scheduler.act() is None
        cluster = Cluster(id="cluster", cluster="c", created_at=0.0, spec=ClusterSpec(rebalance_budget=6))
        await stage.write(Writer.API, lambda tx: tx.put(cluster))
        await stage.rest()
        asked = []
        for _ in range(3):
            stage.clock.at = await stage.scheduler.act()
            await stage.scheduler.act()
            await stage.rest()
            asked.append(len(await stage.store.view(lambda tx: tx.find(Disruption))))
        assert asked == [1, 2, 3]
        (first, *_) = await stage.store.view(lambda tx: tx.find(Disruption))
        assert (first.kind, first.at_once, first.requested_by) == (DisruptionKind.REBALANCE, False, "scheduler")
        await stage.end(first.id)
        await stage.rest()
        assert await stage.get(Disruption, first.id) is None
        assert (await stage.get(Task, first.id)).state is TaskState.COMPLETE
