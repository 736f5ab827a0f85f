"""Concurrent operations on a few objects of a store, recorded, while somebody else breaks things."""

import asyncio
import random

from msgspec.structs import replace

from pilothouse.errors import ConflictError, StoreUnavailableError
from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.store.conformance import sample_task
from tests.linearizability import AppendList, History, Register

PER_OBJECT = 60
"""So many operations are done to one object before the next takes its place: histories stay short."""


class StaleError(Exception):
    """A read said by itself that it may be old."""


def model_of(key):
    """Return the model of an object by its name."""
    return AppendList if key.startswith("list") else Register


class Load:
    """Clients of several stores that share one state.

    Attributes:
        history: What they did.
        stale: How many reads were flagged.
    """

    def __init__(self, stores, seed):
        self.history = History(asyncio.get_running_loop().time)
        self.stale = 0
        self._stores = stores
        self._chance = random.Random(seed)
        self._count = 0

    async def run(self, clients, until):
        """Have so many clients work on until *until* is set."""
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._client(number, until))

    async def _client(self, number, until):
        while not until.is_set():
            store = self._chance.choice(self._stores)
            await self.one(store, f"client {number}")
            await asyncio.sleep(self._chance.random() * 0.01)

    async def one(self, store, by):
        """Do one operation."""
        self._count += 1
        kind = self._chance.choice(["register", "register", "list"])
        key = f"{kind} {self._count // (3 * PER_OBJECT)}"
        what, argument, work = self._chosen(kind, key, store)
        try:
            await self.history.record(
                key, what, argument, work, lost=StoreUnavailableError, refused=(ConflictError, StaleError), by=by
            )
        finally:
            work.close()

    def _chosen(self, kind, key, store):
        read = self._chance.random() < 0.5
        if read:
            return "read", None, self._read(store, key, as_list=kind == "list")
        if kind == "list":
            item = self._count
            return "append", item, self._change(store, key, lambda now: f"{now},{item}" if now else str(item))
        if self._chance.random() < 0.5:
            value = str(self._count)
            return "write", value, self._change(store, key, lambda now: value)
        old, new = str(self._chance.randrange(max(0, self._count - 30), self._count)), str(self._count)
        return "cas", (old, new), self._swap(store, key, old, new)

    async def _read(self, store, key, *, as_list):
        before = getattr(store, "stale_reads", 0)
        found = await store.view(lambda tx: tx.get(Task, key))
        if getattr(store, "stale_reads", 0) != before:
            self.stale += 1
            raise StaleError
        value = None if found is None else found.desired_reason
        if as_list:
            return tuple(map(int, value.split(","))) if value else ()
        return value or None

    async def _change(self, store, key, to):
        def change(tx):
            task = tx.get(Task, key) or tx.put(sample_task(key))
            tx.put(replace(task, desired_reason=to(task.desired_reason)))

        await store.update(Writer.ORCHESTRATOR, change)

    async def _swap(self, store, key, old, new):
        def change(tx):
            task = tx.get(Task, key)
            if task is None or task.desired_reason != old:
                return False
            tx.put(replace(task, desired_reason=new))
            return True

        return await store.update(Writer.ORCHESTRATOR, change)
