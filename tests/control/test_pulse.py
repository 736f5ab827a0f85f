"""A loop looks at everything once, then again when something calls for it; a store that fails is waited for."""

import asyncio

import pytest

from pilothouse.control import Presence, loops, run_control
from pilothouse.errors import ProgrammingError, StoreFullError, WatchLostError
from pilothouse.ids import SeededIds
from pilothouse.model.node import Node
from pilothouse.model.states import Writer
from pilothouse.pulse import pulse
from pilothouse.store.memory import MemoryStore
from tests.scenarios.simulation import JumpingClock


class Recorder:
    """Counts surveys and passes; fails a pass if told to."""

    def __init__(self, again=None):
        self.surveys = self.passes = 0
        self.again = again
        self.errors = []

    def survey(self, tx):
        self.surveys += 1

    def note(self, commit):
        return any(change.object.id.startswith("n") for change in commit.changes)

    async def act(self):
        self.passes += 1
        if self.errors:
            raise self.errors.pop()
        return self.again


async def _turns(count=30):
    for _ in range(count):
        await asyncio.sleep(0)


async def _run(reconciler, store, clock, story):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(pulse("test", store, clock, reconciler))
        await _turns()
        await story()
        running.cancel()


async def test_the_first_pass_needs_no_event_and_later_ones_need_one_that_matters():
    clock, it = JumpingClock(), Recorder()
    store = MemoryStore(clock)

    async def story():
        assert (it.surveys, it.passes) == (1, 1)
        await store.update(Writer.AGENT, lambda tx: tx.put(Node(id="other")))
        await _turns()
        assert it.passes == 1
        await store.update(Writer.AGENT, lambda tx: tx.put(Node(id="n1")))
        await _turns()
        assert it.passes == 2

    await _run(it, store, clock, story)


async def test_commits_that_come_together_are_looked_at_together():
    clock, it = JumpingClock(), Recorder()
    store = MemoryStore(clock)

    async def story():
        for number in range(5):
            await store.update(Writer.AGENT, lambda tx, number=number: tx.put(Node(id=f"n{number}")))
        await _turns()
        assert it.passes == 2

    await _run(it, store, clock, story)


async def test_a_pass_that_asks_to_be_made_again_is_made_again_at_that_time():
    clock = JumpingClock()
    it = Recorder(again=clock.now() + 60)

    async def story():
        clock.jump(clock.now() + 59)
        await _turns()
        assert it.passes == 1
        it.again = None
        clock.jump(clock.now() + 1)
        await _turns()
        assert it.passes == 2

    await _run(it, MemoryStore(clock), clock, story)


@pytest.mark.parametrize("error", [StoreFullError("no room"), WatchLostError("too slow")])
async def test_a_store_that_fails_is_waited_for_and_everything_is_looked_at_again(error):
    clock, it = JumpingClock(), Recorder()
    it.errors.append(error)

    async def story():
        assert it.surveys == 1
        clock.jump(clock.now() + 1)
        await _turns()
        assert (it.surveys, it.passes) == (2, 2)

    await _run(it, MemoryStore(clock), clock, story)


async def test_a_bug_ends_the_loop_and_with_it_all_others():
    clock, it = JumpingClock(), Recorder()
    it.errors.append(ProgrammingError("impossible"))
    with pytest.RaisesGroup(ProgrammingError, flatten_subgroups=True):
        await pulse("test", MemoryStore(clock), clock, it)


async def test_every_loop_of_a_term_starts_and_ends_with_it():
    clock = JumpingClock()
    names = set(loops(MemoryStore(clock), clock, SeededIds(), Presence(clock)))
    assert names == {"orchestrator", "resources", "scheduler", "liveness", "reaper"}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run_control(MemoryStore(clock), clock, SeededIds(), Presence(clock))


async def test_a_pass_that_took_long_is_followed_by_a_rest_so_that_a_storm_is_worked_off_together():
    clock, it = JumpingClock(), Recorder()
    store = MemoryStore(clock)

    async def slow():
        it.passes += 1
        clock.jump(clock.monotonic() + 0.2)

    it.act = slow

    async def story():
        assert it.passes == 1
        for number in range(5):
            await store.update(Writer.AGENT, lambda tx, number=number: tx.put(Node(id=f"n{number}")))
            await _turns()
        assert it.passes == 1
        clock.jump(clock.next_at())
        await _turns()
        assert it.passes == 2

    await _run(it, store, clock, story)
