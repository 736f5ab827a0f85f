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


def test_every_kind_has_a_name_an_index_list_and_a_way_back_from_bytes():
    assert set(NAMES) == set(INDEXED) == set(KINDS)
    assert len(BY_NAME) == len(KINDS)
    task = sample_task("t1")
    assert decode(Task, encode(task)) == task
