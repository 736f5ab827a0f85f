"""The platform's format is raised once nobody is left who does not know the next, and not a moment before."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.nodes.raising import AGAIN_SECONDS, WAIT_SECONDS, Raising, holders, number_now
from pilothouse.errors import StoreFullError
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.format import FORMAT_ID, Format
from pilothouse.model.node import Node, NodeDescription, NodeState
from pilothouse.model.states import Writer
from pilothouse.store.memory import MemoryStore


def node(id, format, version="1", state=NodeState.READY):
    return Node(id=id, description=NodeDescription(version=version, format=format), state=state)


def manager(id, format, release="1"):
    return ManagerMember(id=id, api="h:1", sessions="h:2", release=release, format=format)


class Moved:
    """A clock that a test moves."""

    def __init__(self):
        self.at = 1000.0

    def now(self):
        return self.at

    monotonic = now


class Bench:
    """A store, a clock, and the loop of a manager that knows format 2."""

    def __init__(self, newest=2):
        self.clock = Moved()
        self.store = MemoryStore(self.clock)
        self.copies = []
        self.error = None
        self.loop = Raising(self.store, self.clock, self._copy, newest)

    async def _copy(self, number):
        if self.error is not None:
            raise self.error
        self.copies.append((number, await self.number()))

    async def put(self, *objects):
        await self.store.update(Writer.API, lambda tx: [tx.put(each) for each in objects])

    async def number(self):
        return await self.store.view(number_now)

    async def pass_at(self, seconds):
        self.clock.at += seconds
        return await self.loop.act()


async def test_it_waits_and_has_a_copy_made_first():
    bench = Bench()
    await bench.put(node("a", 2), manager("a", 2))
    assert await bench.pass_at(0) == bench.clock.now() + WAIT_SECONDS
    await bench.pass_at(WAIT_SECONDS - 1)
    assert (await bench.number(), bench.copies) == (1, [])
    await bench.pass_at(1)
    assert (await bench.number(), bench.copies) == (2, [(2, 1)])
    assert await bench.loop.act() is None


async def test_an_older_one_that_comes_in_between_begins_the_wait_anew():
    bench = Bench()
    await bench.put(node("a", 2))
    await bench.pass_at(0)
    await bench.put(node("b", 1))
    assert await bench.pass_at(WAIT_SECONDS) is None
    await bench.store.update(Writer.API, lambda tx: tx.delete(tx.get(Node, "b")))
    await bench.pass_at(0)
    await bench.pass_at(WAIT_SECONDS - 1)
    assert await bench.number() == 1


async def test_a_person_may_have_it_at_once_but_not_too_soon():
    bench = Bench()
    await bench.put(node("a", 2), node("b", 1), Format(id=FORMAT_ID, asked_at=1.0))
    assert await bench.pass_at(0) is None
    await bench.store.update(Writer.API, lambda tx: tx.delete(tx.get(Node, "b")))
    await bench.pass_at(0)
    assert await bench.number() == 2
    assert (await bench.store.view(lambda tx: tx.get(Format, FORMAT_ID))).raised_at == bench.clock.now()


async def test_without_a_copy_it_is_not_raised():
    bench = Bench()
    bench.error = StoreFullError("no room")
    await bench.put(node("a", 2), Format(id=FORMAT_ID, asked_at=1.0))
    assert await bench.pass_at(0) == bench.clock.now() + AGAIN_SECONDS
    assert await bench.number() == 1
    bench.error = None
    await bench.pass_at(AGAIN_SECONDS)
    assert await bench.number() == 2


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (node("a", 1, "0.1"), "the agent of a (ready) runs 0.1, which knows format 1"),
        (node("a", 1, "0.1", NodeState.DOWN), "the agent of a (down) runs 0.1"),
        (manager("m", 1, "0.1"), "the manager m runs 0.1"),
    ],
)
async def test_who_holds_it_back_is_named_also_while_it_is_away(found, said):
    bench = Bench()
    await bench.put(found, node("never-came", 1, ""), manager("never-ran", 1, ""))
    (sentence,) = await bench.store.view(lambda tx: holders(tx, 2))
    assert sentence.startswith(said)


async def test_what_calls_for_a_look_is_a_version_and_not_a_beat():
    bench = Bench()
    await bench.put(node("a", 1))
    noted = []

    async def change(**fields):
        since = await bench.store.view(lambda tx: tx.revision)

        def write(tx):
            before = tx.get(Node, "a")
            tx.put(replace(before, description=replace(before.description, **fields)))

        await bench.store.update(Writer.AGENT, write)
        (commit,) = await bench.store.history(since, 10)
        noted.append(bench.loop.note(commit))

    await change(kernel="6")
    await change(format=2)
    assert noted == [False, True]


PROCESSES = st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.sampled_from(["", "1"])), max_size=6)


@settings(max_examples=50)
@given(PROCESSES, st.lists(st.sampled_from([1.0, 400.0, 700.0]), max_size=6))
def test_nobody_who_said_what_it_is_is_ever_left_behind(processes, steps):
    async def run():
        bench = Bench(newest=3)
        await bench.put(
            *(
                node(f"n{n}", known, said) if is_node else manager(f"m{n}", known, said)
                for n, (is_node, known, said) in enumerate(processes)
            ),
            node("own", 3),
        )
        for step in steps:
            await bench.pass_at(step)
            assert await bench.number() <= min((known for _, known, said in processes if said), default=3)

    asyncio.run(run())
