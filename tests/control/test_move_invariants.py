"""Drains over random policies, updates and delays: how they end, and what they may never cost."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.nodes.drain import requests
from pilothouse.control.orchestrators.rollout import parallelism
from pilothouse.control.orchestrators.scene import is_ready
from pilothouse.model.cluster import Disruption
from pilothouse.model.node import Availability, Node, NodeSpec
from pilothouse.model.objects import App, Task
from pilothouse.model.rollout import RolloutState
from pilothouse.model.spec import UpdateOrder, UpdatePolicy
from pilothouse.model.states import TaskState, Writer
from tests.control.moving import world_of
from tests.control.test_rollout_invariants import SETTLES, later, move, service
from tests.examples import examples

POLICIES = st.builds(
    UpdatePolicy,
    order=st.sampled_from(UpdateOrder),
    parallelism=st.sampled_from([None, 0, 1, 2, 5]),
    delay_seconds=st.sampled_from([None, 2.0]),
    monitor_seconds=st.sampled_from([None, 0.0, 4.0]),
)


def stable(replicas, update, settle, seed):
    world = world_of(nodes=3, seed=seed)
    world.release(service("good:1", replicas, update, settle))
    world.pass_time(60)
    return world


def ask(world):
    """Requests as they should be, and none whose task is gone."""
    for node in world.find(Node):
        world.writer = Writer.NODES
        known = world.find(Disruption)
        here = [task for task in world.find(Task, node_id=node.id) if not task.state.terminal]
        found = requests(node, here, [each for each in known if each.id in {task.id for task in here}], world.now)
        for request in found.withdrawn:
            world.delete(request)
        for request in found.made:
            world.put(request)
    world.reap()


def set_to(world, node_id, availability):
    world.writer = Writer.API
    world.put(replace(world.get(Node, node_id), spec=NodeSpec(availability=availability)))
    ask(world)


def act(world, chance):
    chance.choice(
        [
            world.orchestrate,
            world.prepare,
            lambda: move(world, chance),
            lambda: move(world, chance),
            lambda: later(world, chance),
            lambda: ask(world),
        ]
    )()


def is_over(world):
    rollout = world.service().rollout
    return rollout.release == world.get(App, "shop").revision and rollout.state is RolloutState.DONE


def promised(world, replicas, width, order):
    live = world.live()
    meant = [task for task in live if task.desired_state is TaskState.RUNNING]
    app = world.get(App, "shop")
    # What a pause left beside each other stays so, old and new, and each of the two may have to leave its node.
    more = 2 * int(app.paused or app.resumed_at > 0)
    assert len(meant) <= replicas + width + more
    assert max(Counter(task.slot for task in meant).values(), default=0) <= 2 + more
    if order is UpdateOrder.STOP_FIRST:
        assert max(Counter(task.slot for task in meant).values(), default=0) <= 1
    least = replicas if order is UpdateOrder.START_FIRST else replicas - width
    assert sum(is_ready(task) for task in live) >= least


@examples(25)
@given(st.integers(0, 2**32), st.integers(1, 8), POLICIES, SETTLES, st.booleans())
def test_a_drain_and_an_update_together_never_cost_more_than_the_update_may(seed, replicas, update, settle, updates):
    chance = random.Random(seed)
    world = stable(replicas, update, settle, seed)
    width = parallelism(world.service().spec, replicas)
    at = chance.randrange(300)
    set_to(world, "node1", Availability.DRAIN)
    for turn in range(6000):
        if updates and turn == at:
            world.now += 0.01
            world.release(service("good:2", replicas, update, settle))
        act(world, chance)
        promised(world, replicas, width, update.order)
        done = turn > at and not [task for task in world.live() if task.node_id == "node1"]
        if done and is_over(world) and len(world.live()) == replicas:
            break
    else:
        raise AssertionError("the drain did not end")
    image = "good:2" if updates else "good:1"
    assert sorted(task.slot for task in world.live()) == list(range(1, replicas + 1))
    assert {task.spec.container.image for task in world.live()} == {image}
    world.orchestrate()
    assert world.settled(), "deciding twice decides nothing new"


@examples(25)
@given(st.integers(0, 2**32), st.integers(1, 6), POLICIES, SETTLES)
def test_drains_that_come_and_go_at_random_leave_every_slot_with_one_task(seed, replicas, update, settle):
    chance = random.Random(seed)
    world = stable(replicas, update, settle, seed)
    width = parallelism(world.service().spec, replicas)
    for turn in range(1200):
        if chance.random() < 0.01:
            nodes = [node.id for node in world.find(Node) if node.id != "node3"]
            set_to(world, chance.choice(nodes), chance.choice([Availability.ACTIVE, Availability.DRAIN]))
        if turn in {300, 700}:
            world.now += 0.01
            world.release(service(f"good:{turn}", replicas, update, settle))
        if turn == 500:
            world.pause()
        if turn == 600:
            world.resume()
        act(world, chance)
        promised(world, replicas, width, update.order)
    for node in world.find(Node):
        set_to(world, node.id, Availability.ACTIVE)
    for turn in range(4000):
        act(world, chance)
        if turn > 50 and is_over(world) and len(world.live()) == replicas:
            break
    assert sorted(task.slot for task in world.live()) == list(range(1, replicas + 1))
    assert {task.spec.container.image for task in world.live()} == {"good:700"}
    assert world.get(App, "shop").revision == 3
    ask(world)
    assert world.find(Disruption) == []
