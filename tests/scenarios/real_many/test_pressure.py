"""A host whose disk gets full gets no new tasks and says why; what runs there runs on, and room is made by itself."""

import json
import os

import pytest

from tests.bed.shop import containers
from tests.bed.wrong import small_disk
from tests.engine import SLEEPER, busybox_file, tar_of, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]
BIG = "pilothouse/big:1"
DISK_MIB, BIG_MIB = 256, 56
_ONE = """\
name: {app}
services:
  it:
    image: {image}
    pull_policy: never
    stop_grace_period: 1s
    deploy:
      placement:
        constraints: [node.hostname == {host}]
"""


def _manifest(app, image, host):
    return _ONE.format(app=app, image=image, host=host.name)


def _import_big(host):
    """Give the engine an image that fills a good part of its disk."""
    files = {"bin/busybox": busybox_file(), "filling": os.urandom(BIG_MIB << 20)}
    change = 'CMD+["/bin/busybox","sleep","100000"]'
    status, answer = host.request(
        "POST",
        f"/images/create?fromSrc=-&repo=pilothouse/big&tag=1&changes={change}",
        tar_of(files, {}, {}),
        "application/x-tar",
    )
    assert status == 200, answer


def _restarted(cluster, host, environment=None):
    """Start the engine and the agent of *host* again, and have the node take work whatever was thought of it."""
    host.launch()
    host.wait_up()
    host.pilothouse("agent", "start", environment=environment)
    cluster.manager.pilothouse("node", "activate", host.name)
    cluster.wait_ready(host)


def _stopped(host):
    host.pilothouse("agent", "stop")
    host.kill()


def test_a_full_disk_keeps_new_work_away_until_images_that_nobody_needs_have_made_room(cluster):
    host = cluster.hosts[2]

    def node():
        return cluster.nodes()[host.name]

    _stopped(host)
    try:
        with small_disk(host, str(host.directory / "docker"), DISK_MIB) as disk:
            _restarted(cluster, host, {"PILOTHOUSE_IMAGES": "age=1s"})
            _import_big(host)
            # The image of what comes late is needed all the time, whatever ran here before.
            cluster.up(_manifest("early", SLEEPER, host))
            cluster.up(_manifest("big", BIG, host))
            before = containers(host)
            disk.fill(leave_kib=DISK_MIB * 1024 * 4 // 100)
            until(lambda: not node().get("ready"), "the node is under pressure", 30.0, 0.1)
            assert "the engine's disk" in node().get("message", "")
            assert "full" in cluster.manager.pilothouse("node", "ls").stdout
            until(lambda: "nothing more on it can be removed" in node().get("message", ""), "it says so", 30.0)
            cluster.up(_manifest("late", SLEEPER, host), "--detach")
            why = cluster.manager.pilothouse("explain", "late", check=False).stdout
            assert "the engine's disk" in why, why
            assert containers(host) == before, "what runs there runs on"
            shown = json.loads(cluster.manager.pilothouse("node", "images", host.name, "--json").stdout)
            assert {each["kept"] for each in shown["images"] if BIG in each["names"]} == {"a container is made from it"}
            cluster.down("big")
            until(lambda: node().get("ready"), "it has made room and takes work again", 30.0, 0.1)
            cluster.wait_converged("late")
            assert host.request("GET", f"/images/{BIG}/json")[0] == 404
            told = cluster.manager.pilothouse("node", "inspect", host.name).stdout
            assert f"1 image ({BIG}) removed" in told, told
            events = cluster.manager.pilothouse("events").stdout
            assert "node.reclaimed" in events
            cluster.down("late")
            cluster.down("early")
            _stopped(host)
    finally:
        _restarted(cluster, host)
