"""What takes long to reckon is reckoned beside the loop, on the store as it was at the question."""

import asyncio
import threading

import pytest

from pilothouse.errors import NotFoundError
from pilothouse.model.node import Node
from pilothouse.model.states import Writer
from pilothouse.server import aside
from pilothouse.server.aside import reckon
from pilothouse.store.memory import MemoryStore


async def store_of(nodes):
    store = MemoryStore()
    await store.update(Writer.AGENT, lambda tx: [tx.put(Node(id=f"n{each:04}")) for each in range(nodes)])
    return store


async def test_others_are_answered_and_may_write_while_much_is_reckoned():
    store = await store_of(aside.FEW + 1)
    begun, go_on = threading.Event(), threading.Event()

    def long(tx):
        begun.set()
        assert go_on.wait(10)
        return len(tx.find(Node)), tx.get(Node, "late")

    reckoning = asyncio.create_task(reckon(store, long))
    assert await asyncio.to_thread(begun.wait, 10)
    await store.update(Writer.AGENT, lambda tx: tx.put(Node(id="late")))
    assert await store.view(lambda tx: tx.get(Node, "late")) is not None
    go_on.set()
    assert await reckoning == (aside.FEW + 1, None)


@pytest.mark.parametrize("nodes", [1, aside.FEW + 1])
async def test_the_answer_and_the_refusal_are_the_same_where_there_is_little_and_where_there_is_much(nodes):
    store = await store_of(nodes)
    assert await reckon(store, lambda tx: len(tx.find(Node))) == nodes

    def refuse(_tx):
        raise NotFoundError("there is no such node")

    with pytest.raises(NotFoundError, match="no such node"):
        await reckon(store, refuse)
