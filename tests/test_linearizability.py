"""The checker accepts what could have happened, and finds every kind of violation that is planted."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.linearizability import LOST, AppendList, History, Operation, Register, by_trying_every_order, check


def op(what, argument, answer, called, returned=float("inf")):
    return Operation(what, argument, answer, called, returned)


@pytest.mark.parametrize(
    "history",
    [
        [op("write", 1, None, 0, 1), op("read", None, 1, 2, 3)],
        # A read may see a write that has not returned, or not see it yet.
        [op("write", 1, None, 0, 9), op("read", None, None, 1, 2), op("read", None, 1, 3, 4)],
        # A write whose answer was lost may happen late.
        [op("write", 1, LOST, 0), op("read", None, None, 1, 2), op("read", None, 1, 3, 4)],
        # ... or never.
        [op("write", 1, LOST, 0), op("read", None, None, 1, 2)],
        [op("cas", (None, 1), True, 0, 5), op("cas", (None, 2), False, 1, 4), op("read", None, 1, 6, 7)],
    ],
)
def test_what_could_have_happened_is_accepted(history):
    assert check(Register, history).ok


@pytest.mark.parametrize(
    ("why", "history"),
    [
        ("an old value is read", [op("write", 1, 0, 0, 1), op("write", 2, 0, 2, 3), op("read", 0, 1, 4, 5)]),
        ("a write is lost", [op("write", 1, None, 0, 1), op("read", None, None, 2, 3)]),
        ("a value comes from nowhere", [op("write", 1, None, 0, 1), op("read", None, 7, 0, 3)]),
        ("time goes back", [op("write", 1, 0, 0, 9), op("read", 0, 1, 1, 2), op("read", 0, None, 3, 4)]),
        ("two win one race", [op("cas", (None, 1), True, 0, 3), op("cas", (None, 2), True, 1, 4)]),
        ("a lost write is read before it was called", [op("read", None, 1, 0, 1), op("write", 1, LOST, 2)]),
    ],
)
def test_a_violation_of_a_register_is_found(why, history):
    assert not check(Register, history).ok, why


@pytest.mark.parametrize(
    ("why", "answers"),
    [
        ("an item is lost", ["a", "ac"]),
        ("an item is there twice", ["ab", "abb"]),
        ("two readers see two orders", ["ab", "ba"]),
        ("what was appended later comes first", ["cab"]),
        ("a list grows shorter", ["abc", "ab"]),
    ],
)
def test_a_violation_of_a_list_is_found(why, answers):
    appends = [op("append", "a", None, 0, 2), op("append", "b", None, 1, 3), op("append", "c", None, 4, 5)]
    reads = [op("read", None, tuple(answer), 10 + number, 10.5 + number) for number, answer in enumerate(answers)]
    assert not check(AppendList, [*appends, *reads]).ok, why
    right = [op("read", None, tuple("bac"), 10, 11), op("read", None, tuple("bac"), 12, 13)]
    assert check(AppendList, [*appends, *right]).ok


def happened(chance, size, kinds=("read", "write", "cas")):
    """Return a history of a register that did happen: each operation at one moment of its own."""
    state, found = None, []
    for moment in range(size):
        what = chance.choice(kinds)
        small = chance.randrange(3) if "cas" in kinds else moment
        argument = (chance.randrange(3), chance.randrange(3)) if what == "cas" else small
        answer = {"read": state, "write": None, "cas": what == "cas" and state == argument[0]}[what]
        lost = what != "read" and chance.random() < 0.1
        called, returned = moment - 3 * chance.random(), moment + 3 * chance.random()
        made = op(what, argument, LOST if lost else answer, called, float("inf") if lost else returned)
        state = Register.step(state, made)
        found.append(made)
    chance.shuffle(found)
    return found


KINDS = st.sampled_from([("read", "write", "cas"), ("read", "write")])


@given(seed=st.integers(0, 10**6), size=st.integers(1, 60), kinds=KINDS)
@examples(100)
def test_whatever_happened_is_accepted(seed, size, kinds):
    assert check(Register, happened(random.Random(seed), size, kinds)).ok


@given(seed=st.integers(0, 10**6), kinds=KINDS)
@examples(200)
def test_it_says_what_trying_every_order_says(seed, kinds):
    chance = random.Random(seed)
    history = happened(chance, 5, kinds)
    spoiled = chance.randrange(len(history))
    if history[spoiled].what == "read":
        history[spoiled] = op("read", None, chance.choice([None, 0, 1, 2]), *_times(history[spoiled]))
    assert check(Register, history).ok == by_trying_every_order(Register, history)


def _times(operation):
    return operation.called, operation.returned


def test_a_long_history_is_checked_quickly():
    chance = random.Random(1)
    assert check(Register, happened(chance, 3000)).ok


async def test_the_recorder_tells_lost_from_refused():
    times = iter(range(100))
    history = History(lambda: next(times))

    async def returns(value):
        return value

    async def fails(error):
        raise error

    known = {"lost": TimeoutError, "refused": KeyError}
    await history.record("a", "write", 1, returns(None), **known)
    await history.record("a", "write", 2, fails(TimeoutError()), **known)
    await history.record("a", "write", 3, fails(KeyError()), **known)
    await history.record("a", "read", None, fails(TimeoutError()), **known)
    assert await history.record("a", "read", None, returns(2), **known) == 2
    assert history.count() == 3
    assert history.violations(lambda key: Register) == {}
    await history.record("a", "read", None, returns(3), **known)
    assert list(history.violations(lambda key: Register)) == ["a"]
