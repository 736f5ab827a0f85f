"""What every store must do, as checks any backend's tests can run.

A new backend is done when `check_store` passes on it and, if it claims to be durable, when what is left after every
kind of crash passes `store.crashes.check_survival`. Third parties import this module too.
"""

# ruff: noqa: D103 - the name of a check is its sentence

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing

import msgspec

from pilothouse.errors import (
    ConflictError,
    ForeignWriteError,
    InvalidTransitionError,
    PilothouseError,
    ProgrammingError,
    StoreUnavailableError,
    WatchLostError,
)
from pilothouse.model.base import Object
from pilothouse.model.container import ContainerSpec
from pilothouse.model.node import Node
from pilothouse.model.objects import App, ResolvedImage, Task
from pilothouse.model.spec import AppSpec, TaskSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.interface import Commit, ReadTx, Store, StoreFactory, WriteTx
from pilothouse.store.watch import KEPT_COMMITS

DEADLINE_SECONDS = 10.0
Check = Callable[[Store], Awaitable[None]]


def sample_task(id: str, service: str = "web", app: str = "shop") -> Task:
    """Return a new task that no store holds yet."""
    return Task(
        id=id,
        app=app,
        service=service,
        slot=1,
        spec=TaskSpec(container=ContainerSpec(image="web", environment={"GREETING": "grüß 🚢"})),
        image=ResolvedImage(ref="web", id="sha256:0"),
        fingerprint="f",
    )


async def check_store(make: StoreFactory, kept: int = KEPT_COMMITS) -> None:
    """Run every check, each on a fresh store.

    Args:
        make: Gives an empty store.
        kept: How many commits a store made by *make* keeps.
    """
    for check in CHECKS:
        await run_check(make, check)
    await run_check(make, lambda store: a_reader_too_far_behind_is_cut_off(store, kept))


async def run_check(make: StoreFactory, check: Check) -> None:
    """Run one check on a store of its own, within a deadline."""
    store = await make()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await check(store)
    finally:
        await store.close()


async def _create(store: Store, *tasks: Task) -> None:
    await store.update(Writer.ORCHESTRATOR, lambda tx: [tx.put(task) for task in tasks])


async def _task(store: Store, id: str) -> Task | None:
    return await store.view(lambda tx: tx.get(Task, id))


async def _move(store: Store, id: str, writer: Writer, **fields: object) -> Task:
    def change(tx: WriteTx) -> Task:
        task = tx.get(Task, id)
        assert task is not None
        return tx.put(msgspec.structs.replace(task, **fields))

    return await store.update(writer, change)


async def _refused(error: type[PilothouseError], attempt: Awaitable[object]) -> None:
    try:
        await attempt
    except error:
        return
    raise AssertionError(f"nothing raised {error.__name__}")


def _watching(store: Store, since: int) -> AbstractAsyncContextManager[AsyncIterator[Commit]]:
    return aclosing(store.watch(since))  # type: ignore[type-var]  # an asynchronous generator, in every backend


async def _next(store: Store, since: int) -> Commit:
    async with _watching(store, since) as watch:
        return await anext(watch)


async def what_was_written_is_read_back(store: Store) -> None:
    task = sample_task("t1")
    stored = await store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(task))
    assert stored == msgspec.structs.replace(task, version=1)
    assert await _task(store, "t1") == stored
    assert await store.view(lambda tx: tx.revision) == 1
    assert await _task(store, "t2") is None
    assert await store.view(lambda tx: tx.get(Node, "t1")) is None


async def finding_compares_every_field_and_orders_by_id(store: Store) -> None:
    await _create(store, sample_task("t3"), sample_task("t1"), sample_task("t2", "db"), sample_task("t4", app="b"))

    def ids(tx: ReadTx, **fields: object) -> list[str]:
        return [task.id for task in tx.find(Task, **fields)]

    assert await store.view(ids) == ["t1", "t2", "t3", "t4"]
    assert await store.view(lambda tx: ids(tx, app="shop")) == ["t1", "t2", "t3"]
    assert await store.view(lambda tx: ids(tx, app="shop", service="web")) == ["t1", "t3"]
    assert await store.view(lambda tx: ids(tx, service_id="shop/db")) == ["t2"]
    assert await store.view(lambda tx: ids(tx, state=TaskState.NEW, slot=1)) == ["t1", "t2", "t3", "t4"]
    assert await store.view(lambda tx: ids(tx, app="none")) == []


async def finding_follows_changes(store: Store) -> None:
    await _create(store, sample_task("t1"), sample_task("t2"))
    await _move(store, "t1", Writer.RESOURCES, state=TaskState.PENDING)
    await _move(store, "t1", Writer.SCHEDULER, state=TaskState.ASSIGNED, node_id="n1")

    def on_node(tx: ReadTx, node: str) -> list[str]:
        return [task.id for task in tx.find(Task, node_id=node)]

    assert await store.view(lambda tx: (on_node(tx, ""), on_node(tx, "n1"))) == (["t2"], ["t1"])
    task = await _task(store, "t1")
    assert task is not None
    await store.update(Writer.REAPER, lambda tx: tx.delete(task))
    assert await store.view(lambda tx: (on_node(tx, ""), on_node(tx, "n1"))) == (["t2"], [])


async def writes_are_visible_inside_their_transaction(store: Store) -> None:
    def change(tx: WriteTx) -> tuple[int, list[str], Task | None]:
        stored = tx.put(sample_task("t1"))
        again = tx.put(msgspec.structs.replace(stored, desired_reason="because"))
        return again.version, [task.id for task in tx.find(Task, app="shop")], tx.get(Task, "t1")

    version, found, read = await store.update(Writer.ORCHESTRATOR, change)
    assert (version, found) == (1, ["t1"])
    assert read is not None
    assert read.desired_reason == "because"


async def all_of_a_commit_has_one_revision(store: Store) -> None:
    await _create(store, sample_task("t1"), sample_task("t2"))
    assert await store.view(lambda tx: [task.version for task in tx.find(Task)]) == [1, 1]


async def a_stale_write_conflicts(store: Store) -> None:
    await _create(store, sample_task("t1"))
    stale = await _task(store, "t1")
    assert stale is not None
    await _move(store, "t1", Writer.ORCHESTRATOR, desired_reason="newer")
    changed = msgspec.structs.replace(stale, desired_reason="older")
    await _refused(ConflictError, store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(changed)))
    await _refused(ConflictError, store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(stale)))
    await _refused(ConflictError, store.update(Writer.REAPER, lambda tx: tx.delete(stale)))
    await _refused(ConflictError, store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(sample_task("t1"))))
    gone = msgspec.structs.replace(sample_task("t9"), version=1)
    await _refused(ConflictError, store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(gone)))
    await _refused(ConflictError, store.update(Writer.REAPER, lambda tx: tx.delete(sample_task("t9"))))
    assert await store.view(lambda tx: tx.revision) == 2


async def writing_an_equal_object_is_no_change(store: Store) -> None:
    await _create(store, sample_task("t1"))
    stored = await _task(store, "t1")
    assert stored is not None
    same = msgspec.structs.replace(stored, desired_reason="")
    assert await store.update(Writer.GOVERNANCE, lambda tx: tx.put(same)) == stored
    assert await store.view(lambda tx: tx.revision) == 1
    assert len(await store.history(0, 10)) == 1


async def a_failed_update_leaves_no_trace(store: Store) -> None:
    await _create(store, sample_task("t1"), sample_task("t2"))

    def write_then_fail(tx: WriteTx) -> None:
        task = tx.get(Task, "t1")
        assert task is not None
        tx.put(msgspec.structs.replace(task, desired_reason="never"))
        tx.put(sample_task("t3"))
        raise ZeroDivisionError

    try:
        await store.update(Writer.ORCHESTRATOR, write_then_fail)
    except ZeroDivisionError:
        pass
    else:
        raise AssertionError("the error of the function was lost")
    assert await store.view(lambda tx: [(t.id, t.version, t.desired_reason) for t in tx.find(Task, app="shop")]) == [
        ("t1", 1, ""),
        ("t2", 1, ""),
    ]
    assert await store.view(lambda tx: tx.revision) == 1
    assert len(await store.history(0, 10)) == 1


async def the_law_of_ownership_is_enforced(store: Store) -> None:
    foreign = store.update(Writer.SCHEDULER, lambda tx: tx.put(sample_task("t1")))
    await _refused(ForeignWriteError, foreign)
    await _create(store, sample_task("t1"))
    await _refused(ForeignWriteError, _move(store, "t1", Writer.SCHEDULER, desired_reason="mine"))
    await _refused(InvalidTransitionError, _move(store, "t1", Writer.AGENT, state=TaskState.RUNNING))
    task = await _task(store, "t1")
    assert task is not None
    await _refused(ForeignWriteError, store.update(Writer.ORCHESTRATOR, lambda tx: tx.delete(task)))
    await _refused(ForeignWriteError, store.update(Writer.API, lambda tx: tx.put(Object(id="x"))))
    assert await store.view(lambda tx: tx.revision) == 1


async def a_transaction_is_useless_after_its_function(store: Store) -> None:
    kept: list[ReadTx] = []
    await store.view(kept.append)
    await store.update(Writer.API, kept.append)
    for tx in kept:
        try:
            tx.find(Task)
        except ProgrammingError:
            continue
        raise AssertionError("a transaction outlived its function")


async def a_kept_view_stays_as_it_was(store: Store) -> None:
    await _create(store, sample_task("a"))
    kept = await store.view(lambda tx: tx.kept())
    await _create(store, sample_task("b"))
    there = await asyncio.to_thread(lambda: [task.id for task in kept.find(Task, app="shop")])
    assert (there, kept.revision, kept.get(Task, "b")) == (["a"], 1, None)


async def concurrent_updates_are_serial(store: Store) -> None:
    await _create(store, sample_task("t1"))

    def add_one(tx: WriteTx) -> int:
        task = tx.get(Task, "t1")
        assert task is not None
        count = int(task.desired_reason or "0") + 1
        tx.put(msgspec.structs.replace(task, desired_reason=str(count)))
        return count

    async with asyncio.TaskGroup() as group:
        adding = [group.create_task(store.update(Writer.ORCHESTRATOR, add_one)) for _ in range(100)]
    assert sorted(each.result() for each in adding) == list(range(1, 101))
    task = await _task(store, "t1")
    assert task is not None
    assert (task.desired_reason, task.version) == ("100", 101)


async def a_watch_sees_every_commit_once_and_in_order(store: Store) -> None:
    async with _watching(store, 0) as watch:
        await _create(store, sample_task("t1"), sample_task("t2"))
        first = await anext(watch)
        await _move(store, "t1", Writer.RESOURCES, state=TaskState.PENDING)
        second = await anext(watch)
    assert (first.revision, first.writer) == (1, Writer.ORCHESTRATOR)
    assert [change.before for change in first.changes] == [None, None]
    assert [change.object.id for change in first.changes] == ["t1", "t2"]
    assert (second.revision, second.writer) == (2, Writer.RESOURCES)
    (change,) = second.changes
    assert change.before == first.changes[0].after
    assert change.after == await _task(store, "t1")
    assert await _next(store, 1) == second


async def a_watch_sees_deletions(store: Store) -> None:
    await _create(store, sample_task("t1"))
    task = await _task(store, "t1")
    assert task is not None
    await store.update(Writer.REAPER, lambda tx: tx.delete(task))
    (change,) = (await _next(store, 1)).changes
    assert (change.before, change.after) == (task, None)


async def a_snapshot_and_a_watch_from_it_miss_nothing(store: Store) -> None:
    begun, seen = asyncio.Event(), list[str]()

    async def write() -> None:
        for number in range(30):
            await _create(store, sample_task(f"t{number:02}"))
            if number == 10:
                begun.set()
            await asyncio.sleep(0)

    async def follow() -> None:
        await begun.wait()
        tasks, revision = await store.view(lambda tx: (tx.find(Task), tx.revision))
        seen.extend(task.id for task in tasks)
        async with _watching(store, revision) as watch:
            while len(seen) < 30:
                seen.extend(change.object.id for change in (await anext(watch)).changes)

    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        group.create_task(write())
    assert seen == [f"t{number:02}" for number in range(30)]


async def a_commit_is_visible_to_its_author_at_once(store: Store) -> None:
    for number in range(10):
        await _create(store, sample_task(f"t{number}"))
        assert await _task(store, f"t{number}") is not None
        assert (await store.history(number, 10))[0].changes[0].object.id == f"t{number}"


async def history_is_what_watches_saw(store: Store) -> None:
    for number in range(5):
        await _create(store, sample_task(f"t{number}"))
    assert [commit.revision for commit in await store.history(0, 100)] == [1, 2, 3, 4, 5]
    assert [commit.revision for commit in await store.history(1, 2)] == [2, 3]
    assert await store.history(5, 10) == ()
    assert await store.history(9, 10) == ()
    assert (await store.history(2, 1))[0] == await _next(store, 2)
    times = [commit.at for commit in await store.history(0, 100)]
    assert times == sorted(times)


async def a_watch_from_the_future_is_refused(store: Store) -> None:
    await _create(store, sample_task("t1"))
    await _refused(WatchLostError, _next(store, 7))


async def closing_ends_watches_and_refuses_writes(store: Store) -> None:
    app = App(id="shop", spec=AppSpec(name="shop"))
    await store.update(Writer.API, lambda tx: tx.put(app))
    begun, seen = asyncio.Event(), list[int]()

    async def follow() -> None:
        async for commit in store.watch(0):
            begun.set()
            seen.append(commit.revision)

    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        await begun.wait()
        await store.close()
    assert seen == [1]
    await _refused(StoreUnavailableError, store.update(Writer.API, lambda tx: tx.put(App(id="b", spec=app.spec))))
    await store.close()


async def a_reader_too_far_behind_is_cut_off(store: Store, kept: int) -> None:
    async with _watching(store, 0) as watch:
        await _create(store, sample_task("t"))
        await anext(watch)
        async with asyncio.TaskGroup() as group:
            for number in range(2 * kept + 2):
                group.create_task(_create(store, sample_task(f"t{number}")))
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
        while (await store.history(0, 1))[0].revision <= 2:
            assert asyncio.get_running_loop().time() < deadline, "old commits are kept for ever"
            await asyncio.sleep(0)
        await _refused(WatchLostError, _drain(watch))
    newest = await store.view(lambda tx: tx.revision)
    assert (await _next(store, newest - kept)).revision == newest - kept + 1


async def _drain(watch: AsyncIterator[Commit]) -> None:
    async for _ in watch:
        await asyncio.sleep(0)


CHECKS: tuple[Check, ...] = (
    what_was_written_is_read_back,
    finding_compares_every_field_and_orders_by_id,
    finding_follows_changes,
    writes_are_visible_inside_their_transaction,
    all_of_a_commit_has_one_revision,
    a_stale_write_conflicts,
    writing_an_equal_object_is_no_change,
    a_failed_update_leaves_no_trace,
    the_law_of_ownership_is_enforced,
    a_transaction_is_useless_after_its_function,
    a_kept_view_stays_as_it_was,
    concurrent_updates_are_serial,
    a_watch_sees_every_commit_once_and_in_order,
    a_watch_sees_deletions,
    a_snapshot_and_a_watch_from_it_miss_nothing,
    a_commit_is_visible_to_its_author_at_once,
    history_is_what_watches_saw,
    a_watch_from_the_future_is_refused,
    closing_ends_watches_and_refuses_writes,
)
