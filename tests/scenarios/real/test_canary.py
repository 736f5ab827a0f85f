"""A canary with the real command, server, engine and proxy, under real requests."""

import contextlib
import json
import subprocess
import sys

import pytest

from tests.engine import SLEEPER, until
from tests.platform import platform, settled

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PORT = 18085
# Answers one request on each connection; every request whose number of seconds and bytes of chance is low fails.
PROGRAM = """\
while read line && [ ${#line} -gt 1 ]; do :; done
code='200 OK'
[ $((RANDOM % 100)) -lt FAILING ] && code='500 Broken'
printf 'HTTP/1.1 %s\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok' "$code"
"""
SHOP = """\
name: shop
services:
  web:
    image: IMAGE
    command: [nc, -ll, -p, "80", -e, sh, -c, SCRIPT]
    stop_grace_period: 1s
    ports:
      - target: 80
        published: HOST_PORT
        app_protocol: http
    deploy: {replicas: 3, update_config: {monitor: 1s}}
    x-pilothouse:
      probes:
        startup: {tcp: {port: 80}, interval: 1s}
      release:
        strategy: STRATEGY
        judge: {p95: 20x, requests: 20}
        settle: 1s
STEPS"""
CANARY_STEPS = """\
        steps:
          - weight: 20
            for: 4s
          - weight: 50
            for: 4s
"""
BLUE_GREEN_STEPS = """\
        steps:
          - weight: 100
            for: 4s
"""
# Asks about 60 times a second until its standard input ends, and says how often it was answered with what.
CALLER = f"""\
import http.client, json, select, sys
seen = {{}}
while not select.select([sys.stdin], [], [], 0.01)[0]:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", {PORT}, timeout=5)
        connection.request("GET", "/")
        status = str(connection.getresponse().status)
        connection.close()
    except OSError as error:
        status = type(error).__name__
    seen[status] = seen.get(status, 0) + 1
print(json.dumps(seen))
"""


def shop(failing, strategy):
    script = json.dumps(PROGRAM.replace("FAILING", str(failing)).replace("$", "$$"))
    steps = CANARY_STEPS if strategy == "canary" else BLUE_GREEN_STEPS
    text = SHOP.replace("IMAGE", SLEEPER).replace("SCRIPT", script).replace("HOST_PORT", str(PORT))
    return text.replace("STRATEGY", strategy).replace("STEPS", steps)


@pytest.fixture(scope="module")
def made(docker_host):
    with platform(docker_host) as found:
        yield found


@pytest.fixture(autouse=True)
def gone(made, nothing_left_behind):
    yield
    made.command("down", "shop", "--volumes", check=False)


@contextlib.contextmanager
def callers(made):
    """Requests to the published port; yields a dictionary that is filled with the answers when they have ended."""
    answers = {}
    with subprocess.Popen(
        made.host.enter(sys.executable, "-c", CALLER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield answers
        finally:
            answers.update(json.loads(process.communicate("\n", timeout=30)[0]))


def release(made, number):
    status, found = made.api("GET", f"/v1/apps/shop/releases/{number}")
    assert status == 200, found
    return found


def tasks(made):
    return {task["id"] for task in made.tasks("shop")}


@pytest.mark.parametrize("strategy", ["canary", "blue_green"])
def test_a_version_that_is_no_worse_is_promoted_without_a_failed_request(made, strategy):
    made.up(made.manifest(shop(0, strategy)))
    assert settled(made, "shop")["converged"]
    before = tasks(made)
    with callers(made) as answers:
        done = made.up(made.manifest(shop(0, strategy) + "    labels: {version: two}\n"))
    assert done.returncode == 0, done.stderr
    assert tasks(made).isdisjoint(before)
    verdicts = release(made, 2)["verdicts"]
    assert [each["outcome"] for each in verdicts] == ["promote"] * len(verdicts)
    assert {each.get("step", 0) for each in verdicts} == ({0, 1} if strategy == "canary" else {0})
    assert all(each["new"]["requests"] >= 20 for each in verdicts), verdicts
    assert set(answers) == {"200"}, answers


@pytest.mark.parametrize("strategy", ["canary", "blue_green"])
def test_a_version_with_errors_is_undone_in_seconds_and_the_old_tasks_stay(made, strategy):
    made.up(made.manifest(shop(0, strategy)))
    assert settled(made, "shop")["converged"]
    before = tasks(made)
    with callers(made) as answers:
        done = made.up(made.manifest(shop(40, strategy)), check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "requests to the new tasks failed" in done.stdout + done.stderr
    bad = release(made, 2)
    assert bad["state"] == "rolled-back"
    assert bad["verdicts"][-1]["outcome"] == "roll-back"
    until(lambda: tasks(made) == before, "only the old tasks are left")
    until(lambda: release(made, 3)["state"] == "stable", "the release that restores them is stable")
    assert set(answers) <= {"200", "500"}, answers
    assert 0 < answers["500"] < answers["200"] / 5, answers
