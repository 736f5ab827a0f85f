"""A real guard, real control groups and a real engine: what is fenced is dead in time, whoever else is alive."""

import asyncio
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid

import pytest

from pilothouse.agent.guard import guard
from pilothouse.agent.guard.keeper import Keeper
from pilothouse.agent.guard.register import Register
from pilothouse.agent.lease import Term
from pilothouse.clock import SystemClock
from pilothouse.errors import TemporaryError
from tests.engine import BASE, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FORKS = ["sh", "-c", "while :; do (sleep 0.05; sleep 0.05) & sleep 0.01; done"]
MANY = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do (trap '' TERM INT HUP; while :; do sleep 1; done) & done; wait"]


class Post:
    """A directory with a guard on duty."""

    def __init__(self, directory):
        self.register = Register(directory)
        self.keeper = Keeper(self.register, SystemClock())

    def begin(self):
        asyncio.run(self.keeper.ensure())
        return self

    @property
    def pid(self):
        return self.keeper.find().pid

    def lease(self, seconds, number=1):
        end = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
        self.register.keep(Term(number=number, until=end))
        return end

    def close(self):
        found = self.keeper.find()
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found.pid, signal.SIGCONT)
                os.kill(found.pid, signal.SIGKILL)


@pytest.fixture
def post(tmp_path):
    it = Post(tmp_path / "guard").begin()
    yield it
    it.close()


class Container:
    """One container of the private engine, and its processes as the kernel has them."""

    def __init__(self, host, command):
        self.host = host
        self.name = f"ph-guard-{uuid.uuid4().hex[:8]}"
        body = {"Image": BASE, "Cmd": command, "HostConfig": {"NetworkMode": "none"}}
        status, answer = host.request("POST", f"/containers/create?name={self.name}", body)
        assert status == 201, answer
        self.id = answer["Id"]
        assert host.request("POST", f"/containers/{self.id}/start")[0] == 204
        self.group = until(self._group, "its control group is there")
        self.process = host.request("GET", f"/containers/{self.id}/json")[1]["State"]["Pid"]

    def _group(self):
        found = guard.groups(guard.hierarchies(pathlib.Path("/proc/self/mounts").read_text()), [self.id])[self.id]
        return found[0][0] if found else None

    @property
    def alive(self):
        return [pid for pid in guard.members(self.group) if guard.began(pid)]

    def remove(self):
        self.host.request("DELETE", f"/containers/{self.id}?force=1&v=1")


@pytest.fixture
def container(docker_host, nothing_left_behind):
    made = []

    def make(command=("sleep", "1000000")):
        made.append(Container(docker_host, list(command)))
        return made[-1]

    yield make
    for each in made:
        each.remove()


def dead_after(containers, end, seconds=6.0):
    """Return how long after *end* (boot time) nothing of the containers was left."""
    until(lambda: not any(each.alive for each in containers), "everything is dead", seconds)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - end


@pytest.mark.parametrize("command", [["sleep", "1000000"], MANY, FORKS], ids=["one", "many", "forks"])
def test_everything_in_a_container_is_dead_right_after_the_lease(post, container, command):
    it = container(command)
    until(lambda: command != MANY or len(it.alive) > 8, "its processes run")
    post.lease(30)
    post.register.enter("t1", it.id, 1, it.process)
    end = post.lease(0.4)
    late = dead_after([it], end)
    assert 0.0 < late < 1.0
    done = until(lambda: post.register.killed("t1"), "the guard wrote down what it did")
    assert done.processes >= (9 if command == MANY else 1)


def test_a_lease_that_is_renewed_in_time_kills_nobody_and_other_containers_never_die(post, container):
    fenced, other = container(), container()
    post.register.enter("t1", fenced.id, 1, fenced.process)
    for _ in range(15):
        post.lease(0.5)
        time.sleep(0.1)
    assert fenced.alive
    end = post.lease(0.3)
    dead_after([fenced], end)
    time.sleep(0.5)
    assert other.alive


def test_what_was_started_under_an_older_lease_dies_although_another_has_begun(post, container):
    old, new = container(), container()
    post.register.enter("t1", old.id, 1, old.process)
    post.register.enter("t2", new.id, 2, new.process)
    post.lease(30, number=2)
    until(lambda: not old.alive, "the old one is dead")
    time.sleep(0.3)
    assert new.alive


def test_it_needs_no_engine(post, container, docker_host):
    it = container(MANY)
    post.register.enter("t1", it.id, 1, it.process)
    os.kill(docker_host.pid, signal.SIGSTOP)
    try:
        assert dead_after([it], post.lease(0.3)) < 1.0
    finally:
        os.kill(docker_host.pid, signal.SIGCONT)
    again = container()
    post.register.enter("t2", again.id, 1, again.process)
    docker_host.kill()
    try:
        assert dead_after([again], post.lease(0.3)) < 1.0
    finally:
        docker_host.start()


def test_a_guard_that_was_stopped_looks_at_the_clock_first(post, container):
    it = container()
    post.register.enter("t1", it.id, 1, it.process)
    post.lease(0.5)
    os.kill(post.pid, signal.SIGSTOP)
    time.sleep(1.0)
    assert it.alive
    assert not post.keeper.watching or SystemClock().boottime() - post.register.seen < 3
    woken = time.clock_gettime(time.CLOCK_BOOTTIME)
    os.kill(post.pid, signal.SIGCONT)
    assert dead_after([it], woken) < 1.0


def test_whoever_started_it_may_die(tmp_path, container):
    it = container()
    script = (
        "import asyncio, pathlib, sys\n"
        "from pilothouse.agent.guard.keeper import Keeper\n"
        "from pilothouse.agent.guard.register import Register\n"
        "from pilothouse.clock import SystemClock\n"
        "register = Register(pathlib.Path(sys.argv[1]))\n"
        "asyncio.run(Keeper(register, SystemClock()).ensure())\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    agent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "guard")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert agent.stdout.readline() == b"up\n"
    it_is = Post(tmp_path / "guard")
    try:
        it_is.register.enter("t1", it.id, 1, it.process)
        end = it_is.lease(0.6)
        agent.kill()
        agent.wait()
        assert dead_after([it], end) < 1.0
        first = it_is.pid
        asyncio.run(it_is.keeper.ensure())
        assert it_is.pid == first
    finally:
        agent.stdin.close()
        agent.stdout.close()
        it_is.close()


def test_a_task_whose_start_was_under_way_dies_as_soon_as_it_runs(post, docker_host, container):
    it = container()
    it.remove()
    name = f"ph-late-{uuid.uuid4().hex[:8]}"
    body = {"Image": BASE, "Cmd": ["sleep", "1000000"], "HostConfig": {"NetworkMode": "none"}}
    late = docker_host.request("POST", f"/containers/create?name={name}", body)[1]["Id"]
    try:
        post.lease(30)
        post.register.enter("t1", late, 1)
        post.lease(0.2)
        time.sleep(0.5)
        docker_host.request("POST", f"/containers/{late}/start")

        # It may die before its first program runs, so that the engine says its start failed.
        until(lambda: post.register.killed("t1"), "it is dead again", 3.0)
        state = docker_host.request("GET", f"/containers/{late}/json")[1]["State"]
        assert not state["Running"]
    finally:
        docker_host.request("DELETE", f"/containers/{late}?force=1&v=1")


def test_a_paused_container_dies_too(post, docker_host, container):
    it = container()
    assert docker_host.request("POST", f"/containers/{it.id}/pause")[0] == 204
    post.register.enter("t1", it.id, 1, it.process)
    assert dead_after([it], post.lease(0.3)) < 1.0


def test_twenty_containers_are_dead_in_time(post, container):
    them = [container(MANY) for _ in range(20)]
    for number, it in enumerate(them):
        post.register.enter(f"t{number}", it.id, 1, it.process)
    late = dead_after(them, post.lease(0.5))
    assert late < guard.KILL_SECONDS


def test_it_is_small_and_is_started_again_when_it_died(post):
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{post.pid}/status").read_text().splitlines())
    assert int(fields["VmRSS"].split()[0]) < 15 * 1024
    first = post.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: guard.began(first) == 0, "it is dead")
    assert not post.keeper.watching
    asyncio.run(post.keeper.ensure())
    assert post.pid != first
    assert post.keeper.watching


def test_a_guard_that_cannot_be_found_again_does_not_run(post):
    os.kill(post.pid, signal.SIGKILL)
    until(lambda: post.keeper.find() is None, "it is dead")
    place = f" {post.register.directory}"

    def guards():
        lines = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
        return [line for line in lines.splitlines() if "guard.py" in line and line.endswith(place)]

    (post.register.directory / "process.json").unlink()
    (post.register.directory / "process.json").mkdir()
    try:
        with pytest.raises(TemporaryError, match="cannot be kept"):
            asyncio.run(post.keeper.ensure())
        until(lambda: not guards(), "the one that was started has ended")
    finally:
        (post.register.directory / "process.json").rmdir()


def test_control_groups_of_version_two_are_emptied_as_well(post):
    root = next(
        (
            pathlib.Path(where)
            for where, second in guard.hierarchies(pathlib.Path("/proc/self/mounts").read_text())
            if second
        ),
        None,
    )
    if root is None:
        pytest.skip("this kernel has no control groups of version 2")
    name = uuid.uuid4().hex * 2
    group = root / f"ph-{name}"
    (group / "inner").mkdir(parents=True)
    shell = subprocess.Popen(
        ["sh", "-c", "echo $$ > $0/inner/cgroup.procs; echo in; (sleep 1000) & (sleep 1000) & wait", str(group)],
        stdout=subprocess.PIPE,
    )
    try:
        assert shell.stdout.readline() == b"in\n"
        post.register.enter("t1", name, 1)
        end = post.lease(0.3)
        assert shell.wait(5) == -signal.SIGKILL
        assert time.clock_gettime(time.CLOCK_BOOTTIME) - end < 1.0
    finally:
        shell.kill()
        shell.wait()
        shell.stdout.close()
        until(lambda: not guard.members(str(group)), "the group is empty")
        (group / "inner").rmdir()
        group.rmdir()
