"""Disks and engines that fail under managers and agents: nothing is lost, nothing runs twice, the reason is said."""

import os
import signal
import time

import pytest

from tests.bed.shop import containers
from tests.bed.strace import injected
from tests.bed.witness import Witness
from tests.engine import SLEEPER, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SERVER, AGENT = ("server", "run"), ("agent", "run")
WAL = "/var/lib/pilothouse/store.db-wal"
WAITING = f"""
    image: {SLEEPER}
    stop_grace_period: 1s
"""
EVERYWHERE = f"""\
name: shop
services:
  web:{WAITING}
    deploy: {{mode: global}}
"""


def extra(number, host, *lines):
    """A manifest of one service on one host."""
    rest = "".join(f"    {line}\n" for line in lines)
    placed = f"    deploy: {{placement: {{constraints: [node.hostname == {host.name}]}}}}\n"
    return f"name: extra{number}\nservices:\n  one:{WAITING}{placed}{rest}"


def up(cluster, text):
    """Deploy, and return whether it was acknowledged and what was said; it is not waited for."""
    done = cluster.up(text, "--detach", check=False)
    return done.returncode == 0, done.stderr


def names(cluster):
    return {each["name"] for each in cluster.manager.api("GET", "/apps")[1]["items"]}


def all_of(cluster):
    return {host.name: containers(host) for host in cluster.hosts}


def test_a_manager_whose_disk_is_full_says_so_answers_reads_and_goes_on_by_itself(cluster):
    cluster.up(EVERYWHERE)
    before = all_of(cluster)
    with injected(cluster.manager, SERVER, ["pwrite64"], "error=ENOSPC", WAL) as full:
        done, said = up(cluster, extra(1, cluster.hosts[1]))
        assert (done, "PH205" in said) == (False, True), said
        assert full.hits
        assert names(cluster) == {"shop"}, "reads are answered"
        assert all_of(cluster) == before
    until(lambda: up(cluster, extra(1, cluster.hosts[1]))[0], "it takes writes again", 30.0, 0.5)
    cluster.wait_converged("extra1")
    assert all(each.get("ready") for each in cluster.nodes().values())
    assert all_of(cluster).items() != before.items()
    assert all(before[name].items() <= now.items() for name, now in all_of(cluster).items()), "nothing was restarted"


def test_a_manager_whose_disk_fails_to_sync_acknowledges_nothing_more_and_loses_nothing(cluster):
    cluster.up(EVERYWHERE)
    before = all_of(cluster)
    with injected(cluster.manager, SERVER, ["fsync", "fdatasync"], "error=EIO", WAL) as failing:
        done, said = up(cluster, extra(2, cluster.hosts[1]))
        assert not done, said
        assert failing.hits == 1, "what failed is not tried again"
    # The disk is right again, and nobody can know what it holds.
    done, said = up(cluster, extra(3, cluster.hosts[1]))
    assert (done, "PH201" in said, "restart the server" in said) == (False, True, True), said
    assert names(cluster) == {"shop"}, "reads are answered"
    assert all(each.get("ready") for each in cluster.nodes().values()), (
        "leases are kept, so nothing that is single ends"
    )
    cluster.kill_manager()
    cluster.start_manager()
    for host in cluster.hosts:
        cluster.wait_ready(host)
    assert "shop" in names(cluster)
    assert "extra3" not in names(cluster)
    assert up(cluster, extra(3, cluster.hosts[1]))[0]
    cluster.wait_converged("extra3")
    assert all(before[name].items() <= now.items() for name, now in all_of(cluster).items()), "nothing was restarted"


def test_a_slow_disk_of_the_manager_is_taken_for_no_lost_node(cluster):
    cluster.up(EVERYWHERE)
    before = all_of(cluster)
    with injected(cluster.manager, SERVER, ["fsync", "fdatasync"], "delay_enter=500000", WAL) as slow:
        end = time.monotonic() + 11.0
        number = 0
        while time.monotonic() < end:
            number += 1
            assert up(cluster, extra(4, cluster.hosts[1], f"environment: {{N: {number}}}"))[0]
            assert {each["state"] for each in cluster.nodes().values()} == {"ready"}
        assert slow.hits >= number
    cluster.wait_converged("extra4")
    assert all(before[name].items() <= now.items() for name, now in all_of(cluster).items()), "nothing moved"


def test_what_must_not_run_twice_does_not_start_while_its_guard_cannot_be_told(cluster):
    host = cluster.hosts[1]
    fenced = extra(5, host, "x-pilothouse: {cut_off: fence}")
    with Witness(cluster.hosts) as witness:
        with injected(host, AGENT, ["rename", "renameat", "renameat2"], "error=EIO") as failing:
            # One that an earlier test needed could be told, and would end only after a minute.
            for pid in [pid for pid, line in host.processes().items() if "guard.py " in line]:
                os.kill(pid, signal.SIGKILL)
            assert up(cluster, fenced)[0]
            until(lambda: "is prepared: waits for the node's guard" in why(cluster), "the reason is said", 20.0, 0.2)
            until(lambda: "cannot be kept" in pressure(cluster, host), "of the node too", 20.0, 0.2)
            assert failing.hits
            assert not witness.copies("extra5/one")
        cluster.wait_converged("extra5")
        assert witness.overlap("extra5/one") <= 0


def pressure(cluster, host):
    """What keeps new work away from a node because of its guard."""
    return cluster.nodes()[host.name].get("pressure", {}).get("guard", "")


def why(cluster):
    """What is said of the one task of the fenced app."""
    return cluster.manager.pilothouse("explain", "extra5/one", check=False).stdout


def test_a_node_that_cannot_reach_its_engine_gets_nothing_new_and_keeps_what_it_has(cluster):
    cluster.up(EVERYWHERE)
    before, host = all_of(cluster), cluster.hosts[1]
    with injected(host, AGENT, ["connect"], "error=ECONNREFUSED") as failing:
        # It holds connections, which end with the engine's daemon.
        host.kill()
        host.start()
        until(lambda: not cluster.nodes()[host.name].get("ready"), "it gets nothing new", 20.0, 0.2)
        seen = cluster.nodes()[host.name]
        assert seen["state"] == "ready", "it is there"
        assert "engine" in seen.get("pressure", {}), seen
        assert failing.hits
        assert all_of(cluster) == before
    cluster.wait_ready(host)
    cluster.wait_converged("shop")
    assert all_of(cluster) == before
