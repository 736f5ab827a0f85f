"""A machine is looked at and gets Pilothouse over SSH, from a real client to a real server."""

import contextlib
import json
import threading

import pytest

from tests.bed.sshd import sshd
from tests.engine import until

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def spare(joined):
    """A machine that is in no cluster; it takes its place again afterwards."""
    host = joined.hosts[2]
    joined.part(host)
    yield host
    host.run("rm", "-rf", "/opt/pilothouse", "/usr/local/bin/pilothouse")
    joined.join(host)


@pytest.fixture
def hosts(joined, spare):
    return joined.manager, spare


@pytest.fixture
def server(spare):
    with sshd(spare) as made:
        yield made


_NO_MANAGERS = """\
table inet ph_wall {
chain ph_out { type filter hook output priority 0; tcp dport 7443-7444 reject with tcp reset; }
}
"""


def _provision(hosts, server, *arguments, user="root", trusted=True, **options):
    known = ["--known-hosts", server.known_hosts] if trusted else []
    command = ["provision", server.url(user), "--identity", server.identity, *known, *arguments]
    return hosts[0].pilothouse(*command, **options)


def _fresh(host):
    return host.run("ls", "/opt/pilothouse", check=False).returncode != 0


def test_a_machine_is_looked_at_and_nothing_is_changed(hosts, server):
    findings = json.loads(_provision(hosts, server, "--check", "--json").stdout)["findings"]
    found = {each["check"]: each for each in findings}
    assert len(found) == 14
    assert [each for each in findings if each["verdict"] == "refused"] == []
    assert "10.77.0.1:7443, 10.77.0.1:7444" in found["managers"]["message"]
    assert found["engine"]["message"].startswith("docker ")
    assert found["live restore"]["verdict"] == "good"
    assert found["mtu"]["message"] == "1500 bytes"
    assert _fresh(hosts[1])


def test_an_unknown_machine_is_sent_nothing_and_its_fingerprint_is_shown(hosts, server):
    done = _provision(hosts, server, "--check", trusted=False, check=False)
    assert done.returncode == 3
    assert server.fingerprint in done.stderr
    assert "nothing was sent" in done.stderr
    by_fingerprint = _provision(hosts, server, "--check", "--host-key", server.fingerprint, trusted=False)
    assert "good" in by_fingerprint.stderr


def test_a_machine_with_another_key_is_refused(hosts, server):
    wrong = "SHA256:" + "A" * 43
    done = _provision(hosts, server, "--check", "--host-key", wrong, check=False)
    assert done.returncode == 3
    assert wrong in done.stderr
    assert "good" not in done.stderr


def test_who_is_not_let_in_is_told_what_to_do(hosts, server):
    done = _provision(hosts, server, "--check", user="nobody", check=False)
    assert done.returncode == 2
    assert "authorized_keys" in done.stderr or "does not let us in" in done.stderr


def test_an_unfit_machine_is_refused_with_every_reason_and_nothing_is_changed(hosts, server):
    hosts[1].run("ip", "link", "set", "eth0", "mtu", "1000")
    hosts[1].kill()
    try:
        # It can be reached by SSH, and cannot reach anybody itself.
        hosts[1].run("nft", "-f", "-", given=_NO_MANAGERS)
        done = _provision(hosts, server, check=False)
    finally:
        hosts[1].run("nft", "delete", "table", "inet", "ph_wall")
        hosts[1].start()
        hosts[1].run("ip", "link", "set", "eth0", "mtu", "1500")
    assert done.returncode == 3
    assert "mtu: its interface sends 1000 bytes" in done.stderr
    assert "engine: no container engine answers" in done.stderr
    assert "managers: it cannot connect to 10.77.0.1:7443 (Connection refused)" in done.stderr
    assert "3 things in the way" in done.stderr
    assert _fresh(hosts[1])


@contextlib.contextmanager
def _listed(host):
    """Yield the command lines of the processes that run on *host* meanwhile, looked at ten times a second."""
    lines, over = set(), threading.Event()

    def look():
        while not over.wait(0.1):
            lines.update(host.processes().values())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield lines
    finally:
        over.set()
        looking.join()


def test_an_installation_is_sent_once_runs_without_anything_of_ours_and_joins(joined, hosts, server):
    there = hosts[1]
    first = _provision(hosts, server, "--no-join")
    assert "sending Pilothouse" in first.stderr
    assert "pilothouse" in there.run("env", "-i", "/usr/local/bin/pilothouse", "version").stdout.lower()
    where = "import pilothouse, grpc; print(*pilothouse.__path__, *grpc.__path__)"
    module = there.run("env", "-i", "/opt/pilothouse/current/bin/python3", "-c", where).stdout
    assert all(path.startswith("/opt/pilothouse/current/") for path in module.split())

    with _listed(there) as lines:
        second = _provision(hosts, server, "--label", "zone=b", "--json")
    assert any(" join " in line for line in lines), "it was seen joining"
    assert [line for line in lines if "PH1-" in line] == [], "nobody who lists processes sees the token"
    done = json.loads(second.stdout)
    assert done["installed"] == there.run("readlink", "/opt/pilothouse/current").stdout.strip()
    try:
        node = joined.nodes()[done["node"]]
        assert (node["ready"], node["spec"]["labels"]) == (True, {"zone": "b"})
        assert there.find("/opt/pilothouse/current/bin/python3", "-m", "pilothouse")
        again = _provision(hosts, server, check=False)
        assert again.returncode == 3
        assert "member: it is a member of a cluster already" in again.stderr
    finally:
        joined.part(there, "/usr/local/bin/pilothouse")
        there.run("rm", "-rf", "/opt/pilothouse", "/usr/local/bin/pilothouse")


def test_a_program_of_the_same_name_is_not_overwritten(hosts, server):
    there = hosts[1]
    there.run("sh", "-c", "echo mine >/usr/local/bin/pilothouse")
    try:
        done = _provision(hosts, server, "--no-join", check=False)
        assert done.returncode == 2
        assert "/usr/local/bin/pilothouse is there already and not ours" in done.stderr
        assert "stopped at the step install" in done.stderr
        assert there.run("cat", "/usr/local/bin/pilothouse").stdout == "mine\n"
        assert _fresh(there)
    finally:
        there.run("rm", "-rf", "/opt/pilothouse", "/usr/local/bin/pilothouse")


def test_a_connection_that_breaks_is_said_with_the_step(hosts, server):
    there = hosts[1]
    try:
        client = hosts[0].begin("provision", server.url(), "--identity", server.identity, "--known-hosts",
                                server.known_hosts, "--no-join")  # fmt: skip
        log = hosts[0].directory / "provision.log"
        until(lambda: "MiB sent" in log.read_text(), "it is being sent")
        server.close()
        assert client.wait(60) == 2
        assert "stopped at the step install" in log.read_text()
    finally:
        there.run("rm", "-rf", "/opt/pilothouse", "/usr/local/bin/pilothouse")
