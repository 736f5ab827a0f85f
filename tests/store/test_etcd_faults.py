"""Three members, of which some are killed, stopped and woken: what is promised of the store then."""

import asyncio
import random
import signal
import sys

import pytest

from pilothouse.errors import QuorumLostError, StoreUnavailableError
from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.store.conformance import sample_task
from pilothouse.store.sqlite import SQLiteStore
from tests.store.chaos import Load, model_of
from tests.store.cluster import CLOCK, Cluster

pytestmark = pytest.mark.slow
CHAOS_SECONDS = 40.0


@pytest.fixture
async def cluster():
    made = Cluster(3)
    try:
        await made.start()
        yield made
    finally:
        await made.close()


def add(store, *names):
    return store.update(Writer.ORCHESTRATOR, lambda tx: [tx.put(sample_task(name)) for name in names])


async def until_written(store, name, seconds):
    """Write *name* as soon as that is possible; return how long it took."""
    begun = CLOCK.monotonic()
    while True:
        try:
            await add(store, name)
        except StoreUnavailableError:
            assert CLOCK.monotonic() - begun < seconds, f"nothing could be written within {seconds} s"
        else:
            return CLOCK.monotonic() - begun


async def test_one_member_of_three_may_die_or_hang(cluster):
    store = await cluster.store()
    await add(store, "t")
    for number, what in ((0, signal.SIGKILL), (1, signal.SIGSTOP)):
        cluster.signal(number, what)
        assert await until_written(store, f"after {number}", 5.0) < 5.0
        if what == signal.SIGSTOP:
            cluster.signal(number, signal.SIGCONT)
        else:
            await cluster.members[number].ensure()
        await cluster.answers()
    async with asyncio.timeout(10):
        while store.stale_since is not None:
            await CLOCK.sleep(0.05)
    before = store.stale_reads
    assert len(await store.view(lambda tx: tx.find(Task))) >= 3
    assert store.stale_reads == before
    await store.close()


async def test_without_a_majority_writes_fail_soon_and_reads_go_on_flagged(cluster):
    store = await cluster.store()
    await add(store, "t")
    await cluster.kill(1)
    cluster.signal(2, signal.SIGSTOP)
    for number in range(3):
        begun = CLOCK.monotonic()
        with pytest.raises(QuorumLostError):
            await add(store, f"never {number}")
        assert CLOCK.monotonic() - begun < 2.0
    begun, before = CLOCK.monotonic(), store.stale_reads
    assert [task.id for task in await store.view(lambda tx: tx.find(Task))] == ["t"]
    assert CLOCK.monotonic() - begun < 2.0
    assert store.stale_reads == before + 1
    assert store.stale_since is not None
    begun = CLOCK.monotonic()
    for _ in range(100):
        await store.view(lambda tx: tx.find(Task))
    assert CLOCK.monotonic() - begun < 1.0
    cluster.signal(2, signal.SIGCONT)
    assert await until_written(store, "again", 10.0) < 10.0
    async with asyncio.timeout(10):
        while store.stale_since is not None:
            await CLOCK.sleep(0.05)
    before = store.stale_reads
    assert "again" in [task.id for task in await store.view(lambda tx: tx.find(Task))]
    assert store.stale_reads == before
    await store.close()


async def break_things(cluster, chance, until, *, mend=True):
    """Kill and stop one member after the other, mostly one at a time, until *until* is set.

    What was killed is started again here, unless somebody else does that (*mend* is False).
    """
    while not until.is_set():
        await CLOCK.sleep(0.5 + 2 * chance.random())
        numbers = chance.sample(range(3), 2 if chance.random() < 0.25 else 1)
        kill = chance.random() < 0.5
        for number in [each for each in numbers if cluster.members[each].find()]:
            cluster.signal(number, signal.SIGKILL if kill else signal.SIGSTOP)
        await CLOCK.sleep(0.3 + 3 * chance.random())
        for number in numbers:
            if kill and mend:
                await cluster.members[number].ensure()
            elif cluster.members[number].find():
                cluster.signal(number, signal.SIGCONT)


async def test_what_managers_do_at_once_under_kills_and_pauses_is_linearizable(cluster):
    seed = 7
    stores = [await cluster.store(order=order) for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1))]
    load, ended = Load(stores, seed), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(break_things(cluster, random.Random(seed), ended))
        group.create_task(load.run(9, ended))
        await CLOCK.sleep(CHAOS_SECONDS)
        ended.set()
    await cluster.answers()
    for store in stores:
        await until_written(store, f"end {id(store)}", 15.0)
    found = await asyncio.gather(*(store.view(lambda tx: (tx.revision, tx.find(Task))) for store in stores))
    assert found[0] == found[1] == found[2]
    fresh = await cluster.store()
    assert await fresh.view(lambda tx: (tx.revision, tx.find(Task))) == found[0]
    for store in (*stores, fresh):
        await store.close()
    violations = load.history.violations(model_of)
    sys.stdout.write(f"{load.history.count()} operations, {load.stale} flagged reads, {len(violations)} violations\n")
    assert violations == {}
    assert load.history.count() > 1000


async def test_what_clients_do_at_once_is_linearizable_on_one_host(tmp_path):
    store = await SQLiteStore.open(tmp_path)
    load, ended = Load([store], 3), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(16, ended))
        await CLOCK.sleep(5.0)
        ended.set()
    await store.close()
    violations = load.history.violations(model_of)
    sys.stdout.write(f"{load.history.count()} operations, {len(violations)} violations\n")
    assert violations == {}
    assert load.history.count() > 2000
