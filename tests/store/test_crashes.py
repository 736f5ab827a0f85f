"""Whatever ends the store, and whenever: nothing acknowledged is lost and no transaction is there in part."""

import asyncio
import itertools
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile

import msgspec
import pytest

from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.store import database
from pilothouse.store.conformance import sample_task
from pilothouse.store.crashes import Receipt, check_survival, work
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SQLiteStore
from tests.store.crash_child import MIGRATION
from tests.store.powercut import Disk, put_back, python, record

ROOT = pathlib.Path(__file__).parent.parent.parent
CHILD = pathlib.Path(__file__).parent / "crash_child.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
FULL, UNAVAILABLE = "PH205", "PH201"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes the crashes"),
]


@pytest.fixture
def fast():
    """A directory in memory, where rebuilding a thousand states does not wait for a disk."""
    with tempfile.TemporaryDirectory(
        prefix="ph-crash-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    ) as d:
        yield pathlib.Path(d)


def said(output):
    """The receipts, and the rest, of what a child said."""
    lines = [msgspec.json.decode(line) for line in output.splitlines()]
    return [msgspec.convert(each, Receipt) for each in lines if isinstance(each, dict)], lines


def trace(options, *arguments):
    """Run a child under strace, which does as *options* say."""
    # Calls on shared memory are no store calls: they are not counted.
    return subprocess.run(
        ["strace", "-f", "-o", "/dev/null", *options, *python(CHILD, *arguments)],
        env=ENVIRONMENT, capture_output=True, timeout=60,
    )  # fmt: skip


async def survives(directory, receipts):
    store = await SQLiteStore.open(directory)
    try:
        return await check_survival(store, receipts)
    finally:
        await store.close()


async def cut_everywhere(steps, disk, old, place, check):
    """Follow *steps*; before each, and at the end, check what a kill and some power cuts would leave."""
    chance, count = random.Random(11), 0
    for step in itertools.chain(steps, [None]):
        if step is None or step.call != "said":
            by_chance = [disk.after_power_cut(chance) for _ in range(4)]
            for contents in (disk.after_kill(), disk.after_power_cut(), *by_chance):
                put_back(contents, old, place / str(count))
                try:
                    await check(place / str(count))
                except BaseException as error:
                    error.add_note(f"state {count}, before {step and (step.call, step.name, step.offset)}")
                    raise
                shutil.rmtree(place / str(count))
                count += 1
        if step is not None:
            disk.follow(step)
    return count


@pytest.mark.parametrize("checkpoint_bytes", [1 << 30, 40_000], ids=["one checkpoint", "many checkpoints"])
async def test_nothing_acknowledged_is_lost_by_a_kill_or_a_power_cut_at_any_call(tmp_path, fast, checkpoint_bytes):
    (tmp_path / "data").mkdir()
    steps = record(
        python(CHILD, "work", tmp_path / "data", 4, checkpoint_bytes), tmp_path / "data", ENVIRONMENT, tmp_path
    )
    heard, receipts = Disk(), []
    reached = set()

    def steps_heard():
        for step in steps:
            if step.call == "said":
                receipts.extend(said(step.data)[0])
            yield step

    async def check(directory):
        reached.add(await survives(directory, receipts))

    count = await cut_everywhere(steps_heard(), heard, tmp_path / "data", fast, check)
    assert len(receipts) == 28
    assert {0, 28} < reached
    assert count > 1000


async def test_a_real_kill_leaves_what_the_record_says(tmp_path):
    ended = []
    for number, call in enumerate(
        ["pwrite64", "pwrite64", "pwrite64", "fdatasync", "fdatasync", "ftruncate", "unlink"]
    ):
        for when in {"pwrite64": (12, 25, 40), "fdatasync": (2, 4)}.get(call, (1,)):
            directory = tmp_path / f"{number}-{when}"
            done = trace(["-e", f"inject={call}:signal=SIGKILL:when={when + number}"], "work", directory, 2, 40_000)
            ended.append(-done.returncode == signal.SIGKILL or done.returncode == 128 + signal.SIGKILL)
            await survives(directory, said(done.stdout)[0])
    assert sum(ended) >= 10


async def test_after_a_failed_sync_nothing_is_acknowledged(tmp_path):
    refused = 0
    for when in range(1, 9):
        directory = tmp_path / str(when)
        await (await SQLiteStore.open(directory)).close()
        log = f"{directory}/{database.FILE}-wal"
        options = ["-P", log, "-e", f"inject=fdatasync,fsync:error=EIO:when={when}"]
        done = trace(options, "insist", directory, 4)
        assert done.returncode == 0, done.stderr
        receipts, lines = said(done.stdout)
        if UNAVAILABLE in lines:
            refused += 1
            after = lines[lines.index(UNAVAILABLE) :]
            assert after == [UNAVAILABLE] * len(after)
            # The log is left as it is: nobody may take for granted again what the failed sync left of it.
            assert (directory / f"{database.FILE}-wal").exists()
        await survives(directory, receipts)
    assert refused == 8


async def test_a_full_disk_loses_nothing_and_is_recovered_from(tmp_path):
    for when in (1, 4, 9, 14):
        directory = tmp_path / str(when)
        await (await SQLiteStore.open(directory)).close()
        options = [
            "-P",
            f"{directory}/{database.FILE}-wal",
            "-e",
            f"inject=pwrite64:error=ENOSPC:when={when}..{when + 5}",
        ]
        done = trace(options, "insist", directory, 12)
        assert done.returncode == 0, done.stderr
        receipts, lines = said(done.stdout)
        assert FULL in lines
        assert lines[-1] != FULL
        await survives(directory, receipts)


async def test_a_really_full_file_system_loses_nothing_and_is_recovered_from(tmp_path):
    script = (
        'mount -t tmpfs -o size=2m none "$0" && head -c 1500000 /dev/zero > "$0/filler" && shift 0 && '
        '"$@" "$0/data" 80 "$0/filler" > "$0.said"; code=$?; cp -r "$0/data" "$0.kept"; exit $code'
    )
    (tmp_path / "disk").mkdir()
    done = await asyncio.to_thread(
        subprocess.run,
        ["unshare", "-rm", "sh", "-c", script, str(tmp_path / "disk"), *python(CHILD, "insist")],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if "ermission" in done.stderr or "not permitted" in done.stderr:
        pytest.skip("file systems cannot be mounted here")
    assert done.returncode == 0, done.stderr
    receipts, lines = said((tmp_path / "disk.said").read_bytes())
    assert FULL in lines
    assert UNAVAILABLE not in lines
    assert lines[-1] != FULL
    await survives(tmp_path / "disk.kept", receipts)


async def names(directory):
    store = await SQLiteStore.open(directory)
    try:
        return tuple(await store.view(lambda tx: [task.id for task in tx.find(Task)]))
    finally:
        await store.close()


async def store_with(directory, *ids):
    store = await SQLiteStore.open(directory)
    await work(store, lambda receipt: None, ids)
    return store


async def test_an_interrupted_restore_leaves_the_old_state_or_the_new_one(tmp_path, fast):
    store = await store_with(tmp_path / "other", "new")
    await store.backup(tmp_path / "backup")
    await store.close()
    store = await store_with(tmp_path / "running", "old", "older")
    shutil.copytree(tmp_path / "running", tmp_path / "data", ignore=shutil.ignore_patterns("*-shm"))
    await store.close()
    before = {str(path): path.read_bytes() for path in (tmp_path / "data").iterdir()}
    assert f"{tmp_path}/data/{database.FILE}-wal" in before
    command = python(CHILD, "restore", tmp_path / "backup", tmp_path / "data")
    steps = record(command, tmp_path / "data", ENVIRONMENT, tmp_path)
    seen = []

    async def check(directory):
        seen.append(await names(directory))

    await cut_everywhere(steps, Disk(before), tmp_path / "data", fast, check)
    assert set(seen) == {("new left", "new right"), ("old left", "old right")}
    assert (seen[0], seen[-1]) == (("old left", "old right"), ("new left", "new right"))


async def test_an_interrupted_migration_leaves_the_old_schema_or_the_new_one(tmp_path, fast, monkeypatch):
    await (await store_with(tmp_path / "data", "a")).close()
    before = {str(path): path.read_bytes() for path in (tmp_path / "data").iterdir()}
    steps = record(python(CHILD, "migrate", tmp_path / "data"), tmp_path / "data", ENVIRONMENT, tmp_path)
    monkeypatch.setattr(database, "MIGRATIONS", [*database.MIGRATIONS, MIGRATION])

    async def check(directory):
        assert await names(directory) == ("a left", "a right")

    assert await cut_everywhere(steps, Disk(before), tmp_path / "data", fast, check) > 50


async def test_the_checker_finds_a_lost_commit_and_half_a_transaction():
    store, receipts = MemoryStore(), []
    await work(store, receipts.append, ["a", "b"])
    assert await check_survival(store, receipts) == 5
    with pytest.raises(AssertionError, match="is lost"):
        await check_survival(store, [*receipts, Receipt(6, "a", "made")])
    with pytest.raises(AssertionError, match="is not what was committed"):
        await check_survival(store, [Receipt(1, "a", "deleted")])
    await store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(sample_task("c left")))
    with pytest.raises(AssertionError, match="half a transaction"):
        await check_survival(store, receipts)
