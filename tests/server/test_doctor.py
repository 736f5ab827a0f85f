"""`doctor` says what is wrong, worst first, and what to do about it."""

import pytest

from pilothouse.model.node import Node, NodeDescription
from pilothouse.server.doctor import DiskSeen, FileSeen, disk, engine, findings, permissions

GIB = 1024**3


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("docker 20.10.24", "ok"),
        ("docker 28.1", "ok"),
        ("docker 19.03.1", "error"),
        ("podman 4.3.1", "ok"),
        ("", "warning"),
        ("docker dev", "warning"),
    ],
)
def test_an_engine_is_known_too_old_or_unknown(text, level):
    assert engine("node", text).level == level


@pytest.mark.parametrize(
    ("total", "free", "level"),
    [(100 * GIB, 50 * GIB, "ok"), (100 * GIB, 5 * GIB, "warning"), (4 * GIB, 1 * GIB, "warning"), (GIB, 1000, "error")],
)
def test_a_disk_has_room_little_room_or_none(total, free, level):
    assert disk(DiskSeen("/data", total, free)).level == level


@pytest.mark.parametrize(("mode", "level"), [(0o660, "ok"), (0o700, "ok"), (0o666, "error"), (0o604, "error")])
def test_what_guards_the_platform_is_for_nobody_else(mode, level):
    assert permissions(FileSeen("/run/api.sock", mode, 0)).level == level


def test_the_worst_comes_first_and_every_complaint_has_advice():
    warned = NodeDescription(hostname="h", engine="docker 20.10.24", warnings=("live-restore is off: …",))
    node = Node(id="n1", description=warned, ready=True)
    found = findings((node,), ("n1",), (DiskSeen("/d", GIB, 1),), (FileSeen("/s", 0o666, 0),))
    assert [f.level for f in found] == sorted((f.level for f in found), key=["error", "warning", "ok"].index)
    assert any("live-restore" in f.message for f in found)
    assert all(f.advice for f in found if f.level == "error")


def test_a_platform_without_a_node_or_with_a_silent_one_is_told():
    assert findings((), (), (), ())[0].message == "no node has registered yet"
    silent = Node(id="n1", description=NodeDescription(engine="docker 20.10.24"), ready=True)
    assert findings((silent,), (), (), ())[0].level == "error"
