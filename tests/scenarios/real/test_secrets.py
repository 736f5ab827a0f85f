"""A secret's content is in memory-backed files only, goes with its app, and is rotated where it is used only."""

import pathlib

import pytest

from tests.engine import SLEEPER, until
from tests.platform import platform, settled

pytestmark = [pytest.mark.engine, pytest.mark.slow]

CANARY = "canary-5f1d0c-first"
SECOND = "canary-5f1d0c-second"
SAFE = f"""\
name: safe
services:
  uses:
    image: {SLEEPER}
    stop_grace_period: 1s
    command: [sh, -c, "wc -c /run/secrets/key; trap exit TERM; while :; do sleep 1000 & wait $$!; done"]
    secrets: [key]
    volumes: ["data:/data"]
  apart:
    image: {SLEEPER}
    stop_grace_period: 1s
    secrets: [other]
  bare:
    image: {SLEEPER}
    stop_grace_period: 1s
volumes:
  data: {{}}
secrets:
  key: {{environment: KEY}}
  other: {{environment: OTHER}}
"""


@pytest.fixture(scope="module")
def made(docker_host):
    with platform(docker_host) as found:
        yield found


@pytest.fixture(autouse=True)
def gone(made, nothing_left_behind):
    """Take the app down before the engine is looked at."""
    yield
    made.command("down", "safe", "--volumes", check=False)


def _holding(text, *tops):
    """Return the files below *tops* with *text* in them."""
    sought, found = text.encode(), []
    for top in tops:
        for path in (top, *top.rglob("*")):
            if path.is_file() and not path.is_symlink():
                try:
                    if sought in path.read_bytes():
                        found.append(str(path))
                except OSError:
                    continue  # a file that went, or a special one
    return found


def _up(made, key, other="fixed-other"):
    return made.up(made.manifest(SAFE), environment={"KEY": key, "OTHER": other})


def _tasks(made):
    return {task["service"]: task["id"] for task in made.tasks("safe")}


def _read_in(made, service):
    """Return the secret as a process in the service's container sees it."""
    task = _tasks(made)[service]
    name = next(c["Id"] for c in made.host.request("GET", "/containers/json")[1] if c["Names"][0].endswith(task))
    pid = made.host.request("GET", f"/containers/{name}/json")[1]["State"]["Pid"]
    return pathlib.Path(f"/proc/{pid}/root", "run/secrets/key").read_text()


def test_the_content_of_a_secret_is_in_memory_only_and_goes_with_the_app(made):
    disks = (made.directory / "data", made.host.directory / "data", made.log, made.host.directory / "log")
    _up(made, CANARY)
    assert _read_in(made, "uses") == CANARY
    assert _holding(CANARY, made.directory / "run"), "the search finds what is there"
    assert _holding(CANARY, *disks) == []
    for each in made.host.request("GET", "/containers/json?all=1")[1]:
        assert CANARY not in str(made.host.request("GET", f"/containers/{each['Id']}/json")[1])
    for path in ("/v1/inspect/secret/safe/key", "/v1/secrets?app=safe", f"/v1/tasks/{_tasks(made)['uses']}"):
        status, answer = made.api("GET", path)
        assert status == 200
        assert CANARY not in str(answer)
    made.kill()
    assert _holding(CANARY, *disks) == [], "nor does a crash write it down"
    made.start()
    made.command("down", "safe", "--volumes")
    until(lambda: not _holding(CANARY, made.directory, made.host.directory), "it is gone with the app")


def test_a_new_content_replaces_exactly_the_tasks_that_use_it(made):
    _up(made, CANARY)
    before = _tasks(made)
    _up(made, CANARY)
    assert _tasks(made) == before, "the same content changes nothing"
    _up(made, SECOND)
    after = _tasks(made)
    assert {service for service, task in after.items() if before[service] != task} == {"uses"}
    assert _read_in(made, "uses") == SECOND
    disks = (made.directory / "data", made.host.directory / "data", made.log)
    assert _holding(SECOND, *disks) == []
    until(lambda: not _holding(CANARY, made.directory, made.host.directory), "the old content is gone")


def test_a_release_that_fails_with_a_new_content_gives_the_old_one_back_sealed_meanwhile(made):
    beside = SAFE.replace('    volumes: ["data:/data"]\n', "")  # so that the old task goes on beside the new one
    made.up(made.manifest(beside), environment={"KEY": CANARY, "OTHER": "fixed-other"})
    before = _tasks(made)
    broken = made.manifest(beside.replace("wc -c /run/secrets/key;", "exit 7;"))
    done = made.up(broken, environment={"KEY": SECOND, "OTHER": "fixed-other"}, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert _tasks(made) == before, "the old task was never touched"
    disks = (made.directory / "data", made.host.directory / "data", made.log)
    assert _holding(CANARY, *disks) == _holding(SECOND, *disks) == [], "kept contents are sealed"
    name = next(c["Id"] for c in made.host.request("GET", "/containers/json")[1] if before["uses"] in c["Names"][0])
    made.host.request("POST", f"/containers/{name}/kill")
    until(lambda: _tasks(made).get("uses") not in {None, before["uses"]}, "it is made anew")
    until(lambda: settled(made, "safe"), "it runs again")
    assert _read_in(made, "uses") == CANARY
    states = [each["state"] for each in made.api("GET", "/v1/apps/safe/releases")[1]["items"]]
    assert states == ["stable", "rolled-back", "stable"]
