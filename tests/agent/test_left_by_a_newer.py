"""What a newer agent left on the machine is read after going back to the version before it."""

import gzip

import msgspec

from pilothouse.agent.images.decide import Use
from pilothouse.agent.images.ledger import Book, Ledger
from pilothouse.agent.logs.archive import LogArchive
from pilothouse.cli import membership
from pilothouse.cli.membership import Membership
from pilothouse.clock import SystemClock
from pilothouse.model.cluster import Role
from pilothouse.model.wire import LogLine, LogQuery, Stream


def newer(value, *places):
    """Return *value* as JSON with a field that this version does not know, at its top and at each of *places*."""
    raw = msgspec.to_builtins(value)
    for place in (raw, *(place(raw) for place in places)):
        place["mood"] = {"calm": [True]}
    return msgspec.json.encode(raw)


def test_the_logs_of_dead_tasks(tmp_path):
    lines = [LogLine(task_id="t1", at=float(n), stream=Stream.OUT, text=str(n)) for n in range(3)]
    archive = LogArchive(tmp_path)
    archive.save("t1", lines)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(gzip.compress(b"\n".join(map(newer, lines))))
    assert list(archive.read(LogQuery(task_id="t1"))) == lines


def test_when_images_were_used(tmp_path):
    use = Use(order=3, at=1.0)
    path = tmp_path / "images.json"
    path.write_bytes(newer(Book(uses={"sha256:a": use, "sha256:b": use}), lambda raw: raw["uses"]["sha256:a"]))
    assert Ledger(path, SystemClock()).uses == {"sha256:a": use, "sha256:b": use}


def test_the_place_in_a_cluster(tmp_path):
    known = Membership(role=Role.AGENT, node_id="web1", cluster="c" * 32, managers=("m1:7444",))
    (tmp_path / membership.FILE).write_bytes(newer(known))
    assert membership.load(tmp_path) == known
