"""What every election must do, as checks any backend's tests can run.

Whoever tests a backend gives a `Group`: managers that share one state, one of which can be silenced, which is what the
others notice of a process that was stopped or cut off. A silenced manager's own code runs on, as a stopped process's
does once it is woken.
"""

# ruff: noqa: D103 - the name of a check is its sentence

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from pilothouse.errors import TermOverError
from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.store.conformance import sample_task
from pilothouse.store.interface import Election, Store, WriteTx

DEADLINE_SECONDS = 30.0
AT_ONCE_SECONDS = 1.0


class Manager(Protocol):
    """One process that has the state open."""

    @property
    def store(self) -> Store:
        """The store, of no term."""
        ...

    @property
    def election(self) -> Election:
        """Where it can stand."""
        ...


class Group(Protocol):
    """Managers that share one state, which is empty at first."""

    async def join(self) -> Manager:
        """Start one more manager; where one process at a time may have the state, the others are silenced already."""
        ...

    async def silence(self, manager: Manager) -> None:
        """Have the others hear nothing of *manager* any more; return at once."""
        ...

    async def close(self) -> None:
        """End all of them and remove the state."""
        ...


MakeGroup = Callable[[], Awaitable[Group]]
Check = Callable[[Group], Awaitable[None]]


async def check_election(make: MakeGroup) -> None:
    """Run every check, each on a fresh group."""
    for check in CHECKS:
        await run_check(make, check)


async def run_check(make: MakeGroup, check: Check) -> None:
    """Run one check on a group of its own, within a deadline."""
    group = await make()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await check(group)
    finally:
        await group.close()


async def _put(store: Store, id: str) -> Task:
    return await store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(sample_task(id)))


async def _names(store: Store) -> list[str]:
    return await store.view(lambda tx: [task.id for task in tx.find(Task)])


async def _refused(attempt: Awaitable[object]) -> None:
    try:
        await attempt
    except TermOverError:
        return
    raise AssertionError("a term that is over wrote")


async def a_leader_writes_and_is_known(group: Group) -> None:
    manager = await group.join()
    assert await manager.election.leader() is None
    term = await manager.election.lead("a")
    await _put(term.store, "t1")
    assert await _names(term.store) == await _names(manager.store) == ["t1"]
    found = await manager.election.leader()
    assert found is not None
    assert (found.name, found.epoch) == ("a", term.epoch)
    assert term.shown()


async def one_leads_at_a_time(group: Group) -> None:
    manager = await group.join()
    first = await manager.election.lead("a")
    async with asyncio.TaskGroup() as tasks:
        second = tasks.create_task(manager.election.lead("b"))
        done, _ = await asyncio.wait([second], timeout=0.2)
        assert not done
        await _put(first.store, "t1")
        await first.resign()
    assert second.result().epoch > first.epoch


async def resigning_hands_over_at_once(group: Group) -> None:
    manager = await group.join()
    first = await manager.election.lead("a")
    async with asyncio.TaskGroup() as tasks:
        second = tasks.create_task(manager.election.lead("b"))
        await asyncio.sleep(0)
        await first.resign()
        async with asyncio.timeout(AT_ONCE_SECONDS):
            await first.over()
            await second
    await _refused(_put(first.store, "t1"))
    await _put(second.result().store, "t2")
    assert await _names(manager.store) == ["t2"]


async def a_candidate_can_withdraw(group: Group) -> None:
    manager = await group.join()
    first = await manager.election.lead("a")
    async with asyncio.TaskGroup() as tasks:
        second = tasks.create_task(manager.election.lead("b"))
        await asyncio.sleep(0)
        second.cancel()
    await first.resign()
    third = await manager.election.lead("c")
    assert third.epoch > first.epoch
    await _put(third.store, "t1")


async def a_term_without_a_leader_writes_nothing(group: Group) -> None:
    manager = await group.join()
    term = await manager.election.lead("a")
    await term.resign()
    assert not term.shown()
    assert await manager.election.leader() is None
    await _refused(_put(term.store, "t1"))
    await _put(manager.store, "t2")
    assert await _names(manager.store) == ["t2"]


async def epochs_grow_over_terms_and_managers(group: Group) -> None:
    epochs = []
    manager = await group.join()
    for _ in range(2):
        term = await manager.election.lead("a")
        epochs.append(term.epoch)
        await term.resign()
    await group.silence(manager)
    term = await (await group.join()).election.lead("a")
    epochs.append(term.epoch)
    assert epochs == sorted(set(epochs))


async def a_leader_that_was_asleep_writes_nothing(group: Group) -> None:
    stale = await group.join()
    old = await stale.election.lead("a")
    await _put(old.store, "t1")
    await group.silence(stale)
    other = await group.join()
    new = await other.election.lead("b")
    await _put(new.store, "t2")
    revision = await other.store.view(lambda tx: tx.revision)

    def change(tx: WriteTx) -> None:
        task = tx.get(Task, "t1")
        assert task is not None
        tx.put(msgspec.structs.replace(task, desired_reason="by the old leader"))
        tx.put(sample_task("t3"))

    for _ in range(3):
        await _refused(old.store.update(Writer.ORCHESTRATOR, change))
    await old.over()
    assert not old.shown()
    assert await _names(other.store) == ["t1", "t2"]
    assert await other.store.view(lambda tx: tx.revision) == revision
    assert len(await other.store.history(0, 10)) == revision
    assert "t3" not in await _names(stale.store)
    await _put(new.store, "t4")
    assert [commit.writer for commit in await other.store.history(revision, 10)] == [Writer.ORCHESTRATOR]


CHECKS: tuple[Check, ...] = (
    a_leader_writes_and_is_known,
    one_leads_at_a_time,
    resigning_hands_over_at_once,
    a_candidate_can_withdraw,
    a_term_without_a_leader_writes_nothing,
    epochs_grow_over_terms_and_managers,
    a_leader_that_was_asleep_writes_nothing,
)
