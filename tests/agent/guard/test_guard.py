"""The guard's judgement: whose lease is over, by its own clock, whatever was written when."""

import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent.guard import guard
from pilothouse.agent.guard.guard import Entry, Guard, Lease, due, hierarchies, lease_line, parse_entry, parse_lease

BOOT = "11111111-2222-3333-4444-555555555555"
TERMS = st.integers(0, 5)
TIMES = st.integers(0, 100)


def test_nothing_dies_while_the_lease_lasts_and_everything_when_it_is_over():
    entries = [Entry("t1", "c1", 3), Entry("t2", "c2", 3)]
    lease = Lease(3, 100)
    assert due(entries, lease, 99) == []
    assert due(entries, lease, 100) == entries


def test_what_belongs_to_a_term_that_ended_dies_although_another_has_begun():
    old, new = Entry("t1", "c1", 3), Entry("t2", "c2", 4)
    assert due([old, new], Lease(4, 100), 50) == [old]


def test_without_a_lease_that_was_ever_written_nothing_is_known():
    assert due([Entry("t1", "c1", 1)], None, 100) == []


@given(st.lists(TERMS, max_size=5), TERMS, TIMES, TIMES)
def test_who_must_die_must_die_ever_after(terms, term, until, now):
    started = [min(each, term) for each in terms]
    entries = [Entry(f"t{index}", f"c{index}", number) for index, number in enumerate(started)]
    first = due(entries, Lease(term, until), now)
    # Time goes on, and what the agent writes later never saves a task of a term that ended.
    later = due(entries, Lease(term + 1, until + 50), now + 10)
    assert {entry.task for entry in first} <= {entry.task for entry in later if entry.term <= term}
    assert set(first) <= set(due(entries, Lease(term, until), now + 10))


@given(st.integers(0, 2**40), st.integers(0, 2**62))
def test_the_lease_file_says_what_was_written_and_always_has_the_same_length(term, until):
    line = lease_line(Lease(term, until), BOOT)
    found = parse_lease(line, BOOT)
    assert (found.term, found.until, len(line)) == (term, until, guard.LEASE_BYTES)


@given(st.integers(0, 127), st.binary(min_size=1, max_size=20))
def test_a_lease_file_that_is_half_written_says_nothing(at, junk):
    line = lease_line(Lease(7, 123456789), BOOT)
    damaged = line[:at] + junk + line[at + len(junk) :]
    found = parse_lease(damaged, BOOT)
    assert found is None or (found.term, found.until) == (7, 123456789)


def test_a_lease_of_another_start_of_the_machine_says_nothing():
    assert parse_lease(lease_line(Lease(1, 2), BOOT), BOOT.replace("1", "9")) is None


@pytest.mark.parametrize("text", ["", "c1", "c1 1", "c1 1 2"])
def test_a_task_whose_file_says_nothing_is_no_task(text):
    assert parse_entry("t1", text) is None


def test_the_roots_of_control_groups_are_found_in_both_versions():
    mounts = (
        "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n"
        "cgroup /sys/fs/cgroup/freezer cgroup rw,relatime,freezer 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n"
    )
    assert hierarchies(mounts) == [("/sys/fs/cgroup/freezer", False), ("/sys/fs/cgroup/unified", True)]


def test_control_groups_are_found_by_the_container_whatever_the_engine_calls_them(tmp_path):
    for path in ("docker/c1", "system.slice/docker-c2.scope/inner", "machine.slice/libpod-c3.scope", "other/c9"):
        (tmp_path / path).mkdir(parents=True)
    found = guard.groups([(str(tmp_path), True)], ["c1", "c2", "c3", "c4"])
    names = {container: [path.removeprefix(f"{tmp_path}/") for path, _ in where] for container, where in found.items()}
    assert names == {
        "c1": ["docker/c1"], "c2": ["system.slice/docker-c2.scope"], "c3": ["machine.slice/libpod-c3.scope"], "c4": [],
    }  # fmt: skip


def test_a_process_is_told_from_another_that_has_its_number():
    assert guard.began(os.getpid()) > 0
    assert guard.began(2**22 + 1) == 0


def _guard(tmp_path, lease):
    for name in ("tasks", "done"):
        (tmp_path / name).mkdir()
    it = Guard(str(tmp_path))
    it.roots = []
    (tmp_path / "lease").write_bytes(lease_line(lease, it.boot))
    return it


def test_a_guard_sleeps_until_the_lease_could_end_and_no_longer(tmp_path):
    it = _guard(tmp_path, Lease(1, guard.now() + 300_000_000))
    it.turn()
    assert 0.0 < it.turn() < 0.31


def test_a_lease_that_cannot_be_read_ends_when_it_was_to(tmp_path):
    it = _guard(tmp_path, Lease(1, guard.now() + 50_000_000))
    it.turn()
    (tmp_path / "lease").unlink()
    it.turn()
    assert it.lease.term == 1


def test_a_guard_whose_directory_is_gone_or_that_has_nothing_left_to_do_ends(tmp_path):
    it = _guard(tmp_path, Lease(1, 0))
    assert it.turn() == guard.LOOK_SECONDS
    it.idle_since -= int((guard.IDLE_SECONDS + 1) * 1e9)
    assert it.turn() is None
    gone = Guard(str(tmp_path / "gone"))
    assert gone.turn() is None


def test_a_task_that_is_registered_keeps_the_guard_from_ending_and_stays_watched(tmp_path):
    it = _guard(tmp_path, Lease(1, guard.now()))
    (tmp_path / "tasks" / "t1").write_text("c1 1 0 0\n")
    it.idle_since -= int((guard.IDLE_SECONDS + 1) * 1e9)
    # Its start may still be under way in the engine.
    assert it.turn() == guard.PENDING_SECONDS
    assert list((tmp_path / "done").iterdir()) == []


def test_the_guard_imports_nothing_of_ours():
    text = pathlib.Path(guard.__file__).read_text()
    assert "pilothouse" not in text


def test_what_was_never_found_is_looked_for_less_often_after_a_while(tmp_path):
    it = _guard(tmp_path, Lease(1, guard.now() - int((guard.EAGER_SECONDS + 1) * 1e9)))
    (tmp_path / "tasks" / "t1").write_text("c1 1 0 0\n")
    assert it.turn() == guard.LOOK_SECONDS
