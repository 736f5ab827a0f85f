"""Backups prove themselves, and a restore leaves either the old state or the new one."""

import asyncio
import os
import stat
import tarfile

import pytest
from msgspec.structs import replace

from pilothouse.errors import InvalidRequestError, StoreCorruptError, StoreUnavailableError
from pilothouse.model.objects import Secret, Task
from pilothouse.model.release import FileVersion, Release
from pilothouse.model.spec import AppSpec, FileSpec
from pilothouse.model.states import Writer
from pilothouse.store import database, directory
from pilothouse.store.backup import check_directory, restore
from pilothouse.store.conformance import sample_task
from pilothouse.store.sqlite import SQLiteStore


def put(store, *names):
    return store.update(Writer.ORCHESTRATOR, lambda tx: [tx.put(sample_task(name)) for name in names])


async def held(directory):
    """What the store in *directory* holds, by name, and its revision."""
    store = await SQLiteStore.open(directory)
    found = await store.view(lambda tx: (tx.revision, [task.id for task in tx.find(Task)]))
    await store.close()
    return found


@pytest.fixture
async def made(tmp_path):
    """A data directory at revision 3 and a backup of it at revision 2."""
    store = await SQLiteStore.open(tmp_path / "data")
    await put(store, "a")
    await put(store, "b")
    await store.backup(tmp_path / "backup")
    await put(store, "c")
    await store.close()
    return tmp_path


async def test_a_backup_is_restored_to_a_fresh_directory(made):
    manifest = restore(made / "backup", made / "fresh")
    assert (manifest.revision, manifest.objects, manifest.commits) == (2, 2, 2)
    assert await held(made / "fresh") == (2, ["a", "b"])
    assert stat.S_IMODE((made / "backup").stat().st_mode) == 0o600
    assert stat.S_IMODE((made / "fresh" / database.FILE).stat().st_mode) == 0o600
    assert sorted(os.listdir(made)) == ["backup", "data", "fresh"]


async def test_a_backup_is_one_snapshot_while_writing_goes_on(tmp_path):
    store = await SQLiteStore.open(tmp_path / "data")
    await put(store, *(f"t{number}" for number in range(500)))

    async def write():
        for number in range(200):
            await put(store, f"left{number}", f"right{number}")

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for number in range(3):
            await store.backup(tmp_path / f"backup{number}")
    await store.close()
    for number in range(3):
        manifest = restore(tmp_path / f"backup{number}", tmp_path / f"fresh{number}")
        assert manifest.objects == 500 + 2 * (manifest.revision - 1)
        assert (await held(tmp_path / f"fresh{number}"))[0] == manifest.revision


async def test_a_store_is_replaced_only_when_told_so_and_kept(made):
    with pytest.raises(InvalidRequestError, match="holds a store already"):
        restore(made / "backup", made / "data")
    assert await held(made / "data") == (3, ["a", "b", "c"])
    restore(made / "backup", made / "data", overwrite=True)
    assert await held(made / "data") == (2, ["a", "b"])
    (made / "kept").mkdir()
    (made / "data" / directory.REPLACED).rename(made / "kept" / database.FILE)
    assert await held(made / "kept") == (3, ["a", "b", "c"])


async def test_a_running_server_is_not_pulled_the_carpet_from_under(made):
    store = await SQLiteStore.open(made / "data")
    with pytest.raises(StoreUnavailableError, match="another Pilothouse process"):
        restore(made / "backup", made / "data", overwrite=True)
    await store.close()


async def test_an_existing_file_is_not_overwritten_by_a_backup(made):
    store = await SQLiteStore.open(made / "data")
    with pytest.raises(InvalidRequestError, match="exists already"):
        await store.backup(made / "backup")
    await store.close()


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
async def test_a_damaged_backup_changes_nothing(made, place):
    content = bytearray((made / "backup").read_bytes())
    content[int(len(content) * place)] ^= 4
    (made / "backup").write_bytes(content)
    with pytest.raises(StoreCorruptError, match="it is not what its first line says"):
        restore(made / "backup", made / "data", overwrite=True)
    (made / "backup").write_bytes(content[:-1])
    with pytest.raises(StoreCorruptError):
        restore(made / "backup", made / "data", overwrite=True)
    assert await held(made / "data") == (3, ["a", "b", "c"])
    assert not [name for name in os.listdir(made / "data") if "restored" in name]


async def test_something_else_is_not_taken_for_a_backup(made):
    (made / "other").write_text("hello\n")
    for file in (made / "other", made / "data" / database.FILE):
        with pytest.raises(InvalidRequestError, match="is not a backup of Pilothouse"):
            restore(file, made / "fresh")


def pack(made, *names):
    with tarfile.open(made / "all.tar", "w") as tar:
        for name, path in names:
            tar.add(path, name)


async def test_a_backup_with_the_key_of_its_secrets_brings_both_back(made):
    (made / "key").write_bytes(b"k" * 32)
    (made / "data" / "secrets.key").write_bytes(b"old")
    pack(made, ("pilothouse.db", made / "backup"), ("secrets.key", made / "key"))
    restore(made / "all.tar", made / "data", overwrite=True)
    assert await held(made / "data") == (2, ["a", "b"])
    assert (made / "data" / "secrets.key").read_bytes() == b"k" * 32
    assert (made / "data" / "secrets.key.replaced").read_bytes() == b"old"
    assert stat.S_IMODE((made / "data" / "secrets.key").stat().st_mode) == 0o600


async def test_a_backup_that_lost_its_key_is_incomplete(made):
    store = await SQLiteStore.open(made / "data")
    secret = Secret(id="shop/pw", app="shop", spec=FileSpec(key="pw", name="pw"), sealed=b"x")
    await store.update(Writer.API, lambda tx: tx.put(secret))
    await store.backup(made / "new")
    await store.close()
    pack(made, ("pilothouse.db", made / "new"))
    with pytest.raises(InvalidRequestError, match="not the key that opens them"):
        restore(made / "all.tar", made / "fresh")


async def test_releases_and_the_contents_they_need_are_in_a_backup(made):
    store = await SQLiteStore.open(made / "data")
    release = Release(id="shop/000001", app="shop", number=1, spec=AppSpec(name="shop"), secret_versions={"pw": "v1"})
    kept = FileVersion(
        id="secret/shop/pw/v1", app="shop", kind="secret", key="pw", content_version="v1", stored=b"\x00\xffx"
    )
    await store.update(Writer.API, lambda tx: [tx.put(release), tx.put(kept)])
    await store.backup(made / "new")
    await store.close()
    restore(made / "new", made / "fresh")
    fresh = await SQLiteStore.open(made / "fresh")
    found = await fresh.view(lambda tx: (tx.find(Release, app="shop"), tx.find(FileVersion, app="shop")))
    await fresh.close()
    assert [replace(each, version=0) for group in found for each in group] == [release, kept]
    pack(made, ("pilothouse.db", made / "new"))
    with pytest.raises(InvalidRequestError, match="not the key that opens them"):
        restore(made / "all.tar", made / "other")


async def test_a_store_that_was_killed_is_replaced_with_its_log(made):
    store = await SQLiteStore.open(made / "data")
    await put(store, "d")
    copy = made / "killed"
    copy.mkdir()
    for name in os.listdir(made / "data"):
        (copy / name).write_bytes((made / "data" / name).read_bytes())
    await store.close()
    restore(made / "backup", copy, overwrite=True)
    assert await held(copy) == (2, ["a", "b"])


async def test_checking_says_what_is_there_or_what_is_wrong(made):
    store = await SQLiteStore.open(made / "data")
    assert await store.check() == ""
    assert check_directory(made / "data").revision == 3
    store._writer._database._connection.execute("UPDATE objects SET version = 9 WHERE id = 'a'")
    assert "task a does not match its hash" in await store.check()
    await store.close()
    with pytest.raises(StoreCorruptError, match="task a"):
        check_directory(made / "data")
    with pytest.raises(InvalidRequestError, match="holds no store"):
        check_directory(made)
