"""Every kind of good and bad release ends right, with the real command, server and engine."""

import contextlib
import json
import threading
import time

import pytest

from pilothouse.model.states import TaskState
from tests.engine import SLEEPER, until
from tests.platform import platform

pytestmark = [pytest.mark.engine, pytest.mark.slow]

MONITOR_SECONDS = 3.0
DEFAULT_MONITOR_SECONDS = 10.0
REPLICAS = 4
FOREVER = "trap exit TERM; while :; do sleep 1000 & wait $!; done"

SHOP = """\
name: shop
services:
  web:
    image: {image}
    command: [sh, -c, "{command}"]
    stop_grace_period: 1s
    environment: {{LEVEL: "{level}"}}
    healthcheck: {{test: [CMD, {check}], interval: 1s, retries: 2, start_interval: 0.1s}}
    deploy:
      replicas: 4
      update_config: {{parallelism: 1{monitor}}}
      rollback_config: {{parallelism: 2, monitor: 1s}}
"""


def shop(level, command=FOREVER, check="true", image=SLEEPER, monitor=", monitor: 3s"):
    """Return the manifest; without *monitor* the platform's settle and monitor windows count."""
    return SHOP.format(
        level=level, command=command.replace("$", "$$"), check=f'"{check}"', image=image, monitor=monitor
    )


@pytest.fixture(scope="module")
def made(docker_host):
    with platform(docker_host) as found:
        yield found


@pytest.fixture(autouse=True)
def gone(made, nothing_left_behind):
    """Take every app down before the engine is looked at."""
    yield
    _, page = made.api("GET", "/v1/apps")
    for app in page["items"]:
        made.command("down", app["name"], "--volumes", check=False)


def tasks(made):
    """Return the live tasks by id."""
    return {task["id"]: task for task in made.tasks("shop")}


def releases(made):
    """Return the state of each kept release, newest first."""
    found = json.loads(made.command("releases", "ls", "shop", "--json").stdout)
    return [(each["number"], each["state"]) for each in found]


def fingerprints(made):
    """Return what the live tasks were made from."""
    return {made.api("GET", f"/v1/tasks/{each}")[1]["fingerprint"] for each in tasks(made)}


@contextlib.contextmanager
def counting(made, chosen):
    """Yield a list that ends with the least number of *chosen* tasks that were ready at one time meanwhile."""
    seen, over = [], threading.Event()

    def look():
        while not over.is_set():
            seen.append(sum(1 for each, task in tasks(made).items() if each in chosen and task["ready"]))
            over.wait(0.05)

    thread = threading.Thread(target=look)
    thread.start()
    least = []
    try:
        yield least
    finally:
        over.set()
        thread.join()
        least.append(min(seen))


def test_a_good_update_ends_with_0_and_every_task_is_new(made):
    made.up(made.manifest(shop(1)))
    old = set(tasks(made))
    done = made.up(made.manifest(shop(2)), "-m", "level two")
    assert done.stdout.startswith("shop: 1 service as the manifest says (release 2, ")
    until(lambda: len(tasks(made)) == REPLICAS, "the old tasks have gone")
    assert old.isdisjoint(tasks(made))
    assert releases(made) == [(2, "stable"), (1, "stable")]
    assert "level two" in made.command("releases", "show", "shop", "2").stdout
    said = made.command("releases", "diff", "shop", "2").stdout
    assert "1 field" in said
    assert "LEVEL" in said
    assert made.command("watch", "shop").returncode == 0


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"command": "echo no config; exit 3"}, "exited with code 3"),
        ({"command": f"echo no config; {FOREVER}", "check": "false"}, "health check"),
        ({"command": "echo no config; sleep 3; exit 4", "monitor": ""}, "exited with code 4"),
    ],
    ids=["a crash loop", "never healthy", "dies in the monitor window"],
)
def test_a_bad_update_is_rolled_back_in_time_with_cause_last_lines_and_what_changed(made, fields, cause):
    made.up(made.manifest(shop(1)))
    old = set(tasks(made))
    begun = time.monotonic()
    with counting(made, old) as least:
        done = made.up(made.manifest(shop(2, **fields)), check=False)
        took = time.monotonic() - begun
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert (
        "error PH111: shop release 2 failed and was rolled back: release 3 runs, which repeats release 1" in done.stderr
    )
    assert cause in done.stderr
    assert "| no config" in done.stderr
    assert "what release 2 had changed:" in done.stderr
    assert "LEVEL" in done.stderr
    assert least[0] >= REPLICAS - 1, "never fewer than replicas - parallelism"
    assert took < (DEFAULT_MONITOR_SECONDS if "monitor" in fields else MONITOR_SECONDS) + 10
    assert releases(made) == [(3, "stable"), (2, "rolled-back"), (1, "stable")]
    until(lambda: len(tasks(made)) == REPLICAS, "the bad tasks have gone")
    kept = old & set(tasks(made))
    assert len(kept) >= REPLICAS - 1, "what still ran of the release before is not replaced"
    assert cause in made.command("releases", "show", "shop", "2").stdout
    assert made.command("explain", "shop").returncode == 0


def test_an_image_that_is_missing_is_refused_and_nothing_changes(made):
    made.up(made.manifest(shop(1)))
    old = set(tasks(made))
    done = made.up(made.manifest(shop(2, image="localhost/nobody/nothing:1")), check=False)
    assert done.returncode == 3
    assert "error PH107" in done.stderr
    assert set(tasks(made)) == old
    assert releases(made) == [(1, "stable")]


def test_going_back_to_a_release_restores_what_it_was(made):
    made.up(made.manifest(shop(1)))
    first = fingerprints(made)
    made.up(made.manifest(shop(2)))
    done = made.command("rollback", "shop", "-m", "prices were wrong")
    assert "LEVEL" in done.stderr, "what will change is shown"
    assert done.stdout.startswith("shop: 1 service as the manifest says (release 3, ")
    until(lambda: len(tasks(made)) == REPLICAS, "the tasks of release 2 have gone")
    assert fingerprints(made) == first
    made.command("rollback", "shop", "2")
    assert releases(made)[0] == (4, "stable")
    assert made.command("rollback", "shop", "99", check=False).returncode == 3


def test_a_paused_release_stands_still_until_it_is_resumed(made):
    made.up(made.manifest(shop(1)))
    old = set(tasks(made))
    process = made.begin("up", "-f", made.manifest(shop(2)))
    try:
        until(lambda: len(old - set(tasks(made))) >= 1, "the first old task is gone")
        assert "is paused with" in made.command("pause", "shop").stdout
        until(
            lambda: all(task["ready"] for task in tasks(made).values() if task["state"] == TaskState.RUNNING),
            "what was begun is ready",
        )
        held = set(tasks(made)) & old
        assert held, "old tasks are left"
        assert "shop release 2 is paused" in made.command("ps", "shop").stdout
        assert ", old" in made.command("ps", "shop").stdout
        done = made.command("watch", "shop", "--timeout", "3s", check=False)
        assert done.returncode == 2
        assert "(release 2 is paused)" in done.stderr
        assert held <= set(tasks(made)), "no further task was replaced"
        assert "goes on" in made.command("resume", "shop").stdout
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert releases(made)[0] == (2, "stable")


def test_a_release_that_a_newer_one_overtakes_ends_with_2_and_says_so(made):
    made.up(made.manifest(shop(1)))
    old = set(tasks(made))
    process = made.begin("up", "-f", made.manifest(shop(2), "second.yaml"))
    try:
        until(lambda: set(tasks(made)) - old, "the second release has begun")
        assert made.up(made.manifest(shop(3), "third.yaml")).returncode == 0
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 2, said
    assert b"error PH112: shop release 2 was superseded before it was stable: release 3 was made by " in said
    assert releases(made) == [(3, "stable"), (2, "superseded"), (1, "stable")]


def test_a_restart_is_a_release_that_replaces_every_task(made):
    made.up(made.manifest(shop(1)))
    old = set(tasks(made))
    done = made.command("restart", "shop", "--rolling", "-m", "a leak")
    assert done.stdout.startswith("shop: 1 service as the manifest says (release 2, ")
    until(lambda: len(tasks(made)) == REPLICAS, "the old tasks have gone")
    assert old.isdisjoint(tasks(made))
    assert "restart" in made.command("releases", "ls", "shop").stdout


def test_interrupting_a_wait_leaves_the_release_going(made):
    made.up(made.manifest(shop(1)))
    old = set(tasks(made))
    process = made.begin("up", "-f", made.manifest(shop(2)))
    try:
        until(lambda: set(tasks(made)) - old, "the release has begun")
        process.send_signal(2)
        said, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert b"interrupted; release 2 of shop goes on" in said
    assert made.command("watch", "shop").stdout.startswith("shop: 1 service as the manifest says (release 2, ")
