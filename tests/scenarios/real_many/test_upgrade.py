"""Pilothouse is exchanged for its next version, and back, on real hosts: what runs there does not notice."""

import time

import pytest

from tests.bed.shop import MANIFEST, containers
from tests.engine import until
from tests.upgrade.trees import next_version

pytestmark = [pytest.mark.engine, pytest.mark.slow]
SHORT_SECONDS = 5.0
"""Who is away for longer may cost what must not run twice, whose lease is 8 s; a slow machine needs that."""
PUBLISHED = MANIFEST.replace("    deploy: {replicas: 6}\n", '    deploy: {replicas: 6}\n    ports: ["8088:80"]\n')


def test_an_agent_and_the_manager_are_exchanged_and_exchanged_back_while_everything_runs_on(cluster, tmp_path):
    newer, older = {"PYTHONPATH": str(next_version(tmp_path))}, {}
    cluster.up(PUBLISHED)
    cluster.wait_converged("shop")
    web = {host.name: containers(host, "web") for host in cluster.hosts}
    before = {host.name: containers(host) for host in cluster.hosts}
    beside = {host.name: running_beside(host) for host in cluster.hosts}
    assert sorted(len(found) for found in beside.values()) == [1, 1, 2], "the proxies, and one guard"
    agent, manager = cluster.hosts[1], cluster.manager
    longest = 0.0
    try:
        for host, version, environment in (
            (agent, "0.2.0", newer),
            (manager, "0.2.0", newer),
            (agent, "0.1.0", older),
            (manager, "0.1.0", older),
        ):
            what = "server" if host is manager else "agent"
            begun = time.monotonic()
            host.pilothouse(what, "stop")
            host.pilothouse(what, "start", environment=environment)
            until(lambda host=host, version=version: runs(cluster, host) == version, f"{host.name} is {version}", 40.0)
            longest = max(longest, time.monotonic() - begun)
            for each in cluster.hosts:
                cluster.wait_ready(each)
            shown = manager.pilothouse("node", "ls").stdout.splitlines()
            assert any(line.startswith(host.name) and version in line for line in shown)
            assert manager.pilothouse("cluster", "format").stdout.startswith("format 1;")
            assert {each.name: containers(each, "web") for each in cluster.hosts} == web
    finally:
        for host, what in ((agent, "agent"), (manager, "server")):
            if not host.find(what, "run"):
                host.pilothouse(what, "start")
    cluster.wait_converged("shop")
    if longest < SHORT_SECONDS:
        assert {host.name: containers(host) for host in cluster.hosts} == before
        assert {host.name: running_beside(host) for host in cluster.hosts} == beside


def runs(cluster, host):
    """Return the version of a host's agent, as the manager knows it."""
    return cluster.nodes().get(host.name, {}).get("description", {}).get("version")


def running_beside(host):
    """Return the pids of the host's proxy, and of its guard where it has what must not run twice.

    Elsewhere a guard may be about to end, because an earlier test needed it.
    """
    words = ("envoy ", "guard.py ") if containers(host, "ledger") else ("envoy ",)
    return {pid for pid, line in host.processes().items() if any(each in line for each in words)}
