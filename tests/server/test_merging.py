"""Lines of many tasks come out by time; a silent task holds back nobody for long."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.server import merging
from pilothouse.server.merging import Merger
from tests.examples import examples
from tests.server.harness import TestClock, line

TIMES = st.lists(st.integers(0, 50), max_size=20).map(sorted)


async def source(name, times, gate=None):
    for at in times:
        yield line(name, float(at), f"{name}{at}")
        await asyncio.sleep(0)
    if gate is not None:
        await gate.wait()


async def merged(sources, *, patient=True):
    merger, said = Merger(TestClock(), patient=patient), []

    async def out(one):
        said.append(one)

    async with asyncio.TaskGroup() as group:
        for name, lines in sources.items():
            group.create_task(merger.feed(name, lines))
        group.create_task(merger.drain(out, lambda: True))
    return said


@examples(50)
@given(st.dictionaries(st.sampled_from("abc"), TIMES, max_size=3))
def test_every_line_comes_once_and_in_the_order_of_time(times):
    said = asyncio.run(merged({name: source(name, each) for name, each in times.items()}))
    assert [one.at for one in said] == sorted(float(at) for each in times.values() for at in each)
    for name, each in times.items():
        assert [one.at for one in said if one.task_id == name] == [float(at) for at in each]


async def test_a_silent_task_holds_back_others_only_for_a_moment(monkeypatch):
    monkeypatch.setattr(merging, "PATIENCE_SECONDS", 0.05)
    gate, said = asyncio.Event(), asyncio.Queue()
    merger = Merger(TestClock(), patient=False)
    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        group.create_task(merger.feed("silent", source("silent", [], gate)))
        group.create_task(merger.feed("loud", source("loud", [1, 2], gate)))
        draining = group.create_task(merger.drain(said.put, gate.is_set))
        assert [(await said.get()).at, (await said.get()).at] == [1.0, 2.0]
        gate.set()
        await draining


async def test_a_slow_reader_does_not_make_the_server_hold_everything(monkeypatch):
    monkeypatch.setattr(merging, "MAX_HELD", 10)
    merger, taken = Merger(TestClock(), patient=True), []

    async def many():
        for at in range(1000):
            taken.append(at)
            yield line("a", float(at), "x")

    gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(merger.feed("a", many()))
        holding = group.create_task(merger.feed("b", source("b", [], gate)))
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(taken) <= 11
        feeding.cancel()
        holding.cancel()
