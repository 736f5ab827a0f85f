"""Starting and stopping a server: who holds the lock, what is said, what the unit runs."""

import os
import re
import subprocess
import sys
import textwrap

import pytest

from pilothouse.cli import lifecycle
from pilothouse.cli.pidfile import PidFile
from pilothouse.cli.places import engine_socket, places
from pilothouse.errors import ConflictError, ServerUnavailableError
from pilothouse.model.api import Info
from tests.cli.fake_api import fake_api

HOLDER = """
import pathlib, signal, sys
from pilothouse.cli.pidfile import PidFile
if {deaf}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with PidFile(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def found(here, tmp_path):
    return places(os.environ)


@pytest.fixture
def holder(found):
    """A process that holds the lock as a server does."""
    started = []

    def start(*, deaf=False):
        code = textwrap.dedent(HOLDER.format(deaf=deaf))
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(found.pid_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"held\n"
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_lock_is_proof_that_a_server_lives(found, holder):
    assert lifecycle.running_pid(found) is None
    process = holder()
    assert lifecycle.running_pid(found) == process.pid
    process.kill()
    process.wait()
    assert found.pid_file.read_text().strip() == str(process.pid)
    assert lifecycle.running_pid(found) is None, "the file stays, and means nothing without its lock"


def test_two_servers_cannot_share_a_run_directory(found, holder):
    process = holder()
    with pytest.raises(ConflictError, match=rf"a server runs already .* \(process {process.pid}\)"):
        PidFile(found.pid_file).__enter__()


def test_stop_ends_the_process_that_holds_the_lock_and_waits_for_it(found, holder):
    process = holder()
    assert lifecycle.stop(found) == process.pid
    assert process.wait(5) == -15
    assert lifecycle.stop(found) is None


def test_a_stale_pid_file_never_gets_a_stranger_killed(found, holder):
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found.pid_file.write_text(f"{bystander.pid}\n")
    assert lifecycle.stop(found) is None
    assert bystander.poll() is None
    bystander.communicate(b"\n")


def test_a_server_that_does_not_end_is_told_with_its_log(found, holder):
    holder(deaf=True)
    found.log_file.write_text("last words\n")
    with pytest.raises(ServerUnavailableError, match=r"has not ended after 0\.1 s; its log ends with:\nlast words"):
        lifecycle.stop(found, 0.1)


def test_status_without_a_server_fails_and_says_how_to_start_one(command):
    done = command("server", "status")
    assert (done.code, done.out) == (2, "no server runs; start it: pilothouse server start\n")


def test_status_tells_what_runs(command, found, tmp_path):
    info = Info(version="1", pid=7, started_at=1.0, node_id="n", engine="docker 20", store="sqlite", revision=3, apps=1,
                tasks=2)  # fmt: skip
    with fake_api(found.socket) as api:
        api.answers["GET", "/v1/info"] = info
        done = command("server", "status")
    assert done.code == 0
    assert done.out.startswith("pilothouse 1 runs as process 7, for ")


def test_a_server_that_answers_is_not_started_again(found):
    said = []
    with fake_api(found.socket):
        lifecycle.ensure(found, said.append)
    assert said == []


def test_a_server_that_cannot_start_is_told_with_its_log(found, monkeypatch):
    monkeypatch.setenv("PILOTHOUSE_ENGINE", "unix:///nowhere")
    (found.pid_file.parent / "data").write_text("in the way")
    with pytest.raises(
        ServerUnavailableError, match="the server did not start; its log ends with:\nerror PH203: the data directory"
    ):
        lifecycle.start(found)


def test_the_unit_runs_this_program_and_is_told_when_it_is_ready():
    text = lifecycle.unit_text("/opt/a 100%/bin/python")
    assert 'ExecStart="/opt/a 100%%/bin/python" -m pilothouse server run\n' in text
    assert "Type=notify\n" in text
    assert "KillMode=process\n" in text
    assert "RuntimeDirectoryPreserve=yes\n" in text


def test_the_unit_leaves_the_proxy_running_when_the_server_stops():
    text = lifecycle.unit_text("/opt/bin/python")
    assert "KillMode=process\n" in text
    assert "RuntimeDirectoryPreserve=yes\n" in text, "its files and its admin socket are there"
    assert not re.search(r"^(PrivateNetwork|PrivateTmp|NoNewPrivileges)=yes", text, re.MULTILINE)
    assert "SendSIGKILL" not in text
    assert "LimitNOFILE=65536:1048576\n" in text


def test_options_win_over_variables_over_defaults():
    variables = {"PILOTHOUSE_RUN": "/v/run", "PILOTHOUSE_DATA": "/v/data"}
    assert places({}).default
    assert places(variables).socket == "/v/run/api.sock"
    assert places(variables, run="/o/run").socket == "/o/run/api.sock"
    assert places({**variables, "PILOTHOUSE_SOCKET": "/v/s"}, socket="/o/s").socket == "/o/s"
    assert not places(variables).default


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PILOTHOUSE_ENGINE": "unix:///a", "DOCKER_HOST": "unix:///b"}, "/a"),
        ({"DOCKER_HOST": "unix:///b"}, "/b"),
        ({"PILOTHOUSE_ENGINE": "/plain"}, "/plain"),
    ],
)
def test_the_engine_is_the_one_that_is_named(variables, expected):
    assert engine_socket(variables) == expected
