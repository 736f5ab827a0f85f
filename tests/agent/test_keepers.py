"""Secrets stay in memory, logs of the dead stay readable, reports arrive."""

import asyncio
import os
import pathlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent.logs import archive
from pilothouse.agent.logs.archive import LogArchive
from pilothouse.agent.once import Once
from pilothouse.agent.reports import Reports
from pilothouse.agent.volumes.files import MemoryFiles, in_memory, owner_of, plan_files
from pilothouse.clock import SystemClock
from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.ids import SeededIds
from pilothouse.model.container import FileGrant
from pilothouse.model.objects import TaskStatus
from pilothouse.model.states import TaskState
from pilothouse.model.wire import FileContent, LogLine, LogQuery, Stream, TaskReport
from tests.agent.manager import Manager, eventually
from tests.agent.world import make_assignment, make_task

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and give files away")
SECRET = FileContent(id="shop/password", version="v2", content=b"canary")


def granted(user="", versions=None, **grant):
    given = FileGrant(**{"source": "password", "target": "/run/secrets/password", **grant})
    return make_task(container={"secrets": (given,), "user": user}, secret_versions=versions or {"password": "v2"})


def planned(task):
    return plan_files(task, make_assignment(task, secrets=(SECRET,)))


@pytest.fixture
def files(tmp_path):
    made = MemoryFiles(tmp_path / "files")
    yield made
    made.close()


def written(files, task, user):
    plan = planned(task)
    files.write(task.id, plan, user)
    path = files.paths(task.id, plan)["/run/secrets/password"]
    found = os.stat(path)
    return path, (found.st_mode & 0o777, found.st_uid, found.st_gid)


@root
@pytest.mark.parametrize(
    ("grant", "user", "expected"),
    [
        ({}, "", (0o400, 0, 0)),
        ({}, "1000", (0o400, 1000, 1000)),
        ({}, "1000:50", (0o400, 1000, 50)),
        ({}, "postgres", (0o444, 0, 0)),
        ({"uid": "7"}, "postgres", (0o400, 7, 7)),
        ({"uid": "7", "gid": "8", "mode": 0o440}, "1000", (0o440, 7, 8)),
    ],
)
def test_a_secret_belongs_to_who_must_read_it(files, grant, user, expected):
    path, found = written(files, granted(**grant), user)
    assert found == expected
    assert in_memory(path)


@root
def test_a_secret_is_wiped_with_its_task_and_the_mount_goes_with_the_last_or_the_agent(tmp_path):
    files = MemoryFiles(tmp_path / "files")
    path, _ = written(files, granted(), "")
    again, _ = written(files, granted(), "5")
    assert again == path
    assert os.stat(path).st_uid == 5, "once the container's user is known it gets the file"
    written(files, other := msgspec.structs.replace(granted(), id="t00000000002"), "")
    files.wipe(granted().id)
    assert not os.path.exists(path)
    assert str(tmp_path) in pathlib.Path("/proc/self/mounts").read_text()
    files.wipe(other.id)
    assert str(tmp_path) not in pathlib.Path("/proc/self/mounts").read_text()
    written(files, granted(), "")
    files.sweep({"t00000000002"})
    assert not os.path.exists(path)
    files.close()
    assert str(tmp_path) not in pathlib.Path("/proc/self/mounts").read_text()


def test_without_memory_nothing_is_written(tmp_path, monkeypatch):
    files = MemoryFiles(tmp_path / "files")
    monkeypatch.setattr(files, "_mount", lambda: None)
    if in_memory(tmp_path):
        pytest.skip("the temporary directory is in memory itself")
    with pytest.raises(PermanentError, match="never written to a disk"):
        files.write("t1", planned(granted()), "")
    assert list((tmp_path / "files").iterdir()) == []


def test_only_the_version_the_task_was_made_for_is_given_to_it():
    assert planned(granted())[0].content == b"canary"
    with pytest.raises(TemporaryError, match="secret shop/password"):
        planned(granted(versions={"password": "v1"}))
    assert "canary" not in repr(planned(granted()))


@pytest.mark.parametrize(
    ("user", "owner"),
    [("", (0, 0)), ("0", (0, 0)), ("5", (5, 5)), ("5:6", (5, 6)), ("app", None), ("5:app", None), ("-1", None)],
)
def test_only_a_user_in_numbers_can_be_told(user, owner):
    assert owner_of(user) == owner


def line(number):
    return LogLine(task_id="t1", at=float(number), stream=Stream.OUT, text=f"line {number}")


LINES = st.lists(st.text(max_size=20), max_size=30)


@given(LINES, st.none() | st.integers(0, 40), st.none() | st.floats(0, 40), st.none() | st.floats(0, 40))
def test_what_is_read_back_is_what_was_written_filtered(tmp_path_factory, texts, tail, since, until):
    logs = LogArchive(tmp_path_factory.mktemp("logs"))
    lines = [LogLine(task_id="t1", at=float(n), stream=Stream.ERR, text=text) for n, text in enumerate(texts)]
    logs.save("t1", lines)
    low, high = since or 0.0, 1e9 if until is None else until
    expected = [each for each in lines if low <= each.at <= high]
    expected = expected if tail is None else expected[max(0, len(expected) - tail) :]
    assert list(logs.read(LogQuery(task_id="t1", tail=tail, since=since, until=until))) == expected


def test_an_archive_is_bounded_and_keeps_the_newest(tmp_path):
    logs = LogArchive(tmp_path)
    logs.save("t1", [line(number) for number in range(archive.LINES + 5)])
    kept = logs.read(LogQuery(task_id="t1"))
    assert (len(kept), kept[-1].text) == (archive.LINES, f"line {archive.LINES + 4}")
    long = LogLine(task_id="t1", at=1.0, stream=Stream.OUT, text="x" * (archive.BYTES // 2))
    logs.save("t1", [long, long, long])
    assert len(logs.read(LogQuery(task_id="t1"))) == 1


def test_archives_go_with_their_tasks_and_a_damaged_one_is_empty(tmp_path):
    logs = LogArchive(tmp_path / "logs")
    assert logs.read(LogQuery(task_id="t1")) == ()
    for task_id in ("t1", "t2"):
        logs.save(task_id, [line(1)])
    logs.sweep({"t2"})
    assert (logs.has("t1"), logs.has("t2")) == (False, True)
    (tmp_path / "logs" / "t2.log.gz").write_bytes(b"\x1f\x8bnonsense")
    assert logs.read(LogQuery(task_id="t2")) == ()
    logs.forget("t2")
    assert not logs.has("t2")


def told(state, task_id="t00000000001"):
    return TaskReport(task_id=task_id, state=state, status=TaskStatus())


async def test_only_the_newest_report_of_a_task_is_sent_and_many_go_together():
    manager = Manager(make_task(1), make_task(2))
    reports = Reports(manager, SystemClock(), SeededIds())
    async with asyncio.TaskGroup() as group:
        running = group.create_task(reports.run())
        reports.add(told(TaskState.ACCEPTED), urgent=False)
        reports.add(told(TaskState.PREPARING), urgent=False)
        reports.add(told(TaskState.ACCEPTED, "t00000000002"), urgent=False)
        await reports.delivered("t00000000001")
        running.cancel()
    assert [[(r.task_id[-1], r.state) for r in batch] for batch in manager.batches] == [
        [("1", TaskState.PREPARING), ("2", TaskState.ACCEPTED)]
    ]


async def test_reports_outlive_a_manager_that_is_down_and_the_newest_wins():
    manager = Manager(make_task(1))
    manager.down = True
    reports = Reports(manager, SystemClock(), SeededIds())
    async with asyncio.TaskGroup() as group:
        running = group.create_task(reports.run())
        reports.add(told(TaskState.ACCEPTED), urgent=True)
        await eventually(lambda: not reports._urgent.is_set())
        reports.add(told(TaskState.RUNNING), urgent=True)
        manager.down = False
        await reports.delivered("t00000000001")
        running.cancel()
    assert [batch[0].state for batch in manager.batches] == [TaskState.RUNNING]


async def test_what_many_need_is_made_once_and_again_after_it_was_forgotten():
    once, made = Once(), []

    async def make():
        await asyncio.sleep(0)
        made.append(1)

    await asyncio.gather(*(once.ensure("n", make) for _ in range(5)))
    assert len(made) == 1
    once.keep(())
    await once.ensure("n", make)
    assert len(made) == 2
