"""A once-per-release step writes one line for each release, wherever the server is killed with SIGKILL meanwhile."""

import contextlib
import pathlib
import subprocess

import pytest

from tests.engine import SLEEPER, until
from tests.platform import platform, settled

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ROUNDS = 4

SHOP = f"""\
name: shop
services:
  web:
    image: {SLEEPER}
    stop_grace_period: 1s
    labels: {{level: "LEVEL"}}
    volumes: ["data:/data"]
    pre_start:
      - command: [sh, -c, "echo first LEVEL >> /data/steps; sleep 0.5"]
      - command: [sh, -c, "echo second LEVEL >> /data/steps; sleep 0.5"]
    deploy: {{update_config: {{monitor: 1s, failure_action: pause}}}}
volumes:
  data: {{}}
"""
FAILING = SHOP.replace("sleep 0.5", "sleep 0.5; exit 4", 1)


@pytest.fixture(scope="module")
def made(docker_host):
    with platform(docker_host) as found:
        yield found


def _lines(made):
    """Return what the steps have written into the volume."""
    path = made.host.request("GET", "/volumes/shop_data")[1]["Mountpoint"]
    return (pathlib.Path(path) / "steps").read_text().splitlines()


def _level(made):
    status, service = made.api("GET", "/v1/inspect/service/shop/web")
    return service["spec"]["task"]["container"]["labels"]["level"] if status == 200 else None


def _deploy_and_kill(made, chance, text, level):
    """Deploy, kill the server twice at some moments meanwhile; tell it again if it died before it heard of it."""
    path = made.manifest(text.replace("LEVEL", str(level)))
    client = made.begin("up", "-f", path)
    for _ in range(2):
        moment = chance.uniform(0.2, 1.6)
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(moment)
        made.kill()
        print(f"level {level}: killed after {moment:.2f} s")  # noqa: T201 - shown if it fails
        made.start()
    client.communicate(timeout=90)
    if _level(made) != str(level):
        made.command("up", "-f", path, check=False)


def _stays(made, expected):
    """Wait until what was written is as expected, and look again when everything has settled."""
    until(lambda: _lines(made) == expected, f"the steps wrote {expected}")
    return settled(made, "shop")


def test_each_step_writes_one_line_for_a_release_although_the_server_is_killed(made, chance, nothing_left_behind):
    expected = []
    try:
        for level in range(ROUNDS):
            _deploy_and_kill(made, chance, SHOP, level)
            expected += [f"first {level}", f"second {level}"]
            assert _stays(made, expected)["converged"]
            assert _lines(made) == expected

        _deploy_and_kill(made, chance, FAILING, "broken")
        expected += ["first broken"]
        until(lambda: _lines(made) == expected, "the first step ran, and the second never did")
        old = [task for task in made.tasks("shop") if task["name"] == "web.1" and task["state"] == 512]
        assert old, "what ran before runs on"
        until(lambda: "step 1 of 2" in _said(made), "it says which step failed")
        assert _lines(made) == expected
    finally:
        made.command("down", "shop", "--volumes")
    until(lambda: made.api("GET", "/v1/apps/shop")[0] == 404, "the app is gone")


def _said(made):
    return made.command("events", "shop", check=False).stdout + made.command("ps", "shop", check=False).stdout
