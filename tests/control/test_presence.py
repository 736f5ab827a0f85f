"""What sessions tell the detector: when something was heard of a node, and whether its beats may be answered."""

import asyncio

from pilothouse.control.nodes import timers
from pilothouse.control.nodes.presence import Presence
from tests.scenarios.simulation import JumpingClock


def heard(presence, node_id="n1"):
    return presence.heard()[node_id]


def beat(presence, clock, after=2.0):
    clock.jump(clock.now() + after)
    return presence.beat("n1")


def test_what_is_fenced_is_dead_before_it_is_made_anew():
    assert timers.FENCED_SECONDS > timers.LEASE_SECONDS + timers.KILL_SECONDS
    assert timers.SUSPECT_SECONDS < timers.LEASE_SECONDS < timers.LOST_SECONDS


def test_a_lease_outlasts_two_missed_beats_however_many_nodes_there_are():
    slowest = timers.beat_seconds(5000) * (1 + timers.BEAT_JITTER)
    assert timers.beat_seconds(3) == timers.BEAT_SECONDS
    assert 2 * slowest < timers.LEASE_SECONDS


def test_the_time_of_a_beat_is_its_receipt_and_leaving_is_no_silence():
    clock = JumpingClock()
    presence = Presence(clock)
    presence.arrive("n1")
    beat(presence, clock)
    at = clock.monotonic()
    clock.jump(clock.now() + 1)
    presence.leave("n1")
    assert (heard(presence).last, heard(presence).connected) == (at, False)


def test_an_agent_that_comes_again_and_again_without_a_beat_is_not_alive_by_that():
    clock = JumpingClock()
    presence = Presence(clock)
    for _ in range(5):
        clock.jump(clock.now() + 3)
        presence.arrive("n1")
    assert clock.monotonic() - heard(presence).last == 12
    beat(presence, clock, 1)
    clock.jump(clock.now() + 3)
    presence.arrive("n1")
    assert heard(presence).last == clock.monotonic()


def test_beats_are_in_a_row_until_one_is_missing():
    clock = JumpingClock()
    presence = Presence(clock)
    presence.arrive("n1")
    for expected in (1, 2, 3):
        beat(presence, clock)
        assert heard(presence).in_a_row == expected
    beat(presence, clock, 4)
    assert heard(presence).in_a_row == 1
    assert [length for _, length in heard(presence).gaps] == [4]


def test_a_gap_that_was_a_loss_does_not_count_as_a_bad_line():
    clock = JumpingClock()
    presence = Presence(clock)
    presence.arrive("n1")
    beat(presence, clock)
    beat(presence, clock, 30)
    assert heard(presence).gaps == ()


def test_a_node_whose_tasks_were_given_to_others_gets_no_answer_until_it_comes_again():
    clock = JumpingClock()
    presence = Presence(clock)
    presence.arrive("n1")
    assert beat(presence, clock)
    presence.give_up(["n1"])
    presence.given_up()
    assert not beat(presence, clock)
    presence.arrive("n1")
    assert beat(presence, clock)


def test_a_manager_that_cannot_show_that_it_leads_renews_no_lease():
    clock, leads = JumpingClock(), [True]
    presence = Presence(clock)
    presence.leads = lambda: leads[0]
    presence.arrive("n1")
    assert beat(presence, clock)
    leads[0] = False
    assert not beat(presence, clock)


async def test_a_session_that_begins_while_tasks_are_given_away_waits_for_that():
    presence = Presence(JumpingClock())
    await presence.quiet("n1")
    presence.give_up(["n1"])
    await presence.quiet("n2")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(presence.quiet("n1"))
        await asyncio.sleep(0)
        assert not waiting.done()
        presence.given_up()


def test_pressure_is_told_whole_and_wakes_the_detector_when_it_changed():
    presence = Presence(JumpingClock())
    presence.arrive("n1")
    presence.changed.clear()
    presence.pressure("n1", {"disk": "the disk is full"})
    assert presence.changed.is_set()
    presence.changed.clear()
    presence.pressure("n1", {"disk": "the disk is full"})
    assert not presence.changed.is_set()
    presence.pressure("n1", {})
    assert heard(presence).pressure == {}
