"""Managers that share one state, for each backend: what `conformance_leadership` is run on."""

import pathlib
import shutil
import tempfile
from dataclasses import dataclass

from pilothouse.store.directory import LOCK
from pilothouse.store.interface import Election, Store
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SQLiteStore
from pilothouse.store.terms import LocalElection


@dataclass
class Member:
    store: Store
    election: Election


class MemoryGroup:
    """Simulated managers: one memory, one election."""

    def __init__(self):
        self._member = Member(store := MemoryStore(), LocalElection(store))

    async def join(self):
        return self._member

    async def silence(self, manager):
        manager.election.depose()

    async def close(self):
        await self._member.store.close()


class SQLiteGroup:
    """Processes that open one file one after the other, although the one before has not ended."""

    def __init__(self):
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="ph-store-"))
        self._members = []

    async def join(self):
        store = await SQLiteStore.open(self._directory)
        self._members.append(store)
        return Member(store, LocalElection(store))

    async def silence(self, manager):
        # Somebody takes the lock of a process that lives for one of a process that died.
        (self._directory / LOCK).unlink()

    async def close(self):
        for store in reversed(self._members):
            await store.close()
        shutil.rmtree(self._directory)


async def memory_group():
    return MemoryGroup()


async def sqlite_group():
    return SQLiteGroup()


GROUPS = [memory_group, sqlite_group]
