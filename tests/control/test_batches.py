"""Whole batches are placed exactly as one task after the other may be: compared with the slow and obvious way."""

import collections

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.scheduler.fill import by_shares, evenly, one_after_another
from pilothouse.control.scheduler.fleet import fleet_of
from pilothouse.control.scheduler.place import place
from pilothouse.control.scheduler.shape import shape_of
from pilothouse.model.constraints import actual
from pilothouse.model.container import ContainerSpec
from pilothouse.model.node import Availability, Node, NodeDescription, NodeSpec
from pilothouse.model.objects import PortBinding, ResolvedImage, Task
from pilothouse.model.placement import Affinity, Packing, Placement, Preference, Spread, Taint, Toleration
from pilothouse.model.spec import Resources, TaskSpec
from pilothouse.model.states import TaskState
from tests.control.reference import Reference
from tests.examples import examples

ZONE = "node.labels.zone"


def node(id, zone="", cpu=8, memory=8, **fields):
    labels = {**({"zone": zone} if zone else {}), **fields.pop("labels", {})}
    spec = NodeSpec(labels=labels, taints=fields.pop("taints", ()), availability=fields.pop("availability", _ACTIVE))
    capacity = Resources(cpu_nano=cpu, memory_bytes=memory, generic=fields.pop("generic", {}))
    about = NodeDescription(hostname=id, os="linux", arch="x86_64", capacity=capacity)
    return Node(id=id, spec=spec, description=about, ready=fields.pop("ready", True), version=1, **fields)


_ACTIVE = Availability.ACTIVE


def tasks(service, replicas, cpu=0, memory=0, ports=(), generic=None, first=1, **placement):
    reservations = Resources(cpu_nano=cpu, memory_bytes=memory, generic=generic or {})
    spec = TaskSpec(container=ContainerSpec(image="x"), reservations=reservations, placement=Placement(**placement))
    return [
        Task(
            id=f"{service}-{slot}", app="shop", service=service, slot=slot, spec=spec, image=ResolvedImage(ref="x"),
            fingerprint=str(spec), state=TaskState.PENDING, ports=ports, version=1,
        )
        for slot in range(first, first + replicas)
    ]  # fmt: skip


def decide(nodes, pending, placed=()):
    """Place the way the scheduler does: the tasks made from the same share one shape."""
    shapes = {}
    for task in pending:
        shapes.setdefault((task.service_id, task.fingerprint), shape_of(task))
    return place(fleet_of(nodes, placed), [(t, shapes[t.service_id, t.fingerprint]) for t in pending])


def by_node(outcome):
    return collections.Counter(task.node_id for task in outcome.placed)


# what a person would expect


def test_a_service_is_spread_over_zones_before_nodes():
    nodes = [node("a1", "a"), node("a2", "a"), node("a3", "a"), node("b1", "b")]
    found = by_node(decide(nodes, tasks("web", 4, spread=(Spread(level=ZONE),))))
    assert found == {"b1": 2, **dict.fromkeys(found.keys() - {"b1"}, 1)}


def test_targets_divide_a_service_by_percent():
    nodes = [node("a1", "a", cpu=100), node("b1", "b", cpu=100), node("c1", "c", cpu=100)]
    found = by_node(decide(nodes, tasks("web", 10, spread=(Spread(level=ZONE, targets={"a": 60, "b": 30}),))))
    assert found == {"a1": 6, "b1": 3, "c1": 1}


def test_a_value_without_a_share_gets_only_what_finds_no_room_elsewhere():
    nodes = [node("a1", "a", cpu=2), node("b1", "b")]
    found = by_node(decide(nodes, tasks("web", 3, cpu=1, spread=(Spread(level=ZONE, targets={"a": 100}),))))
    assert found == {"a1": 2, "b1": 1}


def test_packed_work_fills_one_node_after_the_other():
    nodes = [node("a"), node("b"), node("c")]
    placed = [replace(t, node_id="b", state=TaskState.RUNNING) for t in tasks("other", 1, cpu=2)]
    found = by_node(decide(nodes, tasks("web", 5, cpu=3, packing=Packing.PACK), placed))
    assert found == {"b": 2, "a": 2, "c": 1}


def test_the_nodes_that_meet_most_of_what_is_preferred_come_first():
    nodes = [node("a"), node("b", labels={"disk": "ssd"}), node("c", labels={"disk": "ssd", "old": "yes"})]
    wishes = (
        Preference(constraint="node.labels.disk==ssd", weight=60),
        Preference(constraint="node.labels.old==yes", weight=-70),
    )
    outcome = decide(nodes, tasks("web", 10, cpu=1, preferences=wishes))
    assert by_node(outcome) == {"b": 8, "a": 2}
    assert "meets the most of what is preferred" in outcome.placed[0].placement_message


def test_a_taint_keeps_away_what_does_not_tolerate_it():
    nodes = [node("a", taints=(Taint(key="gpu", value="yes"),))]
    (said,) = decide(nodes, tasks("web", 1)).left
    assert said[1] == "no place: a: has the taint 'gpu=yes'"
    for toleration in (Toleration(key="gpu"), Toleration(key="gpu", value="yes"), Toleration()):
        assert by_node(decide(nodes, tasks("web", 1, tolerations=(toleration,)))) == {"a": 1}
    assert decide(nodes, tasks("web", 1, tolerations=(Toleration(key="gpu", value="no"),))).left


def test_two_tasks_hold_one_engine_port_only_on_different_nodes():
    port = (PortBinding(target=80, host_port=8080),)
    outcome = decide([node("a"), node("b")], tasks("web", 3, ports=port))
    assert by_node(outcome) == {"a": 1, "b": 1}
    assert outcome.left[0][1].count("host port 8080/tcp is held by web.") == 2


def test_apart_works_in_both_directions():
    nodes = [node("a1", "a"), node("a2", "a"), node("b1", "b")]
    apart = Affinity(service="db", level=ZONE, apart=True)
    placed = [replace(t, node_id="a1", state=TaskState.RUNNING) for t in tasks("web", 1, affinities=(apart,))]
    assert by_node(decide(nodes, tasks("db", 2), placed)) == {"b1": 2}
    placed = [replace(t, node_id="b1", state=TaskState.RUNNING) for t in tasks("db", 1)]
    assert set(by_node(decide(nodes, tasks("web", 2, affinities=(apart,)), placed))) == {"a1", "a2"}


def test_near_waits_for_the_other_and_follows_it():
    nodes = [node("a1", "a"), node("b1", "b")]
    near = Affinity(service="db", level=ZONE)
    (said,) = decide(nodes, tasks("web", 1, affinities=(near,))).left
    assert "no task of shop/db is placed yet, near which it is to be" in said[1]
    outcome = decide(nodes, [*tasks("web", 2, affinities=(near,)), *tasks("zdb", 1), *tasks("db", 1)])
    where = {task.service: task.node_id for task in outcome.placed}
    assert not outcome.left
    assert where["web"] == where["db"]


def test_near_itself_takes_the_value_with_room_for_all():
    nodes = [node("a1", "a", cpu=2), node("b1", "b", cpu=2), node("b2", "b", cpu=2)]
    near = Affinity(service="web", level=ZONE)
    assert by_node(decide(nodes, tasks("web", 4, cpu=1, affinities=(near,)))) == {"b1": 2, "b2": 2}


def test_a_batch_puts_no_more_tasks_on_a_node_than_are_allowed_beside_those_there():
    nodes = [node("a"), node("b")]
    placed = [replace(t, node_id="a", state=TaskState.RUNNING) for t in tasks("web", 1, max_replicas_per_node=2)]
    outcome = decide(nodes, tasks("web", 6, first=2, max_replicas_per_node=2), placed)
    assert by_node(outcome) == {"a": 1, "b": 2}
    assert len(outcome.left) == 3


def test_wishes_to_be_near_or_apart_are_met_in_both_directions():
    nodes = [node("a", cpu=20), node("b", cpu=20)]
    near = (Affinity(service="db", weight=50),)
    apart = (Affinity(service="db", apart=True, weight=50),)
    db = [replace(t, node_id="b", state=TaskState.RUNNING) for t in tasks("db", 1, cpu=4)]
    assert by_node(decide(nodes, tasks("web", 3, cpu=1, affinities=near), db)) == {"b": 3}
    assert by_node(decide(nodes, tasks("web", 3, cpu=1, affinities=apart), db)) == {"a": 3}
    for bonds, expected in ((near, {"b": 3}), (apart, {"a": 3})):
        web = [replace(t, node_id="b", state=TaskState.RUNNING) for t in tasks("web", 1, affinities=bonds)]
        assert by_node(decide(nodes, tasks("db", 3, cpu=1), web)) == expected


def test_a_partner_that_is_replaced_alone_goes_to_where_its_container_is_shared():
    shared = replace(ContainerSpec(image="x"), network_mode="service:vpn")
    web = [replace(t, spec=replace(t.spec, container=shared)) for t in tasks("web", 2)]
    placed = [replace(t, node_id=at, state=TaskState.RUNNING) for t, at in zip(web, "bc", strict=True)]
    nodes = [node("a"), node("b"), node("c"), node("d")]
    where = {task.slot: task.node_id for task in decide(nodes, tasks("vpn", 2), placed).placed}
    assert where == {1: "b", 2: "c"}
    nodes[1] = node("b", availability=Availability.DRAIN)
    where = {task.slot: task.node_id for task in decide(nodes, tasks("vpn", 2), placed).placed}
    assert where[1] != "b"
    assert where[2] == "c"


def test_the_higher_priority_goes_first():
    outcome = decide([node("a", cpu=1)], [*tasks("low", 1, cpu=1, priority=300), *tasks("web", 1, cpu=1)])
    assert [task.service for task in outcome.placed] == ["web"]


def test_many_small_services_that_are_alike_are_each_spread():
    nodes = [node(f"{zone}{n}", zone, cpu=40) for zone in "abc" for n in range(4)]
    pending = [t for number in range(30) for t in tasks(f"s{number}", 3, cpu=1, spread=(Spread(level=ZONE),))]
    fleet = fleet_of(nodes, ())
    outcome = place(fleet, [(task, shape_of(task)) for task in pending])
    again = fleet_of(nodes, outcome.placed)
    assert (fleet.columns.free == again.columns.free).all()
    assert (fleet.columns.tasks == again.columns.tasks).all()
    zones = collections.defaultdict(set)
    for task in outcome.placed:
        zones[task.service].add(task.node_id[0])
    assert all(found == set("abc") for found in zones.values())
    assert max(by_node(outcome).values()) - min(by_node(outcome).values()) <= 1


def test_what_is_kept_of_the_nodes_follows_them():
    fleet = fleet_of([node("a", cpu=9), node("b", cpu=9, labels={"disk": "ssd"})], ())
    written = {"cpu": 1, "constraints": ("node.labels.disk==ssd",)}

    def where(service):
        made = tasks(service, 2, **written)
        shape = shape_of(made[0])
        return by_node(place(fleet, [(task, shape) for task in made]))

    assert where("one") == {"b": 2}
    fleet.put_node(node("a", cpu=9, labels={"disk": "ssd"}))
    assert where("two") == {"a": 1, "b": 1}
    fleet.put_node(node("a", cpu=9, labels={"disk": "ssd"}, ready=False))
    assert where("three") == {"b": 2}
    fleet.put_node(node("a", cpu=9, labels={"disk": "ssd"}))
    fleet.put_node(node("b", cpu=9, labels={"disk": "ssd"}, availability=Availability.DRAIN))
    assert where("four") == {"a": 2}
    fleet.put_node(node("c", cpu=9, labels={"disk": "ssd"}))
    assert where("five") == {"a": 1, "c": 1}


# what holds whatever is asked


@st.composite
def fleets(draw):
    count = draw(st.integers(1, 6))
    return [
        node(
            f"n{number}",
            draw(st.sampled_from(["", "a", "b", "c"])),
            cpu=draw(st.integers(0, 8)),
            memory=draw(st.integers(0, 8)),
            ready=draw(st.sampled_from([True, True, True, False])),
            taints=draw(st.sampled_from([(), (), (Taint(key="t"),)])),
            generic=draw(st.sampled_from([{}, {"gpu": 2}])),
        )
        for number in range(count)
    ]


@st.composite
def services(draw, names=("db", "web", "job", "api"), bonds=True):
    found = []
    for name in draw(st.lists(st.sampled_from(names), min_size=1, unique=True)):
        affinities = st.builds(
            Affinity, service=st.sampled_from(names), level=st.sampled_from(["node", ZONE]),
            apart=st.booleans(), weight=st.sampled_from([0, 0, 30]),
        )  # fmt: skip
        made = tasks(
            name,
            draw(st.integers(1, 7)),
            cpu=draw(st.integers(0, 4)),
            memory=draw(st.integers(0, 3)),
            generic=draw(st.sampled_from([{}, {}, {"gpu": 1}])),
            ports=draw(st.sampled_from([(), (), (), (PortBinding(target=80, host_port=80),)])),
            constraints=draw(st.sampled_from([(), (), ("node.labels.zone!=b",), ("node.labels.zone==a",)])),
            max_replicas_per_node=draw(st.sampled_from([0, 0, 1, 2])),
            spread=draw(st.sampled_from([(), (Spread(level=ZONE),)])),
            tolerations=draw(st.sampled_from([(), (Toleration(),)])),
            affinities=tuple(draw(st.lists(affinities, max_size=2))) if bonds else (),
            preferences=draw(st.sampled_from([(), (Preference(constraint="node.labels.zone==c", weight=20),)])),
            packing=draw(st.sampled_from([None, Packing.PACK])),
            priority=draw(st.sampled_from([500, 700])),
        )
        found += made
    return found


@examples(60)
@given(fleets(), services(), st.randoms(use_true_random=False))
def test_every_rule_holds_and_nothing_waits_that_a_node_suits(nodes, pending, random):
    random.shuffle(pending)
    outcome = decide(nodes, pending)
    after = Reference(nodes, outcome.placed)
    assert after.broken() == []
    assert {t.id for t in outcome.placed} | {t.id for t, _ in outcome.left} == {t.id for t in pending}
    for task, why in outcome.left:
        assert not any(after.suits(task, each) for each in nodes), why


@examples(40)
@given(fleets(), services(bonds=False))
def test_no_value_of_a_level_is_short_of_tasks_that_it_could_have(nodes, pending):
    outcome = decide(nodes, pending)
    after = Reference(nodes, outcome.placed)
    for task in outcome.placed:
        if task.spec.placement.spread and not task.spec.placement.max_replicas_per_node:
            assert after.skew(task, ZONE) == []


@examples(40)
@given(fleets(), services(names=("web",), bonds=False), st.integers(0, 5))
def test_one_service_is_divided_as_one_by_one(nodes, pending, before):
    pending = [replace(t, spec=replace(t.spec, placement=replace(t.spec.placement, preferences=(), packing=None)))
               for t in pending]  # fmt: skip
    slow = Reference(nodes)
    slow.place_all(pending[:before])
    first = list(slow.tasks)
    left = slow.place_all(pending[before:])
    outcome = decide(nodes, pending[before:], first)
    assert len(outcome.left) == len(left)
    # Which zone is not asked for is left to chance; how many on each node is not.
    levels = ["node.id", *(each.level for each in pending[0].spec.placement.spread)]
    for level in levels:
        at = {each.id: actual(level, each) for each in nodes}
        fast = collections.Counter(at[t.node_id] for t in (*first, *outcome.placed))
        assert sorted(fast.values()) == sorted(collections.Counter(at[t.node_id] for t in slow.tasks).values())


NUMBERS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8)


@given(NUMBERS, st.integers(0, 60))
def test_dividing_evenly_is_giving_one_at_a_time_to_whoever_has_least(places, number):
    have, room = (np.array(column, np.int64) for column in zip(*places, strict=True))
    given_ = evenly(have, room, number, lambda which, _, rest: which[:rest])
    slow = np.zeros(len(have), np.int64)
    for _ in range(min(number, int(room.sum()))):
        open_ = [at for at in range(len(have)) if slow[at] < room[at]]
        slow[min(open_, key=lambda at: (have[at] + slow[at], at))] += 1
    assert given_.tolist() == slow.tolist()


@given(NUMBERS, st.integers(0, 60), st.lists(st.integers(0, 100), min_size=8, max_size=8))
def test_dividing_by_shares_places_all_that_fit_and_is_near_what_is_wanted(places, number, shares):
    have, room = (np.array(column, np.int64) for column in zip(*places, strict=True))
    wanted = np.array(shares[: len(have)], np.float64)
    given_ = by_shares(have, room, number, wanted)
    assert int(given_.sum()) == min(number, int(room.sum()))
    assert ((given_ >= 0) & (given_ <= room)).all()
    # Nobody with a share is further behind than one with a share who got something is ahead.
    for at in np.flatnonzero((wanted > 0) & (given_ < room)):
        for other in np.flatnonzero((wanted > 0) & (given_ > 0)):
            behind = (have[at] + given_[at] + 0.5) / wanted[at]
            assert (have[other] + given_[other] - 0.5) / wanted[other] <= behind + 1e-6


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 60))
def test_one_after_another_fills_the_first_before_the_second(room, number):
    given_ = one_after_another(np.array(room, np.int64), number)
    assert int(given_.sum()) == min(number, sum(room))
    begun = [at for at in range(len(room)) if given_[at]]
    assert all(given_[at] == room[at] for at in begun[:-1])
