"""One host's store and its format: kept by each version, raised after a copy, refused to who does not read it."""

import pytest
from msgspec.structs import replace

from pilothouse.clock import SystemClock
from pilothouse.control.nodes.raising import number_now
from pilothouse.errors import NotYetError, SkewError
from pilothouse.model import format as formats
from pilothouse.model.format import FORMAT_ID, Format
from pilothouse.model.node import Node, NodeDescription, NodeState
from pilothouse.model.states import Writer
from pilothouse.store import transaction
from pilothouse.store.backup import restore
from pilothouse.store.conformance import sample_task
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SQLiteStore

NEW = {2: {"NodeDescription.address": "", "NodeState.SUSPECT": "READY", "Node.role": "", "Task": ""}}


@pytest.fixture
def version(monkeypatch):
    """Return what makes this process one of the version that knows a format."""

    def become(number):
        monkeypatch.setattr(formats, "FORMAT", number)
        monkeypatch.setattr(transaction, "FORMAT", number)
        for each, brought in NEW.items():
            monkeypatch.setitem(formats.NEW, each, brought)

    return become


def node(**fields):
    return Node(id="n1", description=NodeDescription(kernel="6"), **fields)


async def write(store, writer=Writer.AGENT, **fields):
    return await store.update(writer, lambda tx: tx.put(replace(tx.get(Node, "n1") or node(), **fields)))


async def raise_to(store, number):
    await store.update(Writer.NODES, lambda tx: tx.put(Format(id=FORMAT_ID, number=number)))


async def test_until_the_format_is_raised_a_newer_version_writes_what_an_older_one_knows(version):
    store = MemoryStore()
    await write(store)
    version(2)
    about = NodeDescription(kernel="7", address="10.0.0.1")
    assert (await write(store, description=about)).description == NodeDescription(kernel="7")
    before = await store.view(lambda tx: tx.revision)
    assert (await write(store, Writer.NODES, state=NodeState.SUSPECT)).state is NodeState.READY
    await write(store, description=about)
    assert await store.view(lambda tx: tx.revision) == before + 1  # what comes to the same is no change
    with pytest.raises(NotYetError, match=r"Node\.role"):
        await write(store, Writer.API, role="agent")
    with pytest.raises(NotYetError, match="Task"):
        await store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(sample_task("t1")))
    await raise_to(store, 2)
    assert (await write(store, description=about)).description == about
    assert (await write(store, Writer.API, role="agent")).role == "agent"


async def test_a_store_is_refused_to_who_does_not_read_its_format(version, tmp_path):
    store = await SQLiteStore.open(tmp_path)
    await write(store)
    await store.close()
    version(3)
    with pytest.raises(SkewError, match="has format 1, and this version of Pilothouse reads 2 and 3"):
        await SQLiteStore.open(tmp_path)
    version(2)
    store = await SQLiteStore.open(tmp_path)
    await store.backup(tmp_path / "before.backup")
    await raise_to(store, 2)
    await write(store, description=NodeDescription(address="10.0.0.1"))
    await store.close()
    version(1)
    with pytest.raises(SkewError, match="has format 2, and this version of Pilothouse reads up to 1"):
        await SQLiteStore.open(tmp_path)
    # The one way back, with what the refused version left behind.
    restore(tmp_path / "before.backup", tmp_path, overwrite=True)
    store = await SQLiteStore.open(tmp_path, SystemClock())
    assert await store.view(number_now) == 1
    assert (await store.view(lambda tx: tx.get(Node, "n1"))).description.kernel == "6"
    await store.close()


async def test_a_new_store_has_the_newest_format_from_its_first_commit(version, tmp_path):
    version(3)
    store = await SQLiteStore.open(tmp_path)
    assert await store.view(number_now) == 3
    await write(store, description=NodeDescription(address="10.0.0.1"))
    assert [each.number for each in await store.view(lambda tx: tx.find(Format))] == [3]
    await store.close()
    store = await SQLiteStore.open(tmp_path)
    assert await store.view(number_now) == 3
    assert (await store.view(lambda tx: tx.get(Node, "n1"))).description.address == "10.0.0.1"
    await store.close()
