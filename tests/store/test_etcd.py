"""The replicated store on a real member: the contract every store keeps, and what is its own."""

import asyncio
import itertools

import pytest
from msgspec.structs import replace

from pilothouse.errors import ConflictError, QuorumLostError, StoreUnavailableError, TermOverError, TooLargeError
from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.store import conformance, conformance_leadership
from pilothouse.store.conformance import sample_task
from pilothouse.store.etcd import committer, election
from pilothouse.store.etcd.batch import delete, put
from pilothouse.store.etcd.client import LEASE_KEEP_ALIVE, TXN
from pilothouse.store.etcd.rpc_pb2 import TxnRequest
from tests.store.cluster import CLOCK, IDS, Cluster, EtcdGroup

pytestmark = pytest.mark.slow
KEPT = 50
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    try:
        asyncio.run(made.start())
        yield made
    finally:
        asyncio.run(made.close())


@pytest.fixture
def prefix():
    return f"/test{next(_numbers)}/"


def add(store, *names):
    return store.update(Writer.ORCHESTRATOR, lambda tx: [tx.put(sample_task(name)) for name in names])


async def names(store):
    return await store.view(lambda tx: [task.id for task in tx.find(Task)])


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
async def test_a_store_keeps_the_contract(cluster, prefix, check):
    await conformance.run_check(lambda: cluster.store(prefix), check)


async def test_a_reader_too_far_behind_is_cut_off(cluster, prefix):
    await conformance.run_check(
        lambda: cluster.store(prefix, keep=KEPT),
        lambda store: conformance.a_reader_too_far_behind_is_cut_off(store, KEPT),
    )


@pytest.mark.parametrize("check", conformance_leadership.CHECKS, ids=lambda check: check.__name__)
async def test_an_election_keeps_the_contract(cluster, prefix, check):
    async def make():
        return EtcdGroup(cluster, prefix)

    await conformance_leadership.run_check(make, check)


async def test_a_manager_reads_what_another_has_just_written(cluster, prefix):
    first, second = await cluster.store(prefix), await cluster.store(prefix)
    for number in range(50):
        await add((first, second)[number % 2], f"t{number:02}")
        assert len(await names((second, first)[number % 2])) == number + 1
    assert await first.history(0, 100) == await second.history(0, 100)
    await first.close()
    third = await cluster.store(prefix)
    assert await names(third) == await names(second)
    assert await third.history(10, 5) == await second.history(10, 5)
    await second.close()
    await third.close()


async def test_managers_that_write_at_once_lose_nothing_and_repeat_nothing(cluster, prefix):
    stores = [await cluster.store(prefix) for _ in range(3)]
    await add(stores[0], "t")

    def add_one(tx):
        task = tx.get(Task, "t")
        tx.put(replace(task, desired_reason=str(int(task.desired_reason or "0") + 1)))

    async def count(store):
        for _ in range(40):
            await store.update(Writer.ORCHESTRATOR, add_one)

    async with asyncio.TaskGroup() as group:
        for store in stores:
            group.create_task(count(store))
    for store in stores:
        task = await store.view(lambda tx: tx.get(Task, "t"))
        assert (task.desired_reason, task.version) == ("120", 121)
        history = await store.history(0, 200)
        assert [commit.revision for commit in history] == list(range(1, 122))
        await store.close()


async def test_a_watch_sees_what_other_managers_commit(cluster, prefix):
    first, second = await cluster.store(prefix), await cluster.store(prefix)
    seen = []

    async def follow():
        async for commit in second.watch(0):
            seen.append(commit.revision)
            if commit.revision == 20:
                return

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(follow())
        for number in range(20):
            await add(first, f"t{number}")
    assert seen == list(range(1, 21))
    await first.close()
    await second.close()


async def test_an_answer_that_is_lost_is_found_out_and_nothing_happens_twice(cluster, prefix):
    store = await cluster.store(prefix)
    await add(store, "t")
    call, lost = store.client.call, 0

    async def losing(method, request, seconds, **options):
        """Carry the transaction out, and then again, as if the first answer had been lost."""
        nonlocal lost
        if method is TXN and request.success and request.compare:
            lost += 1
            await call(method, request, seconds, **options)
        return await call(method, request, seconds, **options)

    store.client.call = losing

    def add_one(tx):
        task = tx.get(Task, "t")
        tx.put(replace(task, desired_reason=str(int(task.desired_reason or "0") + 1)))

    for _ in range(10):
        await store.update(Writer.ORCHESTRATOR, add_one)
    assert lost == 10
    task = await store.view(lambda tx: tx.get(Task, "t"))
    assert (task.desired_reason, task.version) == ("10", 11)
    await store.close()


async def test_what_the_watch_loses_is_found_all_the_same(cluster, prefix, monkeypatch):
    first, second = await cluster.store(prefix), await cluster.store(prefix)
    take = second._reader._take
    dropped = []

    def dropping(answer):
        if len(answer.events) and len(dropped) < 5:
            dropped.append(answer)
            return 0
        return take(answer)

    monkeypatch.setattr(second._reader, "_take", dropping)
    watch = second.watch(0)
    for number in range(8):
        await add(first, f"t{number}")
    async with asyncio.timeout(10):
        assert [(await anext(watch)).revision for _ in range(8)] == list(range(1, 9))
    assert dropped
    await watch.aclose()
    await first.close()
    await second.close()


async def test_a_manager_that_slept_through_a_lot_loads_everything_anew(cluster, prefix):
    first = await cluster.store(prefix, keep=20)
    second = await cluster.store(prefix, keep=20)
    await add(second, "own")
    watch = second.watch(0)
    assert (await anext(watch)).revision == 1
    second._running.cancel()
    await asyncio.wait([second._running])
    for number in range(60):
        await add(first, f"t{number:02}")
    second._running = asyncio.ensure_future(second._run())
    assert await names(second) == await names(first)
    with pytest.raises(conformance.WatchLostError):
        await anext(watch)
    await first.close()
    await second.close()


async def test_members_that_take_little_at_once_refuse_only_what_is_too_much(cluster, prefix, monkeypatch):
    monkeypatch.setattr(committer, "MOST_OPERATIONS", 20_000)
    store = await cluster.store(prefix)
    with pytest.raises(TooLargeError, match="change less at a time"):
        await add(store, *(f"t{number}" for number in range(8300)))
    results = await asyncio.gather(*(add(store, f"a{n}", f"b{n}", f"c{n}") for n in range(100)))
    assert len(results) == 100
    assert len(await names(store)) == 300
    with pytest.raises(TooLargeError, match="change less at a time"):
        await add(store, *(f"t{number}" for number in range(200)))
    assert len(await names(store)) == 300
    await store.close()


async def test_a_large_transaction_is_one(cluster, prefix):
    store = await cluster.store(prefix)
    await add(store, *(f"t{number:04}" for number in range(5000)))
    assert await store.view(lambda tx: tx.revision) == 1
    other = await cluster.store(prefix)
    assert len(await names(other)) == 5000
    assert len((await other.history(0, 10))[0].changes) == 5000
    await other.close()
    await store.close()


async def test_a_state_that_somebody_changed_by_hand_is_refused(cluster, prefix):
    store = await cluster.store(prefix)
    await add(store, "t1", "t2")
    key = store.layout.object("task", "t1")
    await store.client.call(TXN, TxnRequest(success=[delete(key)]), 5)
    with pytest.raises(conformance.PilothouseError, match="are not those of commit 1"):
        await cluster.store(prefix)
    await store.client.call(TXN, TxnRequest(success=[put(key, b"{}")]), 5)
    with pytest.raises(conformance.PilothouseError, match="cannot be read"):
        await cluster.store(prefix)
    await store.close()


async def test_errors_and_no_changes_are_told_of_the_newest_state(cluster, prefix):
    first, second = await cluster.store(prefix), await cluster.store(prefix)
    await add(first, "t")
    # The second manager may not have heard of it; what it answers must hold it all the same.
    found = await second.update(Writer.ORCHESTRATOR, lambda tx: [task.id for task in tx.find(Task)])
    assert found == ["t"]
    await first.update(Writer.ORCHESTRATOR, lambda tx: tx.put(replace(tx.get(Task, "t"), desired_reason="x")))
    with pytest.raises(ConflictError, match="at version 2"):
        await second.update(Writer.ORCHESTRATOR, lambda tx: tx.put(sample_task("t")))
    await first.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await first.update(Writer.ORCHESTRATOR, lambda tx: None)
    await second.close()


async def test_who_waits_for_a_read_is_told_when_the_store_ends(cluster, prefix):
    store = await cluster.store(prefix)

    async def never(*arguments, **options):
        await asyncio.Event().wait()

    store.client.call = never
    waiting = [asyncio.ensure_future(names(store)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting += [asyncio.ensure_future(names(store)) for _ in range(3)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await store.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in results] == [StoreUnavailableError] * 6
    with pytest.raises(StoreUnavailableError):
        await names(store)


async def test_a_store_whose_own_loop_died_says_so(cluster, prefix):
    store = await cluster.store(prefix)
    await add(store, "t")
    store._reader.look = None
    with pytest.raises(StoreUnavailableError):
        await names(store)
    await asyncio.wait([store._running], timeout=5)
    with pytest.raises(StoreUnavailableError, match="restart the server"):
        await names(store)
    with pytest.raises(StoreUnavailableError, match="restart the server"):
        store.check_alive()
    await store.close()


@pytest.mark.parametrize("what", ["commits", "signs"])
async def test_a_leader_that_is_not_confirmed_steps_down_by_itself(cluster, prefix, monkeypatch, what):
    monkeypatch.setattr(election, "HUNG_SECONDS", 0.5)
    monkeypatch.setattr(election, "DOUBT_SECONDS", 0.8)
    store = await cluster.store(prefix)
    term = await election.EtcdElection(store, CLOCK, IDS).lead("a")
    assert term.shown()
    call = store.client.call

    async def hanging(method, request, seconds, **options):
        writes = method is TXN and request.success and request.compare
        if writes if what == "commits" else method is LEASE_KEEP_ALIVE:
            await asyncio.sleep(0.05)
            raise QuorumLostError("the disk hangs")
        return await call(method, request, seconds, **options)

    store.client.call = hanging
    if what == "commits":
        with pytest.raises(QuorumLostError):
            await add(term.store, "t")
    async with asyncio.timeout(5):
        await term.over()
    assert not term.shown()
    store.client.call = call
    with pytest.raises(TermOverError):
        await add(term.store, "t")
    assert await names(store) == []
    await store.close()
