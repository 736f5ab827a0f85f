"""A machine's certificate is replaced half way through its life, and whatever fails on the way is tried again."""

import asyncio
import os

import pytest

from pilothouse.errors import SessionLostError
from pilothouse.ids import SeededIds
from pilothouse.link.credentials import leaf_of
from pilothouse.link.renewal import EARLIEST, LATEST, RETRY_CAP_SECONDS, Renewal
from tests.pki import Pki

NOW = 1_800_000_000.0
DAY = 86_400.0


class Leaping:
    """Time that passes when somebody waits for it, at once."""

    def __init__(self):
        self.at = NOW
        self.waits = []

    def now(self):
        return self.at

    async def sleep(self, seconds):
        self.waits.append(seconds)
        await asyncio.sleep(0)
        self.at += max(0.0, seconds)


class Standing(Leaping):
    """Time in which no wait ends."""

    async def sleep(self, seconds):
        self.waits.append(seconds)
        await asyncio.Event().wait()


class Giving:
    """Gives certificates, after some failures."""

    def __init__(self, clock, failing=0, enough=1):
        self.clock, self.failing, self.enough = clock, failing, enough
        self.pki = Pki(NOW)
        self.given = []
        self.keys = []
        self.done = asyncio.Event()

    async def __call__(self, request):
        if self.failing:
            self.failing -= 1
            raise SessionLostError("it ended")
        self.given.append(self.clock.now())
        issued = self.pki.issue("a1", self.clock.now(), request=request)
        self.keys.append(leaf_of(issued.text).public_key().public_numbers())
        if len(self.given) == self.enough:
            self.done.set()
        return issued.text, self.pki.made.certificate


async def run(renewal, until):
    task = asyncio.ensure_future(renewal.run())
    async with asyncio.timeout(10):
        await until.wait()
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.fixture
def begin(tmp_path):
    def make(clock, **fields):
        giving = Giving(clock, **fields)
        credentials = giving.pki.credentials(tmp_path, "a1", NOW)
        return Renewal(credentials, giving, clock, SeededIds(3)), giving, credentials

    return make


async def test_each_certificate_is_replaced_half_way_with_a_new_key(begin):
    clock = Leaping()
    renewal, giving, _ = begin(clock, enough=3)
    await run(renewal, giving.done)
    gaps = [later - sooner for sooner, later in zip([NOW, *giving.given], giving.given, strict=False)]
    assert all((EARLIEST - 0.01) * DAY < gap < (LATEST + 0.01) * DAY for gap in gaps[:3])
    assert len({str(key) for key in giving.keys}) == len(giving.keys), "no key is used twice"


async def test_what_fails_is_tried_again_with_growing_waits_and_the_old_one_is_kept(begin):
    clock = Leaping()
    renewal, giving, credentials = begin(clock, failing=14)
    serial = credentials.held().serial
    await run(renewal, giving.done)
    assert credentials.held().serial != serial
    waits = clock.waits[1:15]
    assert waits[0] == 0
    assert waits[1] < 2
    assert max(waits) <= RETRY_CAP_SECONDS * 1.2
    assert waits[8] > 60


async def test_a_full_disk_leaves_what_was_held_and_ends_nothing(begin, monkeypatch, tmp_path):
    clock = Leaping()
    renewal, giving, credentials = begin(clock, enough=3)
    serial, real = credentials.held().serial, os.fsync
    left = [None, None]

    def full(descriptor):
        if left:
            left.pop()
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    await run(renewal, giving.done)
    assert credentials.held().serial != serial
    assert len(list(tmp_path.glob("pki.*"))) == 2, "what could not be written whole is taken away"


async def test_a_machine_that_was_away_until_its_certificate_ended_asks_all_the_same(begin):
    """It may be refused; but what it holds is not worth keeping for."""
    clock = Leaping()
    clock.at = NOW + 3 * DAY
    renewal, giving, _ = begin(clock)
    await run(renewal, giving.done)
    assert giving.given[0] == NOW + 3 * DAY


async def test_it_is_done_at_once_when_the_manager_wants_it(begin):
    clock = Standing()
    renewal, giving, credentials = begin(clock)
    serial = credentials.held().serial
    renewal.now.set()
    await run(renewal, giving.done)
    assert credentials.held().serial != serial
    assert not renewal.now.is_set()
