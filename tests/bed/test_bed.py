"""The bed keeps what it promises: hosts that are apart, faults that can be taken back, and nothing left."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.bed import bed
from tests.bed.traces import nothing_left, traces
from tests.bed.wrong import Clock, small_disk
from tests.engine import SLEEPER, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def ground():
    with bed(2) as made:
        yield made


@pytest.fixture
def hosts(ground):
    yield ground.hosts
    ground.faults.heal()


def _socket(host):
    with host.inside():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host.address, 0))
    made.settimeout(0.3)
    return made


def _arrived(one, other, count=1):
    """Return how many of *count* packets from *one* arrive at the other."""
    with _socket(one) as near, _socket(other) as far:
        for _ in range(count):
            # The sender's own rules may say so at once.
            with contextlib.suppress(PermissionError):
                near.sendto(b"x", far.getsockname())
        got = 0
        with contextlib.suppress(TimeoutError):
            while got < count:
                far.recv(10)
                got += 1
    return got


def _container(host, name, **config):
    """Start a container and return its first process as this machine sees it."""
    made = host.request("POST", f"/containers/create?name={name}", {"Image": SLEEPER, **config})[1]
    assert host.request("POST", f"/containers/{made['Id']}/start")[0] == 204
    return made["Id"]


def _runs(host, name):
    status, seen = host.request("GET", f"/containers/{name}/json")
    return status == 200 and seen["State"]["Running"]


def test_hosts_have_names_places_processes_and_engines_of_their_own(hosts):
    one, two = hosts
    assert [host.run("hostname").stdout.strip() for host in hosts] == ["h1", "h2"]
    one.run("sh", "-c", "echo 1 >/etc/ph-mark; echo 1 >/opt/ph-mark; echo 1 >/run/ph-mark; echo 1 >/var/lib/ph-mark")
    places = ["/etc/ph-mark", "/opt/ph-mark", "/run/ph-mark", "/var/lib/ph-mark"]
    assert [path for path in places if one.run("test", "-e", path, check=False).returncode] == []
    assert [path for path in places if not two.run("test", "-e", path, check=False).returncode] == []
    assert [path for path in places if os.path.exists(path)] == []
    assert "dockerd" in one.run("ps", "ax").stdout
    assert str(two.directory) not in one.run("ps", "ax").stdout
    _container(one, "ph-mark")
    assert "container /ph-mark" in one.inventory()
    assert two.inventory() == set()
    one.clear()


def test_hosts_reach_each_other_until_the_cable_is_cut(ground, hosts):
    one, two = hosts
    assert (_arrived(one, two), _arrived(two, one)) == (1, 1)
    with ground.faults.cut(two):
        assert (_arrived(one, two), _arrived(two, one)) == (0, 0)
    assert (_arrived(one, two), _arrived(two, one)) == (1, 1)


@pytest.mark.parametrize(("way", "expected"), [("in", (0, 1)), ("out", (1, 0))])
def test_a_cable_can_be_cut_in_one_direction(ground, hosts, way, expected):
    one, two = hosts
    with ground.faults.cut(two, way=way):
        assert (_arrived(one, two), _arrived(two, one)) == expected


def test_a_cable_can_be_cut_between_two_hosts_only(ground, hosts):
    one, two = hosts
    with ground.faults.cut(one, peer=two):
        assert (_arrived(one, two), _arrived(two, one)) == (0, 0)
    with ground.faults.cut(one, peer=one):
        assert (_arrived(one, two), _arrived(two, one)) == (1, 1)


def test_a_cable_loses_the_share_that_was_asked_for(ground, hosts):
    one, two = hosts
    with ground.faults.cut(two, way="in", loss=30):
        assert 80 < _arrived(one, two, 150) < 130, "seven of ten, give or take what chance does in 150"


def test_faults_can_be_taken_back_one_by_one(ground, hosts):
    one, two = hosts
    first, second = ground.faults.cut(one), ground.faults.cut(two)
    first.heal()
    assert _arrived(one, two) == 0
    second.heal()
    assert _arrived(one, two) == 1


def test_a_power_cut_ends_everything_at_once_and_the_disk_stays(hosts):
    one, two = hosts
    container = _container(two, "lasting")
    two.run("sh", "-c", "echo kept >/var/lib/pilothouse/ph-kept; echo lost >/run/ph-lost")
    pids = list(two.processes())
    two.power_cut()
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []
    two.boot()
    assert _arrived(one, two) == 1
    assert two.run("cat", "/var/lib/pilothouse/ph-kept").stdout == "kept\n"
    assert two.run("test", "-e", "/run/ph-lost", check=False).returncode != 0
    assert not _runs(two, container), "the engine starts nothing by itself"
    two.clear()


def test_a_killed_engine_comes_back_and_its_containers_never_stopped(hosts):
    one = hosts[0]
    _container(one, "lasting")
    before = [pid for pid, line in one.processes().items() if "trap exit TERM" in line and "sleep 1000" in line]
    one.kill()
    assert [pid for pid in before if not os.path.exists(f"/proc/{pid}")] == []
    one.start()
    until(lambda: _runs(one, "lasting"), "the engine knows the container again")
    assert [pid for pid in before if not os.path.exists(f"/proc/{pid}")] == []
    one.clear()


def test_processes_are_found_paused_and_killed_by_name(hosts):
    one, two = hosts
    process = one.spawn("mark.log", "sleep", "987654")
    until(lambda: one.find("sleep", "987654"), "it runs")
    assert two.find("sleep", "987654") == []
    (pid,) = one.signal(signal.SIGSTOP, "sleep", "987654")
    until(lambda: _state(pid) == "T", "it is stopped")
    one.signal(signal.SIGKILL, "sleep", "987654")
    assert process.wait(10) == 128 + signal.SIGKILL
    with pytest.raises(AssertionError):
        one.signal(signal.SIGKILL, "sleep", "987654")


def _state(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0]


def test_a_clock_jumps_for_some_processes_and_what_counts_from_the_start_stays(hosts):
    one = hosts[0]
    clock = Clock(one)
    asked = "import time; print(time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))"

    def seen():
        shown = one.run(sys.executable, "-c", asked, environment=clock.environment).stdout
        return [float(each) - now for each, now in zip(shown.split(), _right_times(), strict=True)]

    for jump in (3600, -3600):
        clock.jump(jump)
        assert [round(each / 30) for each in seen()] == [jump / 30, 0, 0]
    assert abs(float(one.run("date", "+%s").stdout) - time.time()) < 30


def _right_times():
    return time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_small_disk_gets_full_and_has_room_again(hosts):
    one = hosts[0]
    one.run("mkdir", "-p", "/opt/small")
    one.run("sh", "-c", "echo kept >/opt/small/before")
    write = ["sh", "-c", "dd if=/dev/zero of=/opt/small/more bs=1M count=8 2>/dev/null"]
    with small_disk(one, "/opt/small", 32) as disk:
        assert one.run("cat", "/opt/small/before").stdout == "kept\n"
        disk.fill()
        assert one.run(*write, check=False).returncode != 0
        disk.free()
        assert one.run(*write, check=False).returncode == 0
    assert one.run("ls", "/opt/small").stdout == "before\n"


_LEFTOVERS = {
    "container": ["docker", "-H", "unix:///run/docker.sock", "create", "--name", "ph-left", SLEEPER],
    "network": ["docker", "-H", "unix:///run/docker.sock", "network", "create", "ph-left"],
    "volume": ["docker", "-H", "unix:///run/docker.sock", "volume", "create", "ph-left"],
    "interface": ["ip", "link", "add", "ph-left", "type", "bridge"],
    "rule": ["nft", "add", "table", "inet", "ph-left"],
    "mount": ["sh", "-c", "mkdir -p /run/ph-left && mount -t tmpfs none /run/ph-left"],
    "process": ["sh", "-c", "setsid sleep 987654 >/dev/null 2>&1 &"],
    "file": ["sh", "-c", "mkdir -p /run/pilothouse/files && echo 1 >/run/pilothouse/files/left"],
}
_AWAY = {
    "interface": ["ip", "link", "delete", "ph-left"],
    "rule": ["nft", "delete", "table", "inet", "ph-left"],
    "mount": ["umount", "/run/ph-left"],
    "process": ["sh", "-c", "kill $(pgrep -f '[s]leep 987654')"],
    "file": ["rm", "/run/pilothouse/files/left"],
}


@pytest.mark.parametrize("kind", sorted(_LEFTOVERS))
def test_what_is_left_on_a_host_is_named(hosts, kind):
    one = hosts[0]
    before = traces(one)
    with pytest.raises(AssertionError, match=f"{kind} "), nothing_left(hosts, 0.3):
        one.run(*_LEFTOVERS[kind])
    one.clear()
    if kind in _AWAY:
        one.run(*_AWAY[kind])
    until(lambda: not traces(one) - before, "it is as before")


def test_what_was_cleared_up_is_not_named(hosts):
    with nothing_left(hosts):
        _container(hosts[0], "passing")
        hosts[0].clear()


def test_a_closed_bed_leaves_nothing_on_the_machine():
    with bed(1) as ground:
        (host,) = ground.hosts
        _container(host, "left-running")
        directory, group, pids = host.directory, host.cgroup, list(host.processes())
        assert len(pids) > 3
    assert not directory.exists()
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []
    found = subprocess.run(["find", "/sys/fs/cgroup", "-maxdepth", "2", "-name", group], capture_output=True, text=True)
    assert found.stdout == ""
    with open("/proc/mounts") as mounts:
        assert str(directory) not in mounts.read()
