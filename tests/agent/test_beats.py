"""An agent leaves a manager that is silent, and not one that it did not listen to itself."""

import asyncio

import msgspec
import pytest

from pilothouse.agent.beats import SILENT_SECONDS, Beats, Signs
from pilothouse.ids import SeededIds
from pilothouse.model.session import BeatAnswer, Welcome


class LateClock:
    """A clock of a process that comes back from each sleep so much later than it asked to."""

    def __init__(self, late):
        self.at, self.late = 1000.0, late

    def now(self):
        return self.at

    def monotonic(self):
        return self.at

    async def sleep(self, seconds):
        await asyncio.sleep(0)
        self.at += seconds + self.late


class Lease:
    def begin(self):
        pass

    def acknowledged(self, sent_at, seconds):
        return True

    def remaining(self):
        return 0.0


class Manager:
    """The other end: its answers wait in the socket until the agent's loop has turned twice."""

    def __init__(self, answers):
        self.answers, self.asked, self.closed = answers, 0, ""
        self.enough = asyncio.Event()

    async def ask(self, name, body):
        self.asked += 1
        if self.asked > 20:
            self.enough.set()
        if not self.answers:
            await asyncio.Event().wait()
        for _ in range(2):
            await asyncio.sleep(0)
        return msgspec.msgpack.encode(
            BeatAnswer(sequence=self.asked, epoch=1, beat_seconds=2.0, lease_seconds=8.0, renew=False)
        )

    def close(self, reason):
        self.closed = reason


async def beating(late, *, answers):
    """Return the manager and how much time had passed when the agent left it, or had beaten often enough."""
    clock, manager = LateClock(late), Manager(answers)
    signs = Signs(
        clock=clock, ids=SeededIds(1), lease=Lease(), boottime=clock.monotonic, pressure=dict, renewal_due=lambda: None
    )
    welcome = Welcome(protocol=1, epoch=1, beat_seconds=2.0, lease_seconds=8.0)
    running = asyncio.create_task(Beats(manager, welcome, signs).run())
    enough = asyncio.create_task(manager.enough.wait())
    # Where the manager is left, a beat that is never answered goes on waiting.
    async with asyncio.timeout(5):
        while not (manager.closed or enough.done()):  # noqa: ASYNC110 - the clock of the test is turned by the loop
            await asyncio.sleep(0)
    passed = clock.at - 1000.0
    for each in (running, enough):
        each.cancel()
    await asyncio.gather(running, enough, return_exceptions=True)
    return manager, passed


@pytest.mark.parametrize("late", [0.0, 1.0, 4.0, 60.0])
async def test_a_manager_that_answers_is_kept_however_late_the_agent_is_to_listen(late):
    manager, _ = await beating(late, answers=True)
    assert (manager.closed, manager.asked > 20) == ("", True)


@pytest.mark.parametrize("late", [0.0, 4.0])
async def test_a_manager_that_does_not_answer_is_left(late):
    manager, passed = await beating(late, answers=False)
    assert manager.closed.startswith("no beat was answered for")
    assert manager.asked <= 4
    assert SILENT_SECONDS < passed <= 4 * (2.2 + late)
