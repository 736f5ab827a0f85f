"""What was done is recorded in order, short, and without contents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import ProgrammingError
from pilothouse.governance.audit.record import Entry, build, change, changes_of, name_of, next_number
from pilothouse.model.objects import AuditRecord, Grant

ENTRY = Entry(at=1.0, principal="uid:0(root)", action="app.deploy", object="app/shop")


class Records:
    """A read transaction over the first *count* audit records."""

    revision = 1

    def __init__(self, count):
        self.count, self.reads = count, 0

    def get(self, kind, id):
        self.reads += 1
        return build(ENTRY, int(id)) if kind is AuditRecord and 1 <= int(id) <= self.count else None

    def find(self, kind, **fields):
        return [build(ENTRY, n) for n in range(1, self.count + 1)]


@given(st.integers(0, 5_000_000))
def test_the_next_number_follows_the_last_one_and_costs_few_reads(count):
    tx = Records(count)
    assert next_number(tx) == count + 1
    assert tx.reads < 60


def test_the_number_after_the_last_one_is_found_at_once():
    assert next_number(Records(70_000)) == 70_001
    tx = Records(70_001)
    assert next_number(tx) == 70_002
    assert tx.reads <= 2


def test_ids_sort_in_the_order_they_were_given():
    ids = [build(ENTRY, number).id for number in (1, 9, 10, 99, 100, 12345)]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    "entry",
    [
        Entry(at=1, principal="p", action="deploy", object="app/shop"),
        Entry(at=1, principal="p", action="app.deploy", object="shop"),
        Entry(at=1, principal="p", action="app.deploy", object="app/shop", outcome="maybe"),
    ],
)
def test_a_record_nobody_could_read_is_not_made(entry):
    with pytest.raises(ProgrammingError):
        build(entry, 1)


def test_long_text_is_cut_so_that_no_caller_can_fill_the_store():
    long = tuple(change(f"p{n}", "x" * 5000, "y") for n in range(500))
    made = build(Entry(at=1, principal="p", action="a.b", object="a/b", summary="s" * 9999, changes=long), 1)
    assert len(made.summary) == 400
    assert len(made.changes) == 201
    assert all(len(c.before) <= 400 for c in made.changes)
    assert "300 more" in made.changes[-1].after


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3)), st.dictionaries(st.text(max_size=3), st.text()))
def test_changes_are_what_differs_and_nothing_else(before, after):
    found = {c.path for c in changes_of(before, after)}
    assert found == {p for p in {*before, *after} if before.get(p, "") != after.get(p, "")}


def test_an_object_is_named_by_kind_and_id():
    assert name_of(Grant(id="g1", app="shop", kind="gpu")) == "grant/g1"
