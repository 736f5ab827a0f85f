"""Which nodes are lost, by their beats: not too late, not for nothing, and never twice in a short time."""

import itertools
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.nodes.clocks import believed
from pilothouse.control.nodes.decide import Moment, Stage, begin, decide
from pilothouse.control.nodes.presence import Heard
from pilothouse.control.nodes.timers import (
    BEAT_JITTER,
    BEAT_SECONDS,
    FENCED_SECONDS,
    KILL_SECONDS,
    LEASE_SECONDS,
    LOOK_SECONDS,
    LOST_SECONDS,
    SUSPECT_SECONDS,
    beat_seconds,
    hold_seconds,
)
from pilothouse.control.nodes.words import MANAGERS_CLOCK
from pilothouse.model.node import NodeSpec, NodeState
from tests.control.detector import Bench, lossy
from tests.examples import examples

READY, SUSPECT, DOWN, UNKNOWN = NodeState.READY, NodeState.SUSPECT, NodeState.DOWN, NodeState.UNKNOWN
MANY = tuple(f"n{number}" for number in range(9))


def test_a_node_that_beats_is_ready():
    bench = Bench("n1", "n2", state=UNKNOWN, ready=False).arrive("n1").look()
    assert (bench.nodes["n1"].ready, bench.nodes["n1"].message) == (True, "its agent is connected")
    assert (bench.nodes["n2"].state, bench.nodes["n2"].message) == (UNKNOWN, "its agent has not come yet")
    bench.run(600, "n1")
    assert bench.states() == {"n1": READY, "n2": UNKNOWN}


def test_a_silent_node_is_suspect_then_down_and_its_tasks_go_in_two_stages():
    bench = Bench("n1", "n2").arrive("n1", "n2").run(20, "n1", "n2")
    silent_since = bench.presence.heard()["n2"].last
    entered = {}
    while bench.stages.get("n2") is not Stage.ALL:
        bench.run(LOOK_SECONDS, "n1")
        bench.presence.beat("n1")
        entered.setdefault((bench.states()["n2"], bench.stages.get("n2")), bench.clock.now() - silent_since)
    assert list(entered) == [(READY, None), (SUSPECT, None), (DOWN, Stage.UNFENCED), (DOWN, Stage.ALL)]
    assert list(entered.values())[1:] == [
        pytest.approx(at, abs=LOOK_SECONDS) for at in (SUSPECT_SECONDS, LOST_SECONDS, FENCED_SECONDS)
    ]
    assert not bench.nodes["n2"].ready
    assert bench.states()["n1"] is READY


def test_a_dropped_session_is_no_loss():
    bench = Bench("n1", "n2").arrive("n1", "n2").run(10, "n1", "n2")
    bench.presence.leave("n2")
    bench.run(4, "n1")
    assert bench.states() == {"n1": READY, "n2": READY}
    bench.arrive("n2").run(60, "n1", "n2")
    assert bench.downs == []


def test_a_node_whose_manager_is_in_the_same_process_needs_no_beats():
    bench = Bench("n1", "n2").arrive("n1", local=True).arrive("n2").run(60, "n2")
    assert bench.states() == {"n1": READY, "n2": READY}
    bench.presence.leave("n1")
    bench.run(60, "n2")
    assert (bench.nodes["n1"].ready, bench.nodes["n1"].state) == (False, SUSPECT)
    assert bench.nodes["n1"].message == "its agent is not connected; tasks on it are left as they are"
    assert bench.stages == {}


def test_on_one_host_nothing_is_ever_given_up():
    bench = Bench("n1", cluster=None).run(3600)
    assert (bench.states(), bench.stages) == ({"n1": SUSPECT}, {})


def test_a_suspect_node_is_believed_after_three_beats_in_a_row():
    bench = Bench("n1", "n2").arrive("n1", "n2").run(8, "n1", "n2").run(7, "n1")
    assert bench.states()["n2"] is SUSPECT
    for expected in (SUSPECT, SUSPECT, READY):
        bench.presence.beat("n2")
        bench.run(2, "n1")
        assert bench.states()["n2"] is expected
    assert bench.nodes["n2"].ready


def test_a_node_that_was_lost_is_held_back_longer_each_time():
    bench, held = Bench("n1", "n2", "n3").arrive("n1", "n2", "n3"), []
    for _ in range(6):
        bench.run(10, *bench.nodes).run(15, "n1", "n3")
        assert bench.states()["n2"] is DOWN
        bench.arrive("n2")
        came = bench.clock.now()
        while not bench.nodes["n2"].ready:
            bench.run(2, *bench.nodes)
            bench.presence.beat("n2")
            bench.presence.beat("n1")
            bench.presence.beat("n3")
        held.append(round((bench.clock.now() - came) / 60))
    assert held == [1, 2, 4, 8, 10, 10]
    assert len(bench.nodes["n2"].losses) == 6


def test_while_it_is_held_back_a_node_says_so_and_a_jump_of_the_wall_clock_changes_nothing():
    bench = Bench("n1", "n2").arrive("n1", "n2").run(10, "n1", "n2").run(15, "n1").arrive("n2").run(10, "n1", "n2")
    assert (bench.states()["n2"], bench.nodes["n2"].ready) == (READY, False)
    assert bench.nodes["n2"].message == (
        "it is back, but was lost once within an hour, so it gets no new tasks for 60 s"
    )
    before = bench.nodes["n2"]
    steady, bench.clock.now = bench.clock.now, lambda: steady() + 3600 * 24 * 365
    bench.presence.beat("n2")
    bench.presence.beat("n1")
    bench.look()
    assert bench.nodes["n2"] == before


def test_a_person_can_let_a_node_that_is_held_back_take_work_again():
    bench = Bench("n1", "n2").arrive("n1", "n2").run(10, "n1", "n2").run(15, "n1").arrive("n2").run(10, "n1", "n2")
    back = bench.nodes["n2"]
    assert (back.state, back.ready) == (READY, False)
    bench.nodes["n2"] = replace(back, spec=NodeSpec(trusted_at=bench.clock.now()))
    bench.run(2, "n1", "n2")
    assert (bench.nodes["n2"].ready, bench.nodes["n2"].held_until) == (True, None)
    bench.run(15, "n1").arrive("n2").run(10, "n1", "n2")
    assert not bench.nodes["n2"].ready, "the next loss is another matter"


def test_a_new_leader_gives_every_node_the_whole_time_again_and_keeps_what_is_held():
    bench = Bench("n1", "n2", "n3").arrive("n1", "n2", "n3").run(10, *("n1", "n2", "n3")).run(9, "n1", "n3")
    bench.new_leader().run(LOST_SECONDS - 1)
    assert bench.downs == []
    bench.arrive("n1", "n3").run(2, "n1", "n3")
    assert [name for _, name in bench.downs] == ["n2"]
    bench.arrive("n2").run(10, "n1", "n2", "n3")
    assert not bench.nodes["n2"].ready
    bench.new_leader().arrive("n1", "n2", "n3").run(30, "n1", "n2", "n3")
    assert (bench.states()["n2"], bench.nodes["n2"].ready) == (READY, False)
    bench.run(30, "n1", "n2", "n3")
    assert bench.nodes["n2"].ready


def test_a_thousand_agents_have_half_a_minute_to_find_a_new_leader():
    bench = Bench(*(f"n{number}" for number in range(1000)))
    bench.run(29)
    assert bench.downs == []
    assert not any(state is DOWN for state in bench.states().values())


def test_a_detector_that_was_stopped_holds_that_against_nobody():
    bench = Bench("n1", "n2").arrive("n1", "n2").run(10, "n1", "n2")
    bench.clock.jump(bench.clock.now() + 60)
    bench.look().run(4)
    assert bench.states() == {"n1": READY, "n2": READY}


@examples(60)
@given(turns=st.lists(st.floats(0.05, 30.0), min_size=8, max_size=80), behind=st.integers(1, 8))
@example(turns=[1.0] * 40, behind=8)
@example(turns=[0.6] * 60, behind=8)
def test_however_late_the_manager_is_a_node_that_beats_is_never_lost(turns, behind):
    """Each turn of the loop takes as long as it likes, and what a node sent is heard some turns later."""
    bench = Bench("a").arrive("a").run(3, "a")
    slowest = beat_seconds(5_000) * (1 + BEAT_JITTER)
    sent, next_beat, waiting = [], bench.clock.now() + slowest, []
    for seconds in turns:
        end = bench.clock.now() + seconds
        while next_beat <= end:
            sent.append(next_beat)
            next_beat += slowest
        bench.clock.jump(end)
        if bench.clock.monotonic() - bench.memory.watch.looked >= LOOK_SECONDS:
            bench.look()
        waiting.append(sent)
        sent = []
        for _ in waiting.pop(0) if len(waiting) > behind else ():
            bench.presence.beat("a")
        assert bench.states()["a"] is not NodeState.DOWN
    assert bench.downs == []


def test_a_manager_whose_every_look_is_late_still_finds_a_lost_node():
    bench = Bench("a", "b", "c").arrive("a", "b", "c").run(4, "a", "b", "c")
    begun, next_beat = bench.clock.now(), bench.clock.now()
    while bench.states()["a"] is not NodeState.DOWN:
        bench.clock.jump(bench.clock.now() + 1.5)
        while next_beat <= bench.clock.now():
            bench.presence.beat("b")
            bench.presence.beat("c")
            next_beat += BEAT_SECONDS
        bench.look()
        assert bench.clock.now() - begun < 30
    assert bench.states()["b"] is bench.states()["c"] is NodeState.READY


def test_pressure_keeps_new_work_away_with_the_reason():
    bench = Bench("n1", "n2").arrive("n1", "n2").look()
    bench.presence.pressure("n1", {"disk": "the disk of the engine is 91 % full"})
    bench.look()
    assert (bench.nodes["n1"].ready, bench.nodes["n1"].state) == (False, READY)
    assert bench.nodes["n1"].message == "it gets no new tasks: the disk of the engine is 91 % full"
    bench.presence.pressure("n1", {})
    assert bench.look().nodes["n1"].ready


CLOCK = "its clock is 1 h behind the manager's"


def test_a_node_whose_clock_is_wrong_gets_no_new_work_and_keeps_what_it_has():
    bench = Bench("n1", "n2", "n3").arrive("n1", "n2", "n3")
    bench.presence.pressure("n1", {"clock": CLOCK})
    bench.run(30, "n1", "n2", "n3")
    assert (bench.nodes["n1"].ready, bench.nodes["n1"].state) == (False, READY)
    assert CLOCK in bench.nodes["n1"].message
    assert bench.nodes["n2"].ready
    assert bench.moves == []


def test_where_most_clocks_disagree_with_the_managers_it_is_the_managers_that_is_wrong():
    bench = Bench("m1", "n2", "n3").arrive("m1", local=True).arrive("n2", "n3")
    for name in ("n2", "n3"):
        bench.presence.pressure(name, {"clock": CLOCK})
    bench.run(4, "n2", "n3")
    assert all(each.ready and not each.pressure for each in bench.nodes.values())
    assert [bench.nodes[name].message for name in ("n2", "n3")] == [MANAGERS_CLOCK] * 2
    bench.presence.pressure("n3", {"clock": CLOCK, "disk": "the disk is full"})
    bench.run(4, "n2", "n3")
    assert not bench.nodes["n3"].ready, "what else is wrong with a node counts"
    bench.presence.pressure("n3", {})
    bench.run(4, "n2", "n3")
    assert not bench.nodes["n2"].ready, "one of three is the one that is wrong"
    assert bench.nodes["n3"].ready


@given(st.lists(st.sampled_from(["right", "wrong", "full", "gone"]), min_size=1, max_size=9))
def test_never_do_more_than_half_of_the_nodes_stay_away_for_their_clocks(kinds):
    heard = {
        f"n{number}": Heard(
            connected=kind != "gone",
            pressure={"wrong": {"clock": CLOCK}, "gone": {"clock": CLOCK}, "full": {"disk": "full"}}.get(kind, {}),
        )
        for number, kind in enumerate(kinds)
    }
    found = believed(heard)
    there = [each for each in found.values() if each.connected]
    wrong = [each for each in there if "clock" in each.pressure]
    assert len(wrong) <= max(1, len(there) / 2)
    assert len(wrong) + sum(each.doubts_manager for each in there) == kinds.count("wrong")
    assert sum("disk" in each.pressure for each in found.values()) == kinds.count("full")


def test_too_many_nodes_lost_at_once_move_nothing_until_a_person_says_so():
    bench = Bench(*MANY).arrive(*MANY).run(10, *MANY)
    bench.run(60, *MANY[4:])
    assert bench.stages == {}
    assert {bench.states()[name] for name in MANY[:4]} == {SUSPECT}
    assert bench.cluster.evictions_paused_since is not None
    assert bench.cluster.evictions_message.startswith("4 of 9 nodes fell silent within 60 s")
    bench.confirm().run(1, *MANY[4:])
    assert {bench.stages.get(name) for name in MANY[:4]} == {Stage.ALL}
    assert bench.cluster.evictions_paused_since is None
    bench.run(120, *MANY[4:])
    assert bench.cluster.evictions_paused_since is None


def test_a_confirmation_counts_whatever_the_clocks_say():
    bench = Bench(*MANY).arrive(*MANY).run(10, *MANY).run(20, *MANY[4:])
    bench.cluster = replace(bench.cluster, evictions_confirmed_at=1.0)
    bench.run(1, *MANY[4:])
    assert len(bench.downs) == 4


def test_once_enough_of_them_are_back_only_the_others_are_lost():
    bench = Bench(*MANY).arrive(*MANY).run(10, *MANY).run(20, *MANY[4:])
    bench.arrive(*MANY[1:4]).run(10, *MANY[1:])
    assert [name for _, name in bench.downs] == ["n0"]
    assert bench.cluster.evictions_paused_since is None
    assert all(bench.nodes[name].ready for name in MANY[1:])


def test_two_of_three_nodes_are_not_many():
    bench = Bench("n1", "n2", "n3").arrive("n1", "n2", "n3").run(10, "n1", "n2", "n3").run(15, "n1")
    assert sorted(name for _, name in bench.downs) == ["n2", "n3"]


def test_nodes_lost_one_after_the_other_within_a_minute_are_many_too():
    bench = Bench(*MANY).arrive(*MANY).run(10, *MANY)
    for lost in range(1, 6):
        bench.run(14, *MANY[lost:])
    assert len(bench.downs) == 3
    assert bench.cluster.evictions_paused_since is not None


def test_nodes_that_were_lost_and_came_back_count_until_the_minute_is_over():
    names = ("n1", "n2", "n3", "n4")
    bench = Bench(*names).arrive(*names).run(10, *names).run(12, "n1", "n2")
    assert sorted(name for _, name in bench.downs) == ["n3", "n4"]
    bench.arrive("n3", "n4").run(8, *names).run(20, "n1", "n3", "n4")
    assert len(bench.downs) == 2
    assert bench.cluster.evictions_paused_since is not None
    bench.run(40, "n1", "n3", "n4")
    assert [name for _, name in bench.downs][2:] == ["n2"]
    assert bench.cluster.evictions_paused_since is None


def test_a_new_leader_goes_on_with_the_brake_it_finds():
    bench = Bench(*MANY).arrive(*MANY).run(10, *MANY).run(20, *MANY[4:])
    bench.new_leader().arrive(*MANY[4:]).run(60, *MANY[4:])
    assert bench.downs == []
    bench.confirm().run(1, *MANY[4:])
    assert len(bench.downs) == 4


def test_a_new_leader_that_hears_nobody_moves_nothing():
    bench = Bench(*MANY).new_leader().run(120)
    assert bench.downs == []
    assert bench.cluster.evictions_paused_since is not None


def test_a_line_that_loses_a_third_of_the_beats_moves_nothing():
    downs = [lossy(seed, 600, 0.3).downs for seed in range(12)]
    assert sum(map(len, downs)) == 0


def test_a_line_that_comes_and_goes_costs_at_most_one_move_for_each_hold():
    bench, chance = Bench("n1", "n2").arrive("n1", "n2"), random.Random(1)
    end = bench.clock.now() + 3600
    while bench.clock.now() < end:
        bench.run(chance.randint(1, 20), "n1", "n2")
        bench.run(chance.randint(1, 20), "n1")
    times = [at for at, _ in bench.moves]
    # The hold begins when the node is back, so the times between two moves are longer still.
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(times))
    assert len(times) <= 12


@examples(60)
@given(
    st.lists(
        st.tuples(st.floats(0.1, 20), st.booleans(), st.floats(0, 9), st.booleans(), st.floats(0, 9)), max_size=30
    ),
    st.lists(st.floats(0.05, 9), min_size=1, max_size=12),
    st.integers(0, 3),
)
def test_what_is_fenced_is_never_given_up_before_its_node_has_killed_it(beats, looks, leaders):
    """Beats and answers are late or lost as they please, looks come when they can, and leaders change."""
    events, sent_at = [], 0.0
    for wait, arrives, there, answered, back in beats:
        sent_at += wait
        if arrives:
            events.append((sent_at + there, sent_at, answered, back))
    events.sort()
    bench = Bench("n1", "n2").arrive("n1", "n2").look()
    start = bench.clock.now()
    lease_ends = LEASE_SECONDS
    changes = [len(events) * part // (leaders + 1) for part in range(1, leaders + 1)]
    index = 0
    for turn in range(400):
        bench.clock.jump(bench.clock.now() + looks[turn % len(looks)])
        now = bench.clock.now() - start
        while index < len(events) and events[index][0] <= now:
            _, sent, answered, back = events[index]
            index += 1
            # The manager takes it from the wire only when it gets to it: here, now.
            if bench.presence.beat("n1") and answered and now + back < sent + LEASE_SECONDS:
                lease_ends = max(lease_ends, sent + LEASE_SECONDS)
            if index in changes:
                bench.new_leader().arrive("n2")
        bench.look()
        if bench.stages.get("n1") is Stage.ALL:
            assert now > lease_ends + KILL_SECONDS
            return


@given(st.lists(st.sampled_from(["beat", "silence", "leave", "arrive", "pressure", "leader", "jump"]), max_size=60))
def test_whatever_happens_looking_twice_changes_nothing_more_and_only_ready_nodes_get_work(events):
    bench = Bench("n1", "n2").arrive("n1", "n2")
    for what in events:
        if what == "beat":
            bench.run(2, "n1", "n2")
        elif what == "silence":
            bench.run(5, "n2")
        elif what == "leave":
            bench.presence.leave("n1")
        elif what == "arrive":
            bench.arrive("n1")
        elif what == "pressure":
            bench.presence.pressure("n1", {} if bench.nodes["n1"].pressure else {"disk": "full"})
        elif what == "leader":
            bench.new_leader().arrive("n2")
        else:
            bench.clock.jump(bench.clock.now() + 100)
        bench.look()
        for each in bench.nodes.values():
            assert each.ready is (each.state is READY and not each.pressure and each.held_until is None)
        assert all(bench.states()[name] is DOWN for name in bench.stages)


def test_the_hold_doubles_to_ten_minutes():
    assert [hold_seconds(losses) for losses in (1, 2, 3, 4, 5, 50)] == [60, 120, 240, 480, 600, 600]


def test_a_look_at_five_thousand_healthy_nodes_writes_nothing():
    names = [f"n{number}" for number in range(5000)]
    bench = Bench(*names).arrive(*names)
    bench.look()
    nodes, moment = list(bench.nodes.values()), Moment(wall=bench.clock.now(), steady=bench.clock.monotonic())
    found = decide(nodes, bench.presence.heard(), bench.cluster, begin(nodes, bench.cluster, moment), moment)
    assert (found.nodes, found.cluster, found.stages) == ((), None, {})
