"""Which tasks must leave a node, until when, and what is still there."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.nodes.drain import drain_sentence, empties, requests, returns_at
from pilothouse.control.nodes.draining import drain_loops
from pilothouse.model.cluster import Disruption, DisruptionKind
from pilothouse.model.node import Availability, Maintenance, Node, NodeSpec
from pilothouse.model.placement import Placement, Taint, TaintEffect, Toleration
from pilothouse.model.spec import Mode, TaskSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.memory import MemoryStore
from pilothouse.supervise import run_term
from tests.control.moving import database, running, world_of
from tests.control.world import node, spec
from tests.examples import examples
from tests.scenarios.simulation import JumpingClock

DRAIN = NodeSpec(availability=Availability.DRAIN)
EVICT = NodeSpec(taints=(Taint(key="gpu", value="old", effect=TaintEffect.EVICT),))


def tasks(**fields):
    return running(spec(**fields), nodes=1).live()


def test_every_task_of_a_drained_node_is_asked_to_go_with_the_reason_a_person_gave():
    drained = node(spec=replace(DRAIN, maintenance=Maintenance(reason="a new kernel", deadline=5000.0)))
    found = requests(drained, tasks(replicas=2), (), 1000.0)
    assert [(r.kind, r.reason, r.deadline, r.requested_by, r.at_once) for r in found.made] == [
        (DisruptionKind.DRAIN, "node node1 is drained: a new kernel", 5000.0, "nodes", False)
    ] * 2
    assert requests(drained, tasks(), found.made, 2000.0).withdrawn == ()


def test_an_evicting_taint_asks_only_those_that_do_not_tolerate_it():
    placement = Placement(tolerations=(Toleration(key="gpu"),))
    calm = tasks(task=TaskSpec(container=spec().task.container, placement=placement))
    assert requests(node(spec=EVICT), calm, (), 1000.0).made == ()
    (made,) = requests(node(spec=EVICT), tasks(), (), 1000.0).made
    assert (made.kind, made.reason) == (
        DisruptionKind.TAINT, "node node1 has the taint gpu=old, which web does not tolerate",
    )  # fmt: skip
    assert made.deadline is None


def test_a_taint_that_only_keeps_new_tasks_away_asks_nobody():
    assert not empties(node(spec=NodeSpec(taints=(Taint(key="gpu"),))))


def test_requests_are_withdrawn_when_the_node_is_active_again_or_removed():
    live = tasks()
    made = requests(node(spec=DRAIN), live, (), 1000.0).made
    assert requests(node(), live, made, 1000.0).withdrawn == made
    assert requests(None, live, made, 1000.0).withdrawn == made


def test_a_changed_deadline_replaces_the_request_and_keeps_when_it_was_first_made():
    live = tasks()
    made = requests(node(spec=DRAIN), live, (), 1000.0).made
    later = node(spec=replace(DRAIN, maintenance=Maintenance(deadline=9000.0)))
    found = requests(later, live, made, 2000.0)
    assert found.withdrawn == made
    assert [(r.deadline, r.requested_at) for r in found.made] == [(9000.0, 1000.0)]


def test_requests_of_others_are_left_alone():
    (task,) = tasks()
    other = Disruption(
        id=task.id, app="shop", service="web", kind=DisruptionKind.REBALANCE, reason="x", requested_at=0.0,
        requested_by="scheduler",
    )  # fmt: skip
    assert requests(node(spec=DRAIN), [task], [other], 1000.0) == requests(node(), [task], [other], 1000.0)


@examples(50)
@given(st.lists(st.sampled_from([NodeSpec(), DRAIN, EVICT, None]), max_size=8))
def test_whatever_people_write_one_look_makes_it_so_and_a_second_changes_nothing(specs):
    live, known = tasks(replicas=3), {}
    for each in [*specs, NodeSpec()]:
        now_is = None if each is None else node(spec=each)
        found = requests(now_is, live, known.values(), 1000.0)
        for request in found.withdrawn:
            del known[request.id]
        known |= {request.id: request for request in found.made}
        again = requests(now_is, live, known.values(), 2000.0)
        assert not again.made
        assert not again.withdrawn
        assert len(known) == (3 if now_is is not None and empties(now_is) else 0)


def test_a_drain_ends_by_itself_only_if_a_time_was_given():
    assert returns_at(node(spec=DRAIN)) is None
    assert returns_at(node(spec=replace(DRAIN, maintenance=Maintenance(until=7.0)))) == 7.0
    assert returns_at(node(spec=NodeSpec(maintenance=Maintenance(until=7.0)))) is None


def _drained(world, node_id="node1"):
    world.writer = Writer.API
    found = world.put(replace(world.get(Node, node_id), spec=DRAIN))
    world.writer = Writer.NODES
    for made in requests(
        found, [task for task in world.live_everywhere() if task.node_id == node_id], (), world.now
    ).made:
        world.put(made)
    return found


def test_a_node_says_what_is_left_on_it_and_why():
    world = running(database(), spec(), nodes=1)
    found = _drained(world)
    world.rest()
    told = drain_sentence(world, found)
    assert told.startswith("being drained: 2 tasks left: shop/")
    new = next(task for task in world.live("db") if task.state is TaskState.PENDING)
    assert f"shop/db.1 waits for a node for {new.id} (" in told


def test_a_node_that_is_empty_says_so_and_one_that_is_not_drained_says_nothing():
    world = running(spec(), nodes=2)
    old = world.one()
    assert drain_sentence(world, world.get(Node, old.node_id)) == ""
    found = _drained(world, old.node_id)
    world.rest()
    assert "waits until" in drain_sentence(world, found)
    world.pass_time(60)
    assert drain_sentence(world, found) == "drained: 0 tasks left"


def test_a_job_on_a_drained_node_is_said_to_run_to_its_end():
    world = world_of(spec("job", mode=Mode.REPLICATED_JOB), nodes=1).rest()
    assert drain_sentence(world, _drained(world)) == "being drained: 1 task left: shop/job.1 runs to its end"


async def _quiet():
    """Let everybody act until all wait for time."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_maintenance_ends_at_its_time_also_if_the_manager_was_restarted_meanwhile(restarts):
    clock = JumpingClock(1000.0)
    store, returned = MemoryStore(clock), asyncio.Event()
    until = Maintenance(until=4600.0)
    await store.update(Writer.AGENT, lambda tx: tx.put(Node(id="node1")))

    async def activate(node_id):
        returned.set()
        return await store.update(Writer.API, lambda tx: bool(tx.put(replace(tx.get(Node, node_id), spec=NodeSpec()))))

    async with asyncio.TaskGroup() as group:
        term = group.create_task(run_term(drain_loops(store, clock, activate)))
        drained = replace(DRAIN, maintenance=until)
        await store.update(Writer.API, lambda tx: tx.put(replace(tx.get(Node, "node1"), spec=drained)))
        await _quiet()
        if restarts:
            term.cancel()
            await asyncio.wait([term])
            clock.jump(4599.0)
            term = group.create_task(run_term(drain_loops(store, clock, activate)))
            await _quiet()
        assert not returned.is_set()
        assert clock.next_at() == 4600.0
        clock.jump(4600.0)
        await asyncio.wait_for(returned.wait(), 5)
        term.cancel()
    assert await store.view(lambda tx: tx.get(Node, "node1").spec) == NodeSpec()
