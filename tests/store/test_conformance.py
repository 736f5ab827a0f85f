"""Every store backend keeps the contract."""

import pytest

from pilothouse.model.states import Writer
from pilothouse.store import conformance
from pilothouse.store.memory import MemoryStore
from tests.store.backends import BACKENDS, KEPT, memory


@pytest.mark.parametrize("make", BACKENDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
async def test_store_keeps_the_contract(make, check):
    await conformance.run_check(make, check)


@pytest.mark.parametrize("make", BACKENDS, ids=lambda make: make.__name__)
async def test_a_reader_too_far_behind_is_cut_off(make):
    await conformance.run_check(make, lambda store: conformance.a_reader_too_far_behind_is_cut_off(store, KEPT))


async def test_check_store_runs_every_check():
    await conformance.check_store(memory, KEPT)


class Lawless(MemoryStore):
    """Takes every write for the orchestrator's."""

    async def update(self, writer, fn):
        return await super().update(Writer.ORCHESTRATOR, fn)


async def test_check_store_finds_a_store_that_forgets_the_law():
    async def lawless():
        return Lawless(keep=KEPT)

    with pytest.raises(AssertionError, match="nothing raised ForeignWriteError"):
        await conformance.run_check(lawless, conformance.the_law_of_ownership_is_enforced)
