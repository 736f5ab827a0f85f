"""Moving the state into etcd and back, and restoring into either: whole, compared, or not at all."""

import asyncio
import shutil
import tarfile

import pytest

from pilothouse.cli import moving
from pilothouse.cli.backend import MEMBER, REPLACED_MEMBER, open_backend, uses_members
from pilothouse.errors import ConflictError, InvalidRequestError, StoreCorruptError, StoreUnavailableError
from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.store import backup
from pilothouse.store.conformance import sample_task
from pilothouse.store.copy import read_directory
from pilothouse.store.directory import FILE, KEY, REPLACED
from pilothouse.store.etcd.install import read_whole
from pilothouse.store.etcd.layout import Layout
from pilothouse.store.etcd.member import Member, client_of, find_binary
from pilothouse.store.sqlite import SQLiteStore
from pilothouse.store.terms import LocalElection
from tests.store.cluster import CLOCK, IDS, Cluster, free_ports

pytestmark = pytest.mark.slow
ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/local/bin"}


@pytest.fixture
async def data(tmp_path):
    """A data directory with 30 objects in 32 commits, led for the third time; a member in it is ended at the end."""
    directory = tmp_path / "data"
    store = await SQLiteStore.open(directory)
    for _ in range(3):
        term = await LocalElection(store).lead("here")
        await term.resign()
    for number in range(31):
        await put(store, f"t{number:02}")
    await store.update(Writer.REAPER, lambda tx: tx.delete(tx.get(Task, "t30")))
    await store.close()
    (directory / KEY).write_bytes(b"k" * 32)
    yield directory
    for name in (MEMBER, REPLACED_MEMBER):
        await Member(directory / name, find_binary(ENVIRONMENT), CLOCK).stop()


@pytest.fixture
def place():
    peer, client = free_ports(2)
    return moving.Place(name="here", peer=f"127.0.0.1:{peer}", client=f"127.0.0.1:{client}")


@pytest.fixture
def mover(data):
    return moving.Mover(data, ENVIRONMENT, CLOCK, IDS)


def put(store, name):
    return store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(sample_task(name)))


async def opened(data):
    return await open_backend(data, CLOCK, IDS, ENVIRONMENT)


async def everything(store):
    return await store.view(lambda tx: (tx.revision, tx.find(Task))), await store.history(0, 1000)


async def test_the_state_moves_into_etcd_and_back_with_history_and_epoch(data, mover, place):
    backend = await opened(data)
    assert (backend.name, backend.shared) == ("sqlite", False)
    before = await everything(backend.store)
    await backend.store.close()
    moved = await mover.to_members(place)
    assert (moved.revision, moved.objects, moved.commits) == (32, 30, 32)
    assert uses_members(data)
    backend = await opened(data)
    assert (backend.name, backend.shared) == ("etcd", True)
    assert await everything(backend.store) == before
    term = await backend.election.lead("here")
    assert term.epoch == 4
    await put(term.store, "new")
    before = await everything(backend.store)
    await term.resign()
    await backend.store.close()
    with pytest.raises(ConflictError, match="already"):
        await mover.to_members(place)
    assert (await mover.to_file()).revision == 33
    backend = await opened(data)
    assert backend.name == "sqlite"
    assert await everything(backend.store) == before
    assert (await backend.election.lead("here")).epoch == 5
    assert await backend.store.check() == ""
    await backend.store.close()
    with pytest.raises(ConflictError, match="already"):
        await mover.to_file()


async def test_a_manager_that_still_runs_keeps_the_state_from_being_torn(data, mover, place):
    await mover.to_members(place)
    backend = await opened(data)
    member = Member(data / MEMBER, find_binary(ENVIRONMENT), CLOCK)
    client = client_of(member, CLOCK)
    _, read_at = await read_whole(client, Layout())
    await put(backend.store, "meanwhile")
    with pytest.raises(ConflictError, match="stop every manager"):
        await moving.say_moved(client, Layout(), read_at, "elsewhere")
    _, read_at = await read_whole(client, Layout())
    await moving.say_moved(client, Layout(), read_at, "elsewhere")
    with pytest.raises(StoreUnavailableError, match="was moved from here to elsewhere"):
        await put(backend.store, "too late")
    await client.close()
    await backend.store.close()
    with pytest.raises(StoreUnavailableError, match="was moved from here to elsewhere"):
        await opened(data)
    with pytest.raises(ConflictError, match="goes on there"):
        await mover.to_file()


async def test_a_move_out_of_etcd_that_is_interrupted_is_finished_when_it_is_repeated(data, mover, place, monkeypatch):
    await mover.to_members(place)
    said = moving.say_moved

    async def then_die(*arguments):
        await said(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(moving, "say_moved", then_die)
        with pytest.raises(KeyboardInterrupt):
            await mover.to_file()
    with pytest.raises(StoreUnavailableError, match="was moved from here"):
        await opened(data)
    assert (await mover.to_file()).objects == 30
    backend = await opened(data)
    assert (backend.name, len((await everything(backend.store))[1])) == ("sqlite", 32)
    await backend.store.close()


@pytest.mark.parametrize("step", ["write_whole", "_take_away"])
async def test_a_move_that_is_interrupted_has_changed_nothing_and_is_repeated(data, mover, place, monkeypatch, step):
    real = moving.write_whole

    async def half(client, layout, whole, clock, ids):
        await real(client, layout, whole, clock, ids)
        raise KeyboardInterrupt

    def never(self, database):
        database.close(clean=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if step == "write_whole":
            patched.setattr(moving, "write_whole", half)
        else:
            patched.setattr(moving.Mover, "_take_away", never)
        with pytest.raises(KeyboardInterrupt):
            await mover.to_members(place)
    backend = await opened(data)
    assert backend.name == "sqlite"
    await put(backend.store, "later")
    await backend.store.close()
    assert (await mover.to_members(place)).objects == 31
    backend = await opened(data)
    assert "later" in [task.id for task in await backend.store.view(lambda tx: tx.find(Task))]
    await backend.store.close()


async def test_a_member_that_lost_what_was_written_is_found_out(data, mover, place, monkeypatch):
    values = moving.write_whole.__globals__["_groups"]

    def losing(pairs):
        groups = list(values(pairs))
        groups[0].pop()
        return groups

    monkeypatch.setitem(moving.write_whole.__globals__, "_groups", losing)
    with pytest.raises(StoreCorruptError, match="does not hold what was written"):
        await mover.to_members(place)
    assert not uses_members(data)
    assert not (data / MEMBER).exists()


async def test_a_backup_of_etcd_is_restored_on_one_host_and_the_other_way_round(data, mover, place, tmp_path):
    await mover.to_members(place)
    backend = await opened(data)
    before = await everything(backend.store)
    await backend.keeping.backup(tmp_path / "backup")
    assert await backend.keeping.check() == ""
    await put(backend.store, "after the backup")
    await backend.store.close()
    backup.restore(tmp_path / "backup", tmp_path / "fresh")
    store = await SQLiteStore.open(tmp_path / "fresh")
    assert await everything(store) == before
    await store.close()
    with tarfile.open(tmp_path / "packed", "w") as tar:
        tar.add(tmp_path / "backup", backup.STORE_MEMBER)
        (tmp_path / "key").write_bytes(b"n" * 32)
        tar.add(tmp_path / "key", backup.KEY_MEMBER)
    with pytest.raises(InvalidRequestError, match="holds a state already"):
        await mover.restore(tmp_path / "packed", place, overwrite=False)
    await mover.restore(tmp_path / "packed", place, overwrite=True)
    assert (data / KEY).read_bytes() == b"n" * 32
    backend = await opened(data)
    assert (backend.name, await everything(backend.store)) == ("etcd", before)
    await backend.store.close()
    assert not (data / ".restoring").exists()


async def test_a_damaged_backup_replaces_nothing(data, mover, place, tmp_path):
    store = await SQLiteStore.open(data)
    await store.backup(tmp_path / "backup")
    await store.close()
    content = bytearray((tmp_path / "backup").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "backup").write_bytes(content)
    with pytest.raises(StoreCorruptError):
        await mover.restore(tmp_path / "backup", place, overwrite=True)
    whole, database = read_directory(data)
    database.close(clean=True)
    assert len(whole.objects) == 30


async def test_ten_thousand_objects_are_restored_in_less_than_a_minute(data, mover, place, tmp_path):
    store = await SQLiteStore.open(data)
    for start in range(0, 10_000, 1000):
        names = [f"many{start + number:05}" for number in range(1000)]
        await store.update(Writer.ORCHESTRATOR, lambda tx, names=names: [tx.put(sample_task(name)) for name in names])
    await store.backup(tmp_path / "backup")
    await store.close()
    begun = CLOCK.monotonic()
    restored = await mover.restore(tmp_path / "backup", place, overwrite=True)
    took = CLOCK.monotonic() - begun
    assert restored.objects == 10_030
    assert (data / REPLACED).exists()
    assert not (data / FILE).exists()
    assert took < 60.0, f"it took {took:.1f} s"
    backend = await opened(data)
    assert len(await backend.store.view(lambda tx: tx.find(Task))) == 10_030
    await backend.store.close()


async def test_a_restore_that_was_interrupted_between_two_renames_is_not_taken_for_an_empty_host(data, mover, place):
    await mover.to_members(place)
    await Member(data / MEMBER, find_binary(ENVIRONMENT), CLOCK).stop()
    (data / MEMBER).rename(data / REPLACED_MEMBER)
    with pytest.raises(StoreUnavailableError, match="interrupted"):
        await opened(data)


async def test_members_are_added_watched_and_removed(tmp_path):
    cluster = Cluster(1)
    try:
        await cluster.start()
        client = cluster.client([0])
        from pilothouse.store.etcd import membership

        fresh = cluster.further("m1")
        added = await membership.add(client, fresh.settings.url(fresh.settings.peer))
        assert await membership.add(client, fresh.settings.url(fresh.settings.peer)) == added
        (waiting,) = [each for each in await membership.status(client) if each.id == added]
        assert (waiting.learner, bool(waiting.trouble)) == (True, True)
        await fresh.ensure()
        async with asyncio.timeout(20):
            while not await membership.promote(client, added):
                await CLOCK.sleep(0.1)
        assert await membership.promote(client, added)
        found = await membership.status(client)
        assert [(each.name, each.learner, each.trouble) for each in found] == [("m0", False, ""), ("m1", False, "")]
        assert sum(each.leads for each in found) == 1
        assert all(each.version == "3.4.23" or each.version for each in found)
        said = [finding.message for finding in membership.findings(found)]
        assert any("survive the loss of no more" in text for text in said)
        await cluster.kill(1)
        with pytest.raises(Exception, match="did not answer"):
            await membership.remove(client, added)
        await fresh.ensure()
        await cluster.answers()
        await membership.remove(client, added)
        await membership.remove(client, added)
        assert len(await membership.status(client)) == 1
        await client.close()
    finally:
        await cluster.close()
        shutil.rmtree(tmp_path, ignore_errors=True)
