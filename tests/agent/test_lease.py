"""A lease lasts from the sending of the last answered beat, and one that ended is taken up only by a new session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent.lease import Lease, Term
from tests.scenarios.simulation import JumpingClock

SECONDS = 8.0


@pytest.fixture
def clock():
    return JumpingClock(1000.0)


def test_a_lease_counts_from_the_sending_of_the_beat_and_not_from_its_answer(clock):
    lease = Lease(clock)
    lease.begin()
    sent = clock.boottime()
    clock.jump(sent + 3)
    assert lease.acknowledged(sent, SECONDS)
    assert lease.remaining() == 5.0
    clock.jump(sent + SECONDS)
    assert not lease.live


def test_the_clock_of_people_has_no_say(clock):
    lease = Lease(clock)
    lease.begin()
    lease.acknowledged(clock.boottime(), SECONDS)
    clock.now = lambda: 0.0
    assert lease.remaining() == SECONDS


def test_an_older_answer_that_comes_late_shortens_nothing(clock):
    lease = Lease(clock)
    lease.begin()
    lease.acknowledged(clock.boottime(), SECONDS)
    lease.acknowledged(clock.boottime() - 2, SECONDS)
    assert lease.remaining() == SECONDS


def test_nothing_starts_before_the_session_said_what_belongs_on_the_node(clock):
    lease = Lease(clock)
    lease.begin()
    lease.acknowledged(clock.boottime(), SECONDS)
    assert (lease.live, lease.may_start) == (True, False)
    lease.confirm()
    assert lease.may_start
    lease.begin()
    assert (lease.live, lease.may_start) == (True, False)


def test_nothing_starts_shortly_before_the_end(clock):
    lease = Lease(clock)
    lease.begin()
    lease.confirm()
    lease.acknowledged(clock.boottime(), SECONDS)
    clock.jump(clock.now() + 5)
    assert (lease.live, lease.may_start) == (True, False)


def test_a_lease_that_ended_is_renewed_only_by_a_new_session_and_is_another_one_then(clock):
    lease = Lease(clock)
    lease.begin()
    assert lease.acknowledged(clock.boottime(), SECONDS)
    first = lease.term.number
    clock.jump(clock.now() + SECONDS + 1)
    assert not lease.acknowledged(clock.boottime(), SECONDS)
    assert not lease.live
    lease.begin()
    assert lease.acknowledged(clock.boottime(), SECONDS)
    assert (lease.live, lease.term.number) == (True, first + 1)


def test_an_answer_older_than_a_lease_renews_nothing(clock):
    lease = Lease(clock)
    lease.begin()
    assert not lease.acknowledged(clock.boottime() - SECONDS, SECONDS)
    assert not lease.live


def test_an_agent_that_comes_back_in_time_goes_on_with_the_lease_it_had(clock):
    lease = Lease(clock, Term(number=3, until=clock.boottime() + 2))
    lease.begin()
    assert lease.live
    assert lease.acknowledged(clock.boottime(), SECONDS)
    assert lease.term.number == 3


def test_a_node_that_cannot_be_cut_off_has_an_endless_lease(clock):
    lease = Lease(clock, endless=True)
    clock.jump(clock.now() + 1e9)
    assert lease.endless
    assert lease.may_start
    assert lease.acknowledged(clock.boottime(), SECONDS)
    lease.begin()
    assert lease.may_start


def test_the_guard_is_told_of_every_change(clock):
    lease, told = Lease(clock), []
    lease.changed = told.append
    lease.begin()
    at = clock.boottime()
    lease.acknowledged(at, SECONDS)
    lease.acknowledged(at, SECONDS)
    assert told == [Term(number=1, until=at + SECONDS)]


@given(st.lists(st.tuples(st.sampled_from(["answer", "begin", "confirm"]), st.floats(0, 12), st.floats(0, 12))))
def test_within_one_term_the_lease_never_had_a_hole(steps):
    clock = JumpingClock(1000.0)
    lease = Lease(clock)
    number, until = lease.term.number, lease.term.until
    for what, wait, age in steps:
        clock.jump(clock.now() + wait)
        if what == "answer":
            sent = clock.boottime() - age
            lease.acknowledged(sent, SECONDS)
            if lease.live:
                assert lease.term.until <= max(until, sent + SECONDS)
        else:
            getattr(lease, what)()
        if lease.term.number == number and lease.term.until != until:
            assert clock.boottime() < until
        number, until = lease.term.number, lease.term.until
