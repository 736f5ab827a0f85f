"""How far a node's clock and the manager's are apart is told from beats, whatever the network does and clocks jump."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent import offset
from pilothouse.agent.clockwatch import ClockWatch

seconds = st.floats(min_value=-1e8, max_value=1e8, allow_nan=False)
trips = st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=30)


class World:
    """A node and a manager: the node's clocks are set by hand, the manager's is the true time plus *manager*."""

    def __init__(self, node=0.0, manager=0.0):
        self.boot, self.node, self.manager = 1000.0, node, manager

    def now(self):
        return 1e9 + self.boot + self.node

    def boottime(self):
        return self.boot

    def beat(self, watch, there, back):
        """Have a beat take so long on its way there and its answer so long back; the next comes two seconds later."""
        sent = self.boot
        self.boot += there
        told = 1e9 + self.boot + self.manager
        self.boot += back
        watch.told(sent, self.boot, told)
        self.boot += 2.0


@given(trips, seconds)
def test_a_clock_is_never_said_to_be_wronger_than_it_is(trips, wrong):
    world, known = World(wrong), ()
    for there, back in trips:
        sent = world.boot
        known = offset.kept(known, offset.answer(sent, sent + there + back, 1e9 + sent + there))
        world.boot += there + back + 2.0
        said = offset.ahead(known, world.now(), world.boot)
        assert abs(said) <= abs(wrong) + 1e-3
        assert said * wrong >= 0 or abs(said) < 1e-3
        assert len(known) <= offset.KEPT
    assert abs(said) >= abs(wrong) - max(there + back for there, back in trips) - 1e-3


@given(trips, st.sampled_from([3600.0, -3600.0, 60.0, -31_536_000.0]))
def test_a_jump_of_either_clock_is_seen_with_the_next_answer_at_the_latest(trips, jump):
    world = World()
    watch = ClockWatch(world)
    for there, back in trips:
        world.beat(watch, there, back)
    assert (watch.trouble(), watch.warning()) == ("", "")
    world.node = jump
    assert ("ahead of" if jump > 0 else "behind") in watch.trouble()
    world.node, world.manager = 0.0, jump
    world.beat(watch, *trips[0])
    assert ("behind" if jump > 0 else "ahead of") in watch.trouble()
    world.manager = 0.0
    world.beat(watch, *trips[0])
    assert (watch.trouble(), watch.warning()) == ("", "")


@pytest.mark.parametrize(
    ("apart", "trouble", "warning"),
    [(0.0, False, False), (1.9, False, False), (2.1, False, True), (9.9, False, True), (10.1, True, False)],
)
def test_a_person_is_told_from_two_seconds_on_and_new_tasks_stay_away_from_ten(apart, trouble, warning):
    for sign in (1, -1):
        world = World(sign * apart)
        watch = ClockWatch(world)
        world.beat(watch, 0.001, 0.001)
        assert (bool(watch.trouble()), bool(watch.warning())) == (trouble, warning)


def test_what_was_said_is_said_in_the_same_words_until_the_clock_is_well_within_the_bound():
    world = World(12.0)
    watch = ClockWatch(world)
    world.beat(watch, 0.001, 0.001)
    said = watch.trouble()
    assert said == f"its clock is 12 s ahead of the manager's: {offset.CURE}"
    for apart, still in ((9.0, True), (6.1, True), (4.9, False), (9.9, False)):
        world.node = apart
        assert watch.trouble() == (said if still else "")
    assert watch.warning().startswith("its clock is 9.9 s ahead")
    world.node = 5.5
    assert watch.warning().startswith("its clock is 9.9 s ahead"), "a sentence that changes with every look is noise"
    world.node = 1.5
    assert watch.warning().startswith("its clock is 1.5 s ahead"), "and one that is far off is wrong"
    world.node = 0.9
    assert watch.warning() == ""


def test_a_slow_network_is_no_wrong_clock():
    world = World()
    watch = ClockWatch(world)
    for there, back in ((20.0, 0.0), (0.0, 30.0)):
        world.beat(watch, there, back)
        assert (watch.trouble(), watch.warning()) == ("", "")


def test_a_node_that_heard_of_no_manager_says_nothing():
    watch = ClockWatch(World(1e6))
    assert (watch.trouble(), watch.warning()) == ("", "")


@pytest.mark.parametrize(
    ("apart", "words"),
    [(2.34, "2.3 s"), (59.0, "1 min"), (100.0, "100 s"), (3600.0, "1 h"), (86_400.0, "24 h"), (1e7, "116 d")],
)
def test_a_difference_is_said_in_the_unit_it_has(apart, words):
    assert offset.sentence(-apart).startswith(f"its clock is {words} behind the manager's: ")
