"""One version of skew: what a newer process says is read without what is not known yet."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import InvalidRequestError
from pilothouse.model.objects import Ending, TaskStatus
from pilothouse.model.session import Report
from pilothouse.model.skew import Codec
from pilothouse.model.states import TaskState
from pilothouse.model.wire import TaskReport

CODEC = Codec(Report)


def told(number):
    status = TaskStatus(addresses={"net": "10.0.0.1"}, ending=Ending(exit_code=number))
    return TaskReport(task_id=f"t{number}", state=TaskState.FAILED, status=status)


REPORT = Report(tasks=(told(1), told(2)))


def test_what_is_known_is_read_as_it_is():
    assert CODEC.decode(msgspec.msgpack.encode(REPORT)) == REPORT


@given(st.data())
def test_what_is_not_known_is_left_out_wherever_it_stands(data):
    raw = msgspec.to_builtins(REPORT)
    places = [raw, *raw["tasks"], *(t["status"] for t in raw["tasks"]), *(t["status"]["ending"] for t in raw["tasks"])]
    for place in data.draw(st.lists(st.sampled_from(places), max_size=5)):
        place[data.draw(st.sampled_from(["new", "zz"]))] = data.draw(st.sampled_from([1, "x", {"new": 1}, [2], None]))
    assert CODEC.decode(msgspec.msgpack.encode(raw)) == REPORT


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x93", msgspec.msgpack.encode({"tasks": 7}), msgspec.msgpack.encode([1])]
)
def test_what_is_no_such_message_is_refused(data):
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        CODEC.decode(data)


@given(st.binary(max_size=60))
def test_garbage_is_refused_or_read_but_never_anything_else(data):
    try:
        found = CODEC.decode(data)
    except InvalidRequestError:
        return
    assert isinstance(found, Report)


def test_a_message_made_of_unknown_fields_is_not_worked_on_for_ever():
    with pytest.raises(InvalidRequestError, match="more than 100 fields"):
        CODEC.decode(msgspec.msgpack.encode({"tasks": [{f"f{n}": 1 for n in range(300)}]}))
