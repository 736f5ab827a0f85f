"""Three real hosts are one platform: one file over all of them, moved, looked into and kept through crashes."""

import contextlib
import signal
import time

import pytest

from tests.bed.shop import MANIFEST, containers
from tests.bed.witness import Witness
from tests.bed.wrong import Clock
from tests.engine import until

pytestmark = [pytest.mark.engine, pytest.mark.slow]
SHORT_SECONDS = 5.0
"""Of a lease of 8 s, 2.2 may be over when the manager dies, and its nodes need a moment to find it again."""


def test_one_file_is_spread_over_all_hosts_and_can_be_looked_into_from_the_manager(cluster):
    cluster.up(MANIFEST)
    assert cluster.spread("shop", "web") == {"h1": 2, "h2": 2, "h3": 2}
    shown = cluster.manager.pilothouse("ps", "shop").stdout
    assert all(name in shown for name in ("h1", "h2", "h3"))
    logs = cluster.manager.pilothouse("logs", "shop", "ledger", check=False)
    assert "opened" in logs.stdout, "of a task on another host"
    usage = cluster.manager.api("GET", "/stats?app=shop")[1]["items"]
    assert len(usage) == 7, "of every task, wherever it runs"


def test_a_drained_host_hands_its_tasks_over_and_gets_some_again(cluster):
    cluster.up(MANIFEST)
    drained = cluster.hosts[1]
    cluster.manager.pilothouse("node", "drain", drained.name)
    try:
        until(lambda: not containers(drained), "its tasks have moved", 60.0, 0.2)
        cluster.wait_converged("shop")
        assert cluster.spread("shop", "web").keys() == {"h1", "h3"}
    finally:
        cluster.manager.pilothouse("node", "activate", drained.name)
    cluster.wait_ready(drained)


def test_a_killed_agent_finds_every_container_again(cluster):
    cluster.up(MANIFEST)
    host = cluster.hosts[2]
    before = containers(host)
    assert before
    cluster.kill_agent(host)
    assert containers(host) == before
    cluster.start_agent(host)
    cluster.wait_ready(host)
    cluster.wait_converged("shop")
    assert containers(host) == before


def test_a_paused_agent_whose_host_lives_is_replaced_and_takes_its_place_again(cluster):
    cluster.up(MANIFEST)
    host = cluster.hosts[2]
    host.signal(signal.SIGSTOP, "agent", "run")
    begun = time.monotonic()
    try:
        until(lambda: sum(cluster.spread("shop", "web")[n] for n in ("h1", "h2")) == 6, "replaced", 30.0, 0.1)
        assert time.monotonic() - begun > 6, "not before it was suspected"
    finally:
        host.signal(signal.SIGCONT, "agent", "run")
    until(lambda: cluster.nodes()[host.name]["state"] == "ready", "it is heard again", 30.0, 0.1)
    cluster.wait_converged("shop")
    cluster.reinstall(host)


def test_a_manager_killed_while_it_deploys_ends_where_it_would_have(cluster):
    cluster.up(MANIFEST)
    before = {host.name: containers(host) for host in cluster.hosts}
    untouched = {host.name: containers(host, "web") for host in cluster.hosts}
    client = cluster.manager.begin("up", "-f", cluster.manager.file("more.yaml", MANIFEST.replace("6", "9")))
    with Witness(cluster.hosts) as witness:
        until(lambda: (cluster.app("shop") or {}).get("revision", 0) > 1, "it was told")
        killed = time.monotonic()
        cluster.kill_manager()
        cluster.start_manager()
        away = time.monotonic() - killed
        client.wait(60)
        cluster.wait_converged("shop")
        assert witness.overlap("shop/ledger") <= 0
    assert sum(cluster.spread("shop", "web").values()) == 9
    for host in cluster.hosts:
        # A manager that is away for longer than a lease lasts costs what may not run twice; a slow machine needs that.
        kept = before[host.name] if away < SHORT_SECONDS else untouched[host.name]
        assert kept.items() <= containers(host).items(), "what ran was not touched"


def test_a_token_lets_one_machine_in_once(cluster):
    _, other, host = cluster.hosts
    token = cluster.token()
    inside = host.pilothouse("join", cluster.manager.address, token, check=False)
    assert inside.returncode == 3, "a member joins no second time"
    fresh = {"PILOTHOUSE_DATA": str(other.directory / "fresh"), "PILOTHOUSE_RUN": str(other.directory / "fresh-run")}

    def tried(token):
        done = other.pilothouse("join", cluster.manager.address, "-", given=token, check=False, environment=fresh)
        assert done.returncode == 3
        assert not (other.directory / "fresh").exists(), "nothing was left behind"
        return done.stderr

    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    assert "authority" in tried(wrong), "the manager is not the one that the token names"
    cluster.part(host)
    cluster.join(host, token)
    assert "PH113" in tried(token), "it was used"
    assert len(cluster.nodes()) == 3
    refused = cluster.manager.api("GET", "/audit?limit=1000")[1]["items"][-1]
    assert (refused["outcome"], host.name in refused["summary"]) == ("refused", True), refused
    cluster.wait_ready(host)


def test_a_clock_that_jumps_an_hour_keeps_new_work_away_and_moves_nothing(cluster):
    host = cluster.hosts[2]
    clock = Clock(host)
    host.pilothouse("agent", "stop")
    host.pilothouse("agent", "start", environment=clock.environment)
    try:
        # On a busy machine it may have been away for so long that it is held back.
        cluster.manager.pilothouse("node", "activate", host.name)
        until(lambda: cluster.nodes()[host.name].get("message") == "its agent is connected", "it is well", 30.0)
        cluster.up(MANIFEST)
        before = {each.name: containers(each) for each in cluster.hosts}
        for jump, said in ((3600, "its clock is 1 h ahead of the manager's"), (-3600, "its clock is 1 h behind the")):
            clock.jump(jump)
            until(lambda said=said: said in cluster.nodes()[host.name].get("message", ""), said, 20.0)
            # Longer than a lease: it would have ended by now.
            assert not _stirs(cluster, before, 9.0)
        assert [name for name, each in cluster.nodes().items() if not each.get("ready")] == [host.name]
        assert "chronyc makestep" in cluster.manager.pilothouse("doctor", check=False).stdout
        clock.jump(-3 * 86_400)
        refused = host.pilothouse(
            "join",
            cluster.manager.address,
            cluster.token(),
            check=False,
            environment={**_elsewhere(host), **clock.environment},
        )
        assert "certificate is not valid yet by this machine's clock, which says " in refused.stderr
        clock.jump(0)
        cluster.wait_ready(host)
    finally:
        clock.jump(0)
        host.pilothouse("agent", "stop")
        cluster.start_agent(host)


def _elsewhere(host):
    """Return what has a command know nothing of the cluster its machine is in."""
    return {"PILOTHOUSE_DATA": str(host.directory / "other"), "PILOTHOUSE_RUN": str(host.directory / "other-run")}


def _stirs(cluster, before, seconds):
    """Whether another container runs, or a node is away, at some time within so many seconds."""

    def moved():
        running = {each.name: containers(each) for each in cluster.hosts}
        return running != before or any(each["state"] != "ready" for each in cluster.nodes().values())

    with contextlib.suppress(AssertionError):
        return until(moved, "something stirs", seconds, 0.2)
    return False
