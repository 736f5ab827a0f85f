"""Every small example runs on Pilothouse as its first lines promise, and goes without a trace."""

import http.client
import os
import pathlib
import subprocess

import pytest

from tests.engine import until
from tests.platform import platform

pytestmark = [pytest.mark.engine, pytest.mark.slow]

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/compose.yaml") if path.parent.name != "bookshop")
COMPLETE, RUNNING = 576, 512


@pytest.fixture(scope="module")
def made(docker_host):
    environment = {**os.environ, "DOCKER_HOST": docker_host.url}
    subprocess.run([EXAMPLES / "images" / "build"], check=True, env=environment, timeout=120)
    with platform(docker_host) as found:
        yield found
    docker_host.clear()


def _page(made, port, path="/"):
    with made.host.inside():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
    try:
        return connection.getresponse().read().decode().strip()
    finally:
        connection.close()


def _inside(made, app, service, *command):
    """Return what *command* says inside the first task of a service."""
    task = next(t for t in made.tasks(app) if t["service"] == service)
    name = f"ph.{app}.{service}.{task['slot']}.{task['id']}"
    docker = ["docker", "-H", made.host.url, "exec", name, *command]
    return subprocess.run(docker, capture_output=True, text=True, timeout=30).stdout.strip()


def _ended(made, app, service):
    return [t for t in made.tasks(app, everything=True) if t["service"] == service and t["state"] == COMPLETE]


def hello(made):
    assert all("Hello from Pilothouse" in _page(made, port) for port in (8081, 8082))


def job(made):
    until(
        lambda: len([t for t in made.tasks("job", everything=True) if t["state"] == COMPLETE]) == 3, "three ended well"
    )


def everywhere(made):
    assert {t["state"] for t in made.tasks("everywhere")} == {RUNNING}


def chain(made):
    assert _page(made, 8083) == "2"
    assert len(_ended(made, "chain", "migrate")) == 1


def secrets(made):
    assert _inside(made, "secrets", "app", "stat", "-c", "%a %u", "/run/secrets/password") == "400 1000"
    assert _inside(made, "secrets", "app", "stat", "-f", "-c", "%T", "/run/secrets/password") == "tmpfs"


def hooks(made):
    assert _inside(made, "hooks", "app", "cat", "/data/once", "/data/started") == "prepared\nhello"


def hardened(made):
    status = _inside(made, "hardened", "web", "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


def probes(made):
    assert {t["health"] for t in made.tasks("probes")} == {"healthy"}


CHECKS = {check.__name__: check for check in (hello, job, everywhere, chain, secrets, hooks, hardened, probes)}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_and_goes_without_a_trace(made, nothing_left_behind, name):
    made.up(EXAMPLES / name / "compose.yaml")
    CHECKS[name](made)
    made.command("down", name, "--volumes")
