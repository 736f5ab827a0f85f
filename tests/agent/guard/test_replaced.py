"""An upgrade of the agent: the guard that runs is adopted, and followed by the new version's without a gap."""

import contextlib
import os
import signal

import msgspec
import pytest

from pilothouse.agent.guard import guard
from pilothouse.agent.guard.guard import Entry, Lease, entry_text, lease_line, parse_entry, parse_lease
from pilothouse.agent.guard.keeper import Keeper, Process
from pilothouse.agent.guard.register import Register
from pilothouse.clock import SystemClock


@pytest.fixture
async def keeper(tmp_path):
    keeper = Keeper(Register(tmp_path / "guard"), SystemClock())
    await keeper.ensure()
    began = [keeper.find()]
    yield keeper, began
    for each in [*began, keeper.find()]:
        if guard.began(each.pid) == each.began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)


def said_by(keeper, tmp_path, **fields):
    """Have the running guard be one that an agent of another version started."""
    known = keeper.find()
    (tmp_path / "guard" / "process.json").write_bytes(
        msgspec.json.encode({"pid": known.pid, "began": known.began, **fields})
    )
    return known


async def test_an_agent_that_comes_back_adopts_its_guard(keeper, tmp_path):
    first, _ = keeper
    again = Keeper(Register(tmp_path / "guard"), SystemClock())
    await again.ensure()
    assert again.find() == first.find()
    assert again.watching


@pytest.mark.parametrize("fields", [{}, {"program": "of-another-version", "mood": "calm"}])
async def test_a_guard_of_another_version_is_followed_by_this_ones(keeper, tmp_path, fields):
    first, began = keeper
    register = Register(tmp_path / "guard")
    register.enter("t1", "c" * 64, 1)
    older = said_by(first, tmp_path, **fields)
    again = Keeper(register, SystemClock())
    assert again.watching
    await again.ensure()
    began.append(now := again.find())
    assert (now.pid, now.program) != (older.pid, older.program)
    assert guard.began(older.pid) == 0
    assert again.watching
    assert register.entered("t1") == 1
    await again.ensure()
    assert again.find() == now


def test_what_agent_and_guard_tell_each_other_is_as_in_every_version():
    """A guard of another version that read something else would let a lease end that goes on, and kill for it."""
    line = lease_line(Lease(3, 9_000), "b00t")
    assert line == b"PH1 b00t 3 9000 1988131524".ljust(127) + b"\n"
    assert vars(parse_lease(line, "b00t")) == {"term": 3, "until": 9_000}
    assert entry_text(Entry("t1", "c0", 3, 44, 55)) == "c0 3 44 55\n"
    assert vars(parse_entry("t1", "c0 3 44 55\n"))["began"] == 55
    assert msgspec.json.decode(b'{"pid":1,"began":2}', type=Process) == Process(1, 2)
