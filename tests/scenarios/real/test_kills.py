"""The server is killed at random moments of an app's life; the app ends as if it had not been, and nothing is left."""

import contextlib
import pathlib
import subprocess

import pytest

from tests.engine import SLEEPER, WEB, until
from tests.platform import platform, settled

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ROUNDS = 3
SECRET = {"KEY": "open sesame"}

SHOP = f"""\
name: shop
services:
  web:
    image: {WEB}
    stop_grace_period: 1s
    labels: {{level: "1"}}
    deploy: {{update_config: {{monitor: 1ms}}}}
    depends_on: [db]
    networks: [back]
    secrets: [key]
  db:
    image: {SLEEPER}
    stop_grace_period: 1s
    networks: [back]
    volumes: ["data:/data"]
networks:
  back: {{}}
volumes:
  data: {{}}
secrets:
  key: {{environment: KEY}}
"""
LOOP = f"""\
name: loop
services:
  falls:
    image: {SLEEPER}
    command: [sh, -c, "exit 3"]
    stop_grace_period: 1s
    deploy: {{restart_policy: {{delay: 500ms}}}}
"""


@pytest.fixture(scope="module")
def made(docker_host):
    with platform(docker_host) as found:
        yield found


def _running(made):
    """Return when each running container was started, by its service and id."""
    found = {}
    for each in made.host.request("GET", "/containers/json")[1]:
        status, seen = made.host.request("GET", f"/containers/{each['Id']}/json")
        if status == 200 and seen["State"]["Running"]:
            found[each["Labels"]["com.docker.compose.service"], each["Id"]] = seen["State"]["StartedAt"]
    return found


def _killed_during(made, chance, *arguments):
    """Kill the server at some moment of a command and start it again; return what ran while there was none."""
    client = made.begin(*arguments, environment=SECRET)
    moment = chance.uniform(0.3, 2.0)
    with contextlib.suppress(subprocess.TimeoutExpired):
        client.wait(moment)
    made.kill()
    running = _running(made)
    print(f"{arguments[0]}: killed after {moment:.2f} s, with {len(running)} containers running")  # noqa: T201 - shown if it fails
    made.start()
    client.communicate(timeout=60)
    return running


def _level(made):
    """Return what the server was last told of the app, or None if nothing."""
    status, service = made.api("GET", "/v1/inspect/service/shop/web")
    return service["spec"]["task"]["container"]["labels"]["level"] if status == 200 else None


def _up_killed(made, chance, level):
    """Deploy with a kill; a server that was killed before it heard of it is told again, as a user would."""
    path = made.manifest(SHOP.replace('level: "1"', f'level: "{level}"'))
    running = _killed_during(made, chance, "up", "-f", path)
    if _level(made) != str(level):
        made.up(path, environment=SECRET)
    assert settled(made, "shop")["converged"]
    return running


def _down_killed(made, chance):
    _killed_during(made, chance, "down", "shop", "--volumes")
    status, app = made.api("GET", "/v1/apps/shop")
    if status == 200 and not app["removing"]:
        made.command("down", "shop", "--volumes")


def _mounts_below(made):
    lines = pathlib.Path("/proc/mounts").read_text().splitlines()
    return {where for line in lines if (where := line.split(" ")[1]).startswith(str(made.directory))}


def _tasks_of(made):
    return {task["service"]: task["id"] for task in made.tasks("shop")}


def _containers(made):
    found = made.host.request("GET", "/containers/json?all=1")[1]
    return {c["Names"][0].rsplit(".", 1)[1] for c in found if c["State"] == "running"}


def test_a_server_killed_during_deploy_update_and_down_ends_where_it_would_have(made, chance, nothing_left_behind):
    before = made.host.inventory()
    for number in range(ROUNDS):
        running = _up_killed(made, chance, 2 * number)
        assert running.items() <= _running(made).items(), "deploy: what ran was not touched"

        old = _running(made)
        first = _tasks_of(made)
        running = _up_killed(made, chance, 2 * number + 1)
        after = _running(made)
        wanted = {key: at for key, at in running.items() if key not in old or key[0] == "db"}
        assert wanted.items() <= after.items(), "update: what ran and is wanted was not touched"
        assert {s: at for s, at in old.items() if s[0] == "db"}.items() <= after.items()
        assert _tasks_of(made)["web"] != first["web"], "the update came about"
        until(lambda: _containers(made) == set(_tasks_of(made).values()), "no container but those of the tasks")

        _down_killed(made, chance)
        until(lambda: made.api("GET", "/v1/apps/shop")[0] == 404, "the app is gone")
        until(lambda: made.host.inventory() == before, "no container, network or volume is left")
        files = made.directory / "run" / "files"
        assert _mounts_below(made) <= {str(files)}, "nothing but the one place for files in memory"
        assert list(files.iterdir()) == [], "no file of a secret is left"
    made.stop()
    assert _mounts_below(made) == set(), "a server that ended leaves no mount, though others before it were killed"
    made.start()


def test_the_count_of_failures_survives_a_kill(made, nothing_left_behind):
    def failures():
        return max((task.get("failures", 0) for task in made.tasks("loop", everything=True)), default=0)

    made.up(made.manifest(LOOP), "--detach")
    try:
        until(lambda: failures() >= 2, "it has failed twice")
        made.kill()
        made.start()
        seen = failures()
        assert seen >= 2
        until(lambda: failures() > seen, "it is counted on from there")
    finally:
        made.command("down", "loop")
