"""The materialised state finds by index what a scan would find, whatever was applied and undone."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.model.kinds import KINDS
from pilothouse.model.objects import Task
from pilothouse.store.conformance import sample_task
from pilothouse.store.interface import Change
from pilothouse.store.state import State
from pilothouse.store.tables import BY_NAME, INDEXED, NAMES, decode, encode
from tests.examples import examples

WRITES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "n1", "n2"]), st.booleans()), min_size=1, max_size=30
)


def _scan(tasks, field, value):
    return sorted((task for task in tasks.values() if getattr(task, field) == value), key=lambda task: task.id)


@given(WRITES, st.integers(0, 29))
@examples(60)
def test_an_index_finds_what_a_scan_finds_also_after_undo(writes, keep):
    state, tasks, kept = State(), {}, None
    applied = []
    for number, (name, node, delete) in enumerate(writes):
        if number == keep:
            kept = dict(tasks)
        before = tasks.pop(name, None)
        after = None if delete else msgspec.structs.replace(sample_task(name), node_id=node, version=number + 1)
        if before is None and after is None:
            continue
        if after is not None:
            tasks[name] = after
        state.set(before, after)
        if number >= keep:
            applied.append(Change(before, after))
    for node in ("", "n1", "n2"):
        assert state.find(Task, {"node_id": node}) == _scan(tasks, "node_id", node)
    if kept is not None:
        state.undo(applied, keep)
        assert state.find(Task, {}) == sorted(kept.values(), key=lambda task: task.id)
        assert state.find(Task, {"node_id": "n1"}) == _scan(kept, "node_id", "n1")


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(1, 90), st.sampled_from(["", "n1"])), max_size=12))
@examples(25)
def test_many_objects_are_found_in_order_however_they_come_and_go(writes):
    state, tasks = State(), {}
    for number in range(0, 600, 2):
        _put(state, tasks, number, "")
    for first, count, node in writes:
        for number in range(first, first + count):
            if f"{number:03}" in tasks and number % 3 == 0:
                state.set(tasks.pop(f"{number:03}"), None)
            else:
                _put(state, tasks, number, node)
        if first % 2:
            assert state.find(Task, {"node_id": node}) == _scan(tasks, "node_id", node)
    for node in ("", "n1"):
        assert state.find(Task, {"node_id": node}) == _scan(tasks, "node_id", node)
    assert state.find(Task, {}) == [tasks[each] for each in sorted(tasks)]


def _put(state, tasks, number, node):
    name = f"{number:03}"
    before, tasks[name] = tasks.get(name), msgspec.structs.replace(sample_task(name), node_id=node, version=number + 1)
    state.set(before, tasks[name])


def test_every_kind_has_a_name_an_index_list_and_a_way_back_from_bytes():
    assert set(NAMES) == set(INDEXED) == set(KINDS)
    assert len(BY_NAME) == len(KINDS)
    task = sample_task("t1")
    assert decode(Task, encode(task)) == task
