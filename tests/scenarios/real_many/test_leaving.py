"""A host that leaves the cluster, or is removed from it: nothing of ours is left there, and nothing runs twice."""

import contextlib

import pytest

from tests.bed.losing import settled, whose_ledger
from tests.bed.shop import MANIFEST, containers
from tests.bed.traces import traces
from tests.bed.witness import Witness
from tests.engine import SLEEPER, WEB, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

LEFT_SECONDS = 30.0
EVERYTHING = f"""\
name: shop
services:
  web:
    image: {WEB}
    deploy: {{mode: global}}
    stop_grace_period: 1s
    ports: ["8080:80"]
    secrets: [key]
  books:
    image: {SLEEPER}
    command: [sh, -c, "trap exit TERM; echo kept >/data/kept; while :; do sleep 1000 & wait $$!; done"]
    stop_grace_period: 1s
    volumes: ["data:/data"]
    deploy:
      placement: {{constraints: [node.hostname == h3]}}
secrets:
  key: {{environment: KEY}}
volumes:
  data: {{}}
"""


def left(host, before):
    """Return what *host* has more than *before*, the first guard too."""
    found = sorted((traces(host) - before).elements())
    return found + [line for line in host.processes().values() if "/agent/guard/guard.py " in line]


def nothing_left(host, before, *, but=()):
    """Wait until *host* has no trace of the platform that it did not have before, and fail by what is left."""
    with contextlib.suppress(AssertionError):
        until(lambda: set(left(host, before)) <= set(but), "nothing is left", LEFT_SECONDS, 0.25)
    assert set(left(host, before)) == set(but)


def test_a_removed_node_ends_what_it_ran_before_others_of_it_begin_and_can_join_anew(cluster):
    before = {host.name: traces(host) for host in cluster.hosts}
    cluster.up(MANIFEST)
    host = whose_ledger(cluster)
    elsewhere = {each.name for each in cluster.hosts} - {host.name}
    log = host.directory / "run" / "pilothouse" / "server.log"
    try:
        with Witness(cluster.hosts) as witness:
            settled(cluster, witness)
            refused = cluster.manager.pilothouse("node", "remove", host.name, check=False)
            assert (refused.returncode, "drain it first" in refused.stderr) == (3, True)
            cluster.manager.pilothouse("node", "remove", host.name, "--force")
            until(lambda: "was removed from the cluster" in log.read_text(), "it is told", 5.0)
            assert host.name not in cluster.nodes()
            host.wait_gone("agent", "run", seconds=20.0)
            assert not containers(host)
            nothing_left(host, before[host.name])
            gone = cluster.manager.pilothouse("node", "activate", host.name, check=False)
            assert (gone.returncode, "was removed from the cluster" in gone.stderr) == (3, True)
            until(lambda: {each.host for each in witness.running("shop/ledger")} & elsewhere, "it runs elsewhere", 45.0)
            cluster.wait_converged("shop")
            assert cluster.spread("shop", "web").keys() == elsewhere
            assert witness.overlap("shop/ledger") <= 0
        again = host.pilothouse("agent", "start", check=False)
        assert (again.returncode, "was removed from the cluster" in again.stderr) == (2, True)
    finally:
        host.pilothouse("leave")
        cluster.join(host)
    cluster.wait_ready(host)


def test_a_host_that_leaves_has_nothing_left_but_its_volumes(cluster):
    host = cluster.hosts[2]
    before = traces(host)
    cluster.up(EVERYTHING, environment={"KEY": "secret"})
    running = sorted(left(host, before))
    assert any(each.startswith("process envoy") for each in running)
    assert "mount /run/pilothouse/files" in running
    try:
        said = host.pilothouse("leave").stdout
        assert "2 containers and 1 network removed, 1 named volume kept" in said
        nothing_left(host, before, but={"volume shop_data"})
        assert host.pilothouse("leave", check=False).returncode == 3, "it is in no cluster"
        cluster.manager.pilothouse("node", "remove", host.name, "--force")
    finally:
        cluster.join(host)
    cluster.wait_ready(host)
    # Its volume is where it was, and the work that belongs to it comes back to it.
    until(lambda: containers(host, "books"), "the books are open again", 60.0, 0.2)
    (book,) = containers(host, "books")
    assert host.run("docker", "exec", book, "cat", "/data/kept").stdout == "kept\n"
