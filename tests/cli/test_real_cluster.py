"""Two machines become a cluster with the real commands, the real server, the real agent and a real engine."""

import json
import os
import pathlib
import signal
import time

import pytest

from tests.engine import SLEEPER, until
from tests.platform import Platform

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SHOP = f"""
name: shop
services:
  web:
    image: {SLEEPER}
    stop_grace_period: 1s
"""


def end_member(platform):
    """End the store's member of a machine, which outlives its server on purpose."""
    file = pathlib.Path(platform.environment["PILOTHOUSE_DATA"], "etcd", "process.json")
    if file.exists():
        os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def machines(docker_host, nothing_left_behind):
    """Two machines on one engine: a server that runs, and one with nothing on it."""
    first, second = Platform(docker_host), Platform(docker_host)
    try:
        first.start()
        yield first, second
    finally:
        second.command("agent", "stop", check=False)
        first.command("down", "shop", check=False)
        for each in (first, second):
            end_member(each)
        assert [*second.close(), *first.close()] == []


def node(platform, name):
    return json.loads(platform.command("node", "inspect", name, "--json").stdout)


def test_a_platform_with_apps_becomes_a_cluster_and_a_machine_joins_works_and_leaves(machines):
    first, second = machines
    first.up(first.manifest(SHOP), check=True)
    before = [task["id"] for task in first.tasks("shop")]
    assert len(before) == 1

    made = json.loads(first.command("init", "--advertise", "127.0.0.1:17443", "--json").stdout)
    assert first.command("init", "--advertise", "127.0.0.1:17443").returncode == 0, "asked again, nothing happens"
    assert [task["id"] for task in first.tasks("shop")] == before, "the app was not touched"

    joined = json.loads(second.command("join", "127.0.0.1:17443", made["token"], "--json").stdout)
    name = joined["node_id"]
    until(lambda: node(first, name).get("ready"), "the node is ready")
    assert node(first, name)["description"]["address"] == "127.0.0.1"
    again = second.command("join", "127.0.0.1:17443", made["token"], check=False)
    assert (again.returncode, "in a cluster already" in again.stderr) == (3, True)

    serial = node(first, name)["certificates"][-1]["serial"]
    first.command("node", "rotate", name)
    until(lambda: node(first, name)["certificates"][-1]["serial"] != serial, "it made a new key")

    # The authority changes while both are there: each hears of it, it signs, and the session goes on.
    first.command("cluster", "rotate-ca")
    states = lambda: [a["state"] for a in json.loads(first.command("cluster", "show", "--json").stdout)["authorities"]]  # noqa: E731
    until(lambda: states() == ["old", "active"], "the new authority signs", 60)
    pki = pathlib.Path(second.environment["PILOTHOUSE_DATA"], "pki")
    until(lambda: (pki / "authorities.pem").read_text().count("BEGIN") == 2, "the agent has heard of both")

    # The server is killed and comes back: the agent finds it by itself, and the certificates still count.
    first.kill()
    first.start()
    opened = f'"event":"session.opened","node":"{name}"'
    until(lambda: first.log.read_text().count(opened) == 2, "the agent came back")

    begun = time.monotonic()
    first.command("node", "remove", name)
    log = second.directory / "run" / "server.log"
    until(lambda: "was removed from the cluster" in log.read_text(), "the agent was cut off", 10)
    assert time.monotonic() - begun < 5, "revoking works within five seconds"
    left = second.command("leave")
    assert f"pilothouse node remove {name}" in left.stdout
    assert not pki.exists()


def test_a_refused_join_leaves_no_process_and_no_file(machines):
    first, second = machines
    token = json.loads(first.command("init", "--advertise", "127.0.0.1:17443", "--json").stdout)["token"]
    first.command("token", "revoke", token.split("-")[1])
    refused = second.command("join", "127.0.0.1:17443", token, check=False)
    assert (refused.returncode, "PH113" in refused.stderr) == (3, True)
    assert not os.path.exists(second.environment["PILOTHOUSE_DATA"])
    assert not os.path.exists(pathlib.Path(second.environment["PILOTHOUSE_RUN"], "server.pid"))


def test_a_server_that_stops_and_starts_again_is_the_same_manager(machines):
    first, _ = machines
    first.command("init", "--advertise", "127.0.0.1:17443")
    before = json.loads(first.command("cluster", "show", "--json").stdout)
    os.kill(first.pid, signal.SIGTERM)
    first.stop()
    first.start()
    after = json.loads(first.command("cluster", "show", "--json").stdout)
    assert after == before


def test_a_machine_that_was_approved_becomes_a_manager_and_its_node_goes_on_whoever_leads(machines):
    first, second = machines
    first.command("init", "--advertise", "127.0.0.1:17443")
    token = json.loads(first.command("token", "create", "--role", "manager", "--json").stdout)["token"]
    address = ("--advertise", "127.0.0.1:18443")
    name = json.loads(second.command("join", "127.0.0.1:17443", token, *address, "--json").stdout)["node_id"]
    assert "waits until somebody" in second.command("agent", "status").stdout
    early = first.command("node", "approve", name).stdout
    assert "pilothouse store migrate --to etcd" in early, "the state is in a file"
    first.stop()
    first.command("store", "migrate", "--to", "etcd")
    first.start()
    followed = first.command("node", "approve", name).stdout
    assert f"{name} is a manager" in followed
    until(lambda: second.command("server", "status", check=False).returncode == 0, "its server answers")
    assert json.loads(second.command("cluster", "show", "--json").stdout)["cluster"]
    nodes = [each["id"] for each in json.loads(first.command("node", "ls", "--json").stdout)]
    assert len(nodes) == 2
    until(lambda: all(node(first, each).get("ready") for each in nodes), "both nodes are ready")

    # The members go on when a server ends, so the other one leads; its own node was never away.
    first.stop()
    until(lambda: json.loads(second.command("store", "status", "--json").stdout)["leader"] == name, "the other leads")
    until(lambda: node(second, name).get("ready"), "its node is ready")
    lost = node(second, name).get("losses", [])
    assert lost == []
    first.start()
    other = next(each for each in nodes if each != name)
    until(lambda: node(second, other).get("ready"), "the first one's node came back to whoever leads")
