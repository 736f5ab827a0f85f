"""The embedded store: what it keeps over a restart, what it refuses, and how it fails."""

import asyncio
import os
import random
import shutil
import sqlite3
import stat

import msgspec
import pytest

from pilothouse.errors import InvalidRequestError, StoreCorruptError, StoreFullError, StoreUnavailableError
from pilothouse.model.node import Node, NodeSpec
from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.store import database
from pilothouse.store.conformance import sample_task
from pilothouse.store.sqlite import SQLiteStore


def put(store, *tasks):
    return store.update(Writer.ORCHESTRATOR, lambda tx: [tx.put(task) for task in tasks])


def tasks(store):
    return store.view(lambda tx: [task.id for task in tx.find(Task)])


async def filled(directory, count=5, **options):
    store = await SQLiteStore.open(directory, **options)
    for number in range(count):
        await put(store, sample_task(f"t{number}"))
    return store


def edit(directory, statement, *values):
    connection = sqlite3.connect(directory / database.FILE)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


async def test_everything_acknowledged_is_there_after_a_restart(tmp_path):
    store = await filled(tmp_path / "data")
    before = await store.view(lambda tx: (tx.revision, tx.find(Task)))
    history = await store.history(0, 100)
    await store.close()
    store = await SQLiteStore.open(tmp_path / "data")
    assert await store.view(lambda tx: (tx.revision, tx.find(Task))) == before
    assert await store.history(0, 100) == history
    watch = store.watch(3)
    assert [await anext(watch), await anext(watch)] == list(history[3:])
    await put(store, sample_task("t9"))
    assert (await anext(watch)).revision == 6
    await watch.aclose()
    await store.close()


async def test_old_commits_are_forgotten_also_on_disk(tmp_path):
    store = await filled(tmp_path, 60, keep=10)
    await store.close()
    store = await SQLiteStore.open(tmp_path, keep=10)
    assert [commit.revision for commit in await store.history(0, 100)] == list(range(51, 61))
    await put(store, sample_task("x"))
    connection = sqlite3.connect(store.path)
    deadline = asyncio.get_running_loop().time() + 5
    while connection.execute("SELECT min(revision) FROM commits").fetchone() != (52,):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    connection.close()
    await store.close()


async def test_nobody_else_can_read_the_files(tmp_path):
    store = await filled(tmp_path / "data", 1)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.lock"], 0o600)
    await store.close()


async def test_two_servers_cannot_use_one_store(tmp_path):
    store = await filled(tmp_path, 1)
    with pytest.raises(StoreUnavailableError, match=r"another Pilothouse process \(process \d+\) uses the store"):
        await SQLiteStore.open(tmp_path)
    await put(store, sample_task("t9"))
    await store.close()
    await (await SQLiteStore.open(tmp_path)).close()


async def test_nothing_is_seen_before_it_is_durable(tmp_path):
    store = await filled(tmp_path, 1)
    watch = store.watch(1)
    holding = sqlite3.connect(store.path, isolation_level=None)
    holding.execute("BEGIN IMMEDIATE")
    async with asyncio.TaskGroup() as group:
        group.create_task(put(store, sample_task("a")))
        # Updates build on what is on its way to the disk ...
        building = group.create_task(store.update(Writer.ORCHESTRATOR, lambda tx: [t.id for t in tx.find(Task)]))
        seeing = group.create_task(anext(watch))
        done, _ = await asyncio.wait([building, seeing], timeout=0.05)
        # ... but neither they nor anybody else learn of it before it is there.
        assert not done
        assert (await tasks(store), await store.history(1, 9)) == (["t0"], ())
        holding.execute("ROLLBACK")
    assert (building.result(), seeing.result().revision) == (["a", "t0"], 2)
    assert await tasks(store) == ["a", "t0"]
    holding.close()
    await watch.aclose()
    await store.close()


async def test_commits_that_built_on_a_failed_one_fail_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    store = await filled(tmp_path, 1)
    holding = sqlite3.connect(store.path, isolation_level=None)
    holding.execute("BEGIN IMMEDIATE")

    def refuse(tx):
        assert tx.get(Task, "a")
        raise KeyError("a is there already")

    results = await asyncio.gather(
        put(store, sample_task("a")),
        put(store, sample_task("b")),
        store.update(Writer.ORCHESTRATOR, lambda tx: tx.find(Task)),
        store.update(Writer.ORCHESTRATOR, refuse),
        return_exceptions=True,
    )
    assert [type(each) for each in results] == [StoreUnavailableError] * 4
    assert "another program holds a lock" in str(results[0])
    holding.execute("ROLLBACK")
    holding.close()
    await put(store, sample_task("a"))
    assert await store.view(lambda tx: [(task.id, task.version) for task in tx.find(Task)]) == [("a", 2), ("t0", 1)]
    await store.close()


async def test_a_full_disk_refuses_writes_and_recovers_by_itself(tmp_path):
    store = await filled(tmp_path, 3)
    limit = store._writer._database._connection.execute
    limit("PRAGMA max_page_count=1")
    acknowledged, refused = [], 0
    for number in range(30):
        try:
            await put(store, sample_task(f"big{number}"))
            acknowledged.append(f"big{number}")
        except StoreFullError:
            refused += 1
    assert refused > 0
    assert await tasks(store) == sorted(["t0", "t1", "t2", *acknowledged])
    limit("PRAGMA max_page_count=4294967294")
    await put(store, sample_task("after"))
    expected = await store.view(lambda tx: tx.find(Task))
    await store.close()
    store = await SQLiteStore.open(tmp_path)
    assert await store.view(lambda tx: tx.find(Task)) == expected
    await store.close()


async def test_text_that_is_not_unicode_is_refused_to_its_author_alone(tmp_path):
    store = await filled(tmp_path, 1)
    bad = msgspec.structs.replace(sample_task("bad"), reason="\ud800")
    results = await asyncio.gather(put(store, bad), put(store, sample_task("good")), return_exceptions=True)
    assert isinstance(results[0], InvalidRequestError)
    assert "task 'bad' holds text that is not valid Unicode" in str(results[0])
    assert await tasks(store) == ["good", "t0"]
    await store.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "UPDATE objects SET body = CAST(replace(body, 'web', 'bad') AS BLOB) WHERE id = 't1'",
            "task t1 does not match its hash",
        ),
        ("UPDATE objects SET version = 9 WHERE id = 't1'", "task t1 does not match its hash"),
        ("DELETE FROM objects WHERE id = 't1'", "the objects are not those of commit 5"),
        ("DELETE FROM commits WHERE revision = 5", "the objects are not those of commit 4"),
        ("UPDATE commits SET at = 7 WHERE revision = 5", "commit 5 does not match its hash"),
        ("PRAGMA application_id=7", "not a store of Pilothouse"),
    ],
)
async def test_damage_is_named_when_the_store_is_opened(tmp_path, statement, message):
    await (await filled(tmp_path)).close()
    edit(tmp_path, statement)
    with pytest.raises(StoreCorruptError, match=message) as caught:
        await SQLiteStore.open(tmp_path)
    assert "pilothouse restore" in str(caught.value)


async def test_a_row_from_the_past_is_found(tmp_path):
    store = await filled(tmp_path, 1)
    old = sqlite3.connect(store.path).execute("SELECT * FROM objects").fetchone()
    task = await store.view(lambda tx: tx.get(Task, "t0"))
    await put(store, msgspec.structs.replace(task, desired_reason="newer"))
    await store.close()
    edit(tmp_path, "REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", *old)
    with pytest.raises(StoreCorruptError, match="the objects are not those of commit 2"):
        await SQLiteStore.open(tmp_path)


async def test_a_damaged_old_commit_is_not_served(tmp_path):
    await (await filled(tmp_path)).close()
    edit(tmp_path, "UPDATE commits SET changes = CAST(replace(changes, 'web', 'bad') AS BLOB) WHERE revision = 2")
    store = await SQLiteStore.open(tmp_path)
    with pytest.raises(StoreCorruptError, match="commit 2 does not match its hash"):
        await store.history(0, 10)
    assert "commit 2 does not match its hash" in await store.check()
    await store.close()


async def test_no_flipped_bit_gives_wrong_data(tmp_path):
    store = await filled(tmp_path / "good", 40)
    expected = await store.view(lambda tx: (tx.revision, tx.find(Task)))
    await store.close()
    content, chance, found = (tmp_path / "good" / database.FILE).read_bytes(), random.Random(7), 0
    for number in range(40):
        directory = tmp_path / str(number)
        directory.mkdir()
        damaged = bytearray(content)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        (directory / database.FILE).write_bytes(damaged)
        try:
            store = await SQLiteStore.open(directory)
        except (StoreCorruptError, StoreUnavailableError):
            found += 1
            continue
        assert await store.view(lambda tx: (tx.revision, tx.find(Task))) == expected
        await store.close()
    assert found > 5


@pytest.mark.parametrize("left", [0.1, 0.5, 0.9])
async def test_a_file_that_was_cut_is_refused(tmp_path, left):
    await (await filled(tmp_path, 40)).close()
    path = tmp_path / database.FILE
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * left))
    with pytest.raises(StoreCorruptError):
        await SQLiteStore.open(tmp_path)


async def test_a_deleted_log_is_missed(tmp_path):
    store = await filled(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    shutil.copytree(tmp_path / "data", tmp_path / "robbed")
    await store.close()
    (tmp_path / "robbed" / "store.db-wal").unlink()
    with pytest.raises(StoreCorruptError, match=r"store\.db-wal, which held the newest changes, is missing"):
        await SQLiteStore.open(tmp_path / "robbed")
    store = await SQLiteStore.open(tmp_path / "killed")
    assert await tasks(store) == ["t0", "t1", "t2", "t3", "t4"]
    await store.close()


async def test_a_damaged_store_is_left_as_it_was_found(tmp_path):
    store = await filled(tmp_path / "data")
    store._writer._database._connection.execute("UPDATE objects SET version = 9 WHERE id = 't1'")
    shutil.copytree(tmp_path / "data", tmp_path / "killed", ignore=shutil.ignore_patterns("*-shm"))
    await store.close()
    found = {name: (tmp_path / "killed" / name).read_bytes() for name in os.listdir(tmp_path / "killed")}
    assert "store.db-wal" in found
    for _ in range(2):
        with pytest.raises(StoreCorruptError, match="task t1 does not match its hash"):
            await SQLiteStore.open(tmp_path / "killed")
    assert {name: (tmp_path / "killed" / name).read_bytes() for name in found} == found


async def test_a_newer_schema_is_refused(tmp_path):
    await (await filled(tmp_path)).close()
    edit(tmp_path, "PRAGMA user_version=99")
    with pytest.raises(StoreUnavailableError, match="written by a newer Pilothouse"):
        await SQLiteStore.open(tmp_path)


async def test_a_migration_happens_whole_or_not_at_all_and_keeps_a_copy(tmp_path, monkeypatch):
    await (await filled(tmp_path)).close()
    good = ("ALTER TABLE commits ADD COLUMN note TEXT NOT NULL DEFAULT ''", "ALTER TABLE commits DROP COLUMN note")
    monkeypatch.setattr(database, "MIGRATIONS", [*database.MIGRATIONS, (good[0], "SELECT no_such_function()")])
    with pytest.raises(StoreUnavailableError, match="no such function"):
        await SQLiteStore.open(tmp_path)
    monkeypatch.setattr(database, "MIGRATIONS", database.MIGRATIONS[:-1])
    store = await SQLiteStore.open(tmp_path)
    assert len(await store.history(0, 10)) == 5
    await store.close()
    monkeypatch.setattr(database, "MIGRATIONS", [*database.MIGRATIONS, good])
    store = await SQLiteStore.open(tmp_path)
    assert await tasks(store) == ["t0", "t1", "t2", "t3", "t4"]
    await store.close()
    copy = sqlite3.connect(tmp_path / f"store.db.schema-{len(database.MIGRATIONS) - 1}")
    assert copy.execute("PRAGMA user_version").fetchone() == (len(database.MIGRATIONS) - 1,)
    assert copy.execute("SELECT count(*) FROM objects").fetchone() == (5,)
    copy.close()


async def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="file"):
        await SQLiteStore.open(tmp_path / "file" / "data")


async def test_a_caller_who_leaves_does_not_disturb_the_others(tmp_path):
    store = await filled(tmp_path, 0)
    leaving = asyncio.ensure_future(put(store, sample_task("left")))
    await asyncio.sleep(0)
    leaving.cancel()
    await put(store, sample_task("stayed"))
    assert await tasks(store) == ["left", "stayed"]
    await store.update(Writer.AGENT, lambda tx: tx.put(Node(id="n1", spec=NodeSpec())))
    await store.close()
    assert sorted(os.listdir(tmp_path)) == ["store.db", "store.lock"]
