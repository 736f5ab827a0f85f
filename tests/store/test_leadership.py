"""Every election keeps the contract, and a store's own terms are safe across processes."""

import asyncio

import pytest

from pilothouse.errors import TermOverError
from pilothouse.model.states import Writer
from pilothouse.store.conformance import sample_task
from pilothouse.store.conformance_leadership import CHECKS, run_check
from pilothouse.store.directory import LOCK
from pilothouse.store.sqlite import SQLiteStore
from pilothouse.store.terms import LocalElection
from tests.store.groups import GROUPS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", GROUPS, ids=lambda make: make.__name__)
async def test_an_election_keeps_the_contract(make, check):
    await run_check(make, check)


async def test_a_process_whose_file_was_taken_over_writes_nothing_in_no_term_either(tmp_path):
    first = await SQLiteStore.open(tmp_path)
    term = await LocalElection(first).lead("a")
    (tmp_path / LOCK).unlink()
    second = await SQLiteStore.open(tmp_path)
    await LocalElection(second).lead("b")
    waiting = [
        first.update(Writer.ORCHESTRATOR, lambda tx, name=name: tx.put(sample_task(name))) for name in ("t1", "t2")
    ]
    refused = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in refused] == [TermOverError, TermOverError]
    await term.over()
    with pytest.raises(TermOverError, match="began term 2"):
        await first.raise_epoch("a")
    await second.update(Writer.ORCHESTRATOR, lambda tx: tx.put(sample_task("t3")))
    await first.close()
    await second.close()
    third = await SQLiteStore.open(tmp_path)
    assert await third.view(lambda tx: tx.revision) == 1
    assert (await LocalElection(third).lead("c")).epoch == 3
    await third.close()


async def test_a_term_that_ended_in_the_middle_of_a_commit_keeps_what_was_acknowledged(tmp_path):
    store = await SQLiteStore.open(tmp_path)
    term = await LocalElection(store).lead("a")

    async def write(number):
        try:
            await term.store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(sample_task(f"t{number:02}")))
        except TermOverError:
            return None
        return number

    async with asyncio.TaskGroup() as group:
        writing = [group.create_task(write(number)) for number in range(10)]
        await asyncio.sleep(0)
        await term.resign()
        late = [group.create_task(write(number)) for number in range(10, 20)]
    assert [each.result() for each in (*writing, *late)] == [*range(10), *[None] * 10]
    await store.close()
    store = await SQLiteStore.open(tmp_path)
    assert await store.view(lambda tx: tx.revision) == 10
    await store.close()
