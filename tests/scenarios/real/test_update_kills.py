"""The server is killed again and again during an update, at random: it ends as it would have, and no caller notices."""

import json
import threading

import pytest

from tests.callers import PORT, Load
from tests.engine import WEB, until
from tests.platform import platform, settled

pytestmark = [pytest.mark.engine, pytest.mark.slow]

KILLS = 4
REPLICAS = 4
REQUESTS = 10_000
SERVE = "hostname > /www/index.html; exec httpd -f -p 80 -h /www"
ROLLING, STABLE, ROLLED_BACK = "rolling", "stable", "rolled-back"


def shop(version, program=SERVE):
    """Return a manifest whose update goes slot by slot and takes some seconds."""
    web = {
        "image": WEB,
        "command": ["sh", "-c", program],
        "environment": {"VERSION": version},
        "stop_grace_period": "1s",
        "ports": [f"{PORT}:80"],
        "deploy": {"replicas": REPLICAS, "update_config": {"monitor": "2s"}},
        "x-pilothouse": {"probes": {"ready": {"tcp": {"port": 80}, "interval": "1s"}}},
    }
    return json.dumps({"name": "pub", "services": {"web": web}})


@pytest.fixture
def made(docker_host, nothing_left_behind):
    with platform(docker_host) as found:
        found.up(found.manifest(shop("1")), "--timeout", "60s")
        yield found
        found.command("down", "pub", "--volumes")


def _release(made, number):
    status, found = made.api("GET", f"/v1/apps/pub/releases/{number}")
    return found["state"] if status == 200 else None


def _deploy_killed(made, chance, text):
    """Deploy release 2, and kill the server so often while it is rolled out."""
    made.command("up", "--detach", "-f", made.manifest(text))
    for number in range(KILLS):
        # The moment is what is random here: between any two things the server does.
        threading.Event().wait(chance.uniform(0.1, 2.5))
        made.kill()
        made.start()
        print(f"kill {number + 1}: release 2 is {_release(made, 2)}")  # noqa: T201 - shown if it fails


def _running(made):
    """Return the ids of the tasks whose containers run."""
    found = made.host.request("GET", "/containers/json")[1]
    return {each["Names"][0].rsplit(".", 1)[1] for each in found}


def _tasks(made):
    return {task["id"] for task in made.tasks("pub")}


def test_an_update_whose_server_is_killed_again_and_again_ends_well_and_fails_no_request(made, chance):
    before = _tasks(made)
    with Load(made) as load:
        load.goes_on()
        _deploy_killed(made, chance, shop("2"))
        until(lambda: _release(made, 2) == STABLE, "release 2 is stable", 90)
        until(lambda: load.answered >= REQUESTS, f"{REQUESTS} requests were answered", 60)
    assert load.failed == []
    assert settled(made, "pub")["converged"]
    after = _tasks(made)
    assert len(after) == REPLICAS
    assert not after & before, "every task is new"
    until(lambda: _running(made) == after, "no container runs but those of the tasks")
    made_of_2 = [t for t in made.tasks("pub", everything=True) if t.get("current", True)]
    assert len(made_of_2) == REPLICAS, "no slot was worked on twice"


def test_a_bad_release_whose_server_is_killed_again_and_again_is_rolled_back_once(made, chance):
    before = _tasks(made)
    with Load(made) as load:
        load.goes_on()
        _deploy_killed(made, chance, shop("2", program="sleep 1; exit 3"))
        until(lambda: _release(made, 2) == ROLLED_BACK, "release 2 is rolled back", 90)
        until(lambda: _release(made, 3) == STABLE, "what was before is stable", 90)
        load.goes_on()
    assert load.failed == []
    assert _release(made, 4) is None, "it was undone once"
    assert _tasks(made) == before, "start-first: no old task was ever stopped"
    until(lambda: _running(made) == before, "no container runs but those of the tasks")
