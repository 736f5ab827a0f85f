"""What the engines say, turned into our words."""

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent.runtime.docker.answers import (
    ContainerAnswer,
    InfoAnswer,
    decode,
    digest_of,
    foreign_of,
    label_problem,
    repository_of,
    seconds_of,
    state_of,
)
from pilothouse.agent.runtime.docker.client import lines_of
from pilothouse.agent.runtime.docker.dialect import Dialect
from pilothouse.agent.runtime.docker.engine import warnings_of
from pilothouse.agent.runtime.docker.failures import pull_is_hopeless, refusal
from pilothouse.agent.runtime.docker.images import every_seconds
from pilothouse.agent.runtime.docker.logins import Login, header_for
from pilothouse.agent.runtime.docker.streams import MAX_LINE_BYTES, Demultiplexer, Lines
from pilothouse.agent.runtime.docker.usage import Usage, groups_of, read_usage
from pilothouse.errors import PermanentError, RuntimeUnavailableError, TemporaryError
from pilothouse.model.wire import LogLine, Stream

NAME = "ph.shop.web.1.t00000000000"


def container(status, **state):
    fields = ",".join(f'"{key}": {value}' for key, value in state.items())
    return decode(
        f'{{"Id": "abc", "Name": "/{NAME}", "Image": "sha256:1", "Unknown": 1, '
        f'"State": {{"Status": "{status}"{"," if fields else ""}{fields}}}, '
        '"NetworkSettings": {"Networks": {"front": {"IPAddress": "10.0.0.2"}, "back": {"IPAddress": ""}}}}'.encode(),
        ContainerAnswer,
    )


def test_a_running_container_has_a_pid_and_addresses():
    state = state_of(container("running", Pid=42, StartedAt='"2026-11-21T11:00:00.123456789Z"'))
    assert (state.name, state.task_id, state.phase, state.pid) == (NAME, "t00000000000", "running", 42)
    assert state.addresses == {"front": "10.0.0.2"}
    assert state.started_at == pytest.approx(1795258800.123456)
    assert state.exit is None


def test_one_that_ended_says_how_and_has_neither():
    state = state_of(container("exited", Pid=42, ExitCode=137, OOMKilled="true", FinishedAt='"2026-11-21T11:00:01Z"'))
    assert (state.pid, state.addresses) == (0, {})
    assert (state.exit.code, state.exit.oom, state.exit.finished_at) == (137, True, 1795258801.0)
    assert state.exit.started_at is None


@pytest.mark.parametrize(
    ("said", "phase"),
    [("created", "created"), ("configured", "created"), ("stopped", "exited"), ("removing", "dead"), ("new", "dead")],
)
def test_both_engines_words_for_a_phase_are_known_and_a_new_one_is_not_running(said, phase):
    assert state_of(container(said)).phase == phase


@pytest.mark.parametrize(("said", "health"), [("", "none"), ("none", "none"), ("healthy", "healthy")])
def test_no_health_check_is_none(said, health):
    assert state_of(container("running", Health=f'{{"Status": "{said}"}}')).health == health


def test_an_answer_that_is_cut_off_may_be_asked_for_again():
    with pytest.raises(TemporaryError, match="cannot be read"):
        decode(b'{"Id": "a', ContainerAnswer)


@pytest.mark.parametrize("stamp", ["", "0001-01-01T00:00:00Z"])
def test_the_engines_zero_time_is_no_time(stamp):
    assert seconds_of(stamp) is None


@given(st.floats(0, 4e9).map(lambda at: round(at, 6)))
def test_a_time_stamp_survives(at):
    import datetime

    stamp = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat().replace("+00:00", "000Z")
    if "." in stamp:
        assert seconds_of(stamp) == pytest.approx(at, abs=1e-5)


def test_a_foreign_container_tells_what_compose_wrote_on_it():
    labels = (
        '{"com.docker.compose.project": "shop", "com.docker.compose.service": "web", '
        '"com.docker.compose.container-number": "2", "com.docker.compose.oneoff": "True"}'
    )
    answer = decode(
        f'{{"Id": "abc", "Name": "/shop-web-2", "State": {{"Status": "running"}}, "Config": {{"Image": "web:1", '
        f'"Labels": {labels}}}}}'.encode(),
        ContainerAnswer,
    )
    found = foreign_of(answer)
    assert (found.name, found.project, found.service, found.number) == ("shop-web-2", "shop", "web", 2)
    assert (found.one_off, found.running, found.image) == (True, True, "web:1")


@pytest.mark.parametrize(
    ("ref", "parts"),
    [
        ("nginx", ("nginx", "latest")),
        ("nginx:1.25", ("nginx", "1.25")),
        ("host:5000/a/b", ("host:5000/a/b", "latest")),
        ("host:5000/a/b:v1", ("host:5000/a/b", "v1")),
        ("a@sha256:12", ("a", "sha256:12")),
        ("a:1@sha256:12", ("a:1", "sha256:12")),
    ],
)
def test_a_reference_is_split_where_the_tag_begins(ref, parts):
    assert repository_of(ref) == parts


def test_the_digest_is_of_the_repository_that_was_asked_for():
    digests = ["other/nginx@sha256:1", "docker.io/library/nginx@sha256:2"]
    assert digest_of("nginx:1.25", digests) == "docker.io/library/nginx@sha256:2"
    assert digest_of("nginx", []) == ""


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"io.pilothouse.task": "x"}, "reserved"),
        ({"a": "x" * 65_536}, "at most 64"),
        ({"a": "x"}, ""),
    ],
)
def test_an_image_cannot_pretend_to_be_ours_or_make_lists_expensive(labels, said):
    problem = label_problem(labels)
    assert said in problem
    assert bool(problem) == bool(said)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PermanentError),
        (404, PermanentError),
        (409, TemporaryError),
        (500, TemporaryError),
        (501, PermanentError),
        (503, RuntimeUnavailableError),
    ],
)
def test_the_status_says_whether_to_try_again(status, kind):
    error = refusal("start it", status, "no")
    assert isinstance(error, kind)
    assert str(error) == f"cannot start it: no (status {status})"


@pytest.mark.parametrize(
    ("status", "message", "hopeless"),
    [
        (404, "anything", True),
        (500, "manifest unknown: manifest unknown", True),
        (500, "pull access denied for x", True),
        (500, "dial tcp: connection refused", False),
        (500, "toomanyrequests: slow down", False),
        (500, "unexpected EOF", False),
    ],
)
def test_a_pull_that_can_never_work_is_not_repeated(status, message, hopeless):
    assert pull_is_hopeless(status, message) is hopeless


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        ("daily", 86400.0),
        ("weekly", 604800.0),
        ("every_12h", 43200.0),
        ("every_1d6h", 108000.0),
        ("every_", None),
        ("every_5x", None),
        ("missing", None),
    ],
)
def test_a_pull_policy_may_name_an_age(policy, seconds):
    assert every_seconds(policy) == seconds


def frame(stream, text):
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


STAMP = "2026-11-21T11:00:00.000000000Z"


def read(data, sizes):
    pieces, lines, found = Demultiplexer(), Lines("t", framed=True), []
    while data:
        size = next(sizes)
        chunk, data = data[:size], data[size:]
        for stream, piece in pieces.feed(chunk):
            found += lines.feed(stream, piece)
    return [*found, *lines.rest()]


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.text(st.characters(codec="utf-8", exclude_characters="\n\r")))),
    st.integers(1, 40),
)
def test_lines_come_out_as_they_were_written_however_the_bytes_arrive(written, size):
    data = b"".join(frame(stream, f"{STAMP} {text}\n".encode()) for stream, text in written)
    streams = {1: Stream.OUT, 2: Stream.ERR}
    expected = [LogLine(task_id="t", at=1795258800.0, stream=streams[stream], text=text) for stream, text in written]
    assert read(data, iter(lambda: size, 0)) == expected


def test_a_long_line_in_pieces_is_one_line_and_is_cut():
    pieces = [f"{STAMP} {'x' * 16_384}".encode()] * 6 + [f"{STAMP} end\n".encode()]
    (line,) = read(b"".join(frame(1, piece) for piece in pieces), iter(lambda: 1000, 0))
    assert set(line.text) == {"x"}
    assert 16_384 < len(line.text) <= MAX_LINE_BYTES


def test_streams_do_not_mix_within_a_line():
    data = frame(1, f"{STAMP} out".encode()) + frame(2, f"{STAMP} err\n".encode()) + frame(1, f"{STAMP} put\n".encode())
    assert [(line.stream, line.text) for line in read(data, iter(lambda: 7, 0))] == [
        (Stream.ERR, "err"),
        (Stream.OUT, "output"),
    ]


class Answer:
    """As much of an HTTP answer as has lines."""

    def __init__(self, *chunks):
        self.content = self
        self._chunks = chunks

    async def iter_any(self):
        for chunk in self._chunks:
            yield chunk


@given(st.lists(st.binary(min_size=1).filter(lambda b: b.strip() and b"\n" not in b)), st.integers(1, 9))
def test_a_stream_of_lines_is_cut_at_line_ends_only(lines, size):
    data = b"\n".join(lines)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]

    async def collect():
        return [line async for line in lines_of(Answer(*chunks))]

    assert asyncio.run(collect()) == lines


V1 = "12:memory:/docker/abc\n5:cpu,cpuacct:/docker/abc\n4:pids:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n"


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_usage_is_read_from_one_hierarchy_per_controller(tmp_path):
    write(
        tmp_path,
        {
            "cpuacct/docker/abc/cpuacct.usage": "1234\n",
            "memory/docker/abc/memory.usage_in_bytes": "5000\n",
            "memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/docker/abc/memory.stat": "cache 9\ntotal_inactive_file 1000\n",
            "pids/docker/abc/pids.current": "3\n",
        },
    )
    assert read_usage(groups_of(V1), tmp_path) == Usage(cpu_nano_total=1234, memory_bytes=4000, pids=3)


def test_usage_is_read_from_the_unified_hierarchy(tmp_path):
    write(
        tmp_path,
        {
            "system.slice/abc/cpu.stat": "usage_usec 7\nuser_usec 1\n",
            "system.slice/abc/memory.current": "5000\n",
            "system.slice/abc/memory.max": "max\n",
            "system.slice/abc/memory.stat": "anon 1\ninactive_file 6000\n",
            "system.slice/abc/pids.current": "2\n",
        },
    )
    assert read_usage(groups_of("0::/system.slice/abc\n"), tmp_path) == Usage(cpu_nano_total=7000, pids=2)


def test_the_doctor_is_told_what_an_engine_lacks():
    safe = InfoAnswer(live_restore_enabled=True, security_options=["name=seccomp,profile=default", "name=apparmor"])
    assert warnings_of(safe, Dialect(), systemd=True) == ()
    bare = warnings_of(InfoAnswer(warnings=["WARNING: No swap limit support"]), Dialect(too_old=True), systemd=True)
    for word in ("20.10", "live-restore", "seccomp", "AppArmor", "No swap limit"):
        assert any(word in sentence for sentence in bare)
    podman = InfoAnswer(security_options=["name=seccomp,profile=default", "name=apparmor"])
    assert "systemd" in warnings_of(podman, Dialect(kind="podman"), systemd=False)[0]


LOGINS = b"""{"auths": {"https://index.docker.io/v1/": {"auth": "YWxpY2U6b3Blbg=="}, "host:5000":
{"identitytoken": "t"},
"broken.example": {"auth": "%%%"}}, "credsStore": "x"}"""


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("nginx", {"username": "alice", "password": "open", "serveraddress": "docker.io"}),
        ("library/nginx:1", {"username": "alice", "password": "open", "serveraddress": "docker.io"}),
        ("host:5000/a/b:1", {"identitytoken": "t", "serveraddress": "host:5000"}),
        ("broken.example/a", None),
        ("elsewhere.example/nginx", None),
    ],
)
def test_a_pull_takes_the_login_of_its_own_registry_and_no_other(ref, expected):
    header = header_for(ref, LOGINS)
    sent = json.loads(base64.urlsafe_b64decode(header["X-Registry-Auth"])) if header else None
    assert sent == expected


def test_a_login_file_that_is_damaged_means_no_login_and_a_login_is_never_shown():
    assert header_for("nginx", b"{") == {}
    assert "open" not in repr(Login(username="alice", password="open"))


def test_a_start_that_failed_is_told_with_its_cause_and_not_the_layers_it_came_through():
    said = (
        "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
        'exec: "/no/such": stat /no/such: no such file or directory: unknown'
    )
    assert str(refusal("start it", 400, said)) == (
        'cannot start it: exec: "/no/such": stat /no/such: no such file or directory (status 400)'
    )
    assert str(refusal("start it", 409, "it is busy: unknown")) == "cannot start it: it is busy: unknown (status 409)"
