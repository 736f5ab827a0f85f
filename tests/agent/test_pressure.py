"""A node under pressure says why in a sentence, and does not say so and take it back with every look."""

import asyncio

import pytest

from pilothouse.agent.health import Health
from pilothouse.agent.pressure import Engine, Memory, Room, disk, engine, memory, parse_memory
from pilothouse.errors import RuntimeUnavailableError
from tests.scenarios.simulation import JumpingClock

GIB = 1 << 30


def room(used, files=0.1):
    return Room(
        path="/data", total_bytes=100 * GIB, free_bytes=int((1 - used) * 100 * GIB), total_files=1000,
        free_files=round((1 - files) * 1000),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("used", "before", "full"),
    [(0.5, False, False), (0.89, False, False), (0.9, False, True), (0.86, True, True), (0.84, True, False)],
)
def test_a_disk_is_full_from_ninety_percent_until_it_is_below_eighty_five(used, before, full):
    assert bool(disk(room(used), before=before)) is full


def test_a_disk_without_inodes_is_full_too_and_one_that_counts_none_is_not():
    assert disk(room(0.1, files=0.95), before=False) == "the engine's disk (/data) has 95 % of its inodes in use"
    assert disk(Room(path="/d", total_bytes=10, free_bytes=10), before=False) == ""


def test_memory_is_scarce_below_five_percent_and_until_there_are_eight():
    assert memory(Memory(total_bytes=100 * GIB, available_bytes=6 * GIB), before=False) == ""
    assert memory(Memory(total_bytes=100 * GIB, available_bytes=6 * GIB), before=True)
    scarce = memory(Memory(total_bytes=4 * GIB, available_bytes=100 << 20), before=False)
    assert scarce == "only 100 MiB of its 4096 MiB of memory are available"
    assert memory(Memory(total_bytes=0, available_bytes=0), before=False) == ""


def test_the_kernels_words_are_understood():
    text = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    8192 kB\n"
    assert parse_memory(text) == Memory(total_bytes=16 << 20, available_bytes=8 << 20)


def test_an_engine_that_is_restarted_is_no_trouble_and_one_that_stays_away_is():
    assert engine(Engine(failing_seconds=3, problem="refused")) == ""
    assert engine(Engine(failing_seconds=7, problem="refused")) == "its container engine does not work: refused"
    assert engine(Engine(failing_seconds=700, problem="")) == ""


class Runtime:
    def __init__(self):
        self.error = None

    async def probe(self):
        if self.error is not None:
            raise self.error


async def test_trouble_with_the_engine_is_told_once_when_it_begins_and_once_when_it_is_over():
    clock, runtime, told = JumpingClock(), Runtime(), []
    health = Health(runtime, clock)
    health.changed = lambda found: told.append(dict(found))
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(health._watch_engine())

        async def look(times):
            for _ in range(times):
                for _ in range(20):
                    await asyncio.sleep(0)
                clock.jump(clock.now() + 2)

        await look(3)
        runtime.error = RuntimeUnavailableError("nobody listens")
        await look(2)
        assert told == []
        await look(5)
        runtime.error = None
        await look(3)
        watching.cancel()
    assert told == [{"engine": "its container engine does not work: nobody listens"}, {}]
