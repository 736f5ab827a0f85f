"""The driver keeps the contract on real engines."""

import pathlib

import pytest

from pilothouse.agent.runtime.conformance import CHECKS, health_is_seen
from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.clock import SystemClock
from pilothouse.ids import SystemIds

SYSTEMD = pathlib.Path("/run/systemd/system").exists()
pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("nothing_left_behind")]


@pytest.fixture
async def docker(docker_host):
    engine = DockerEngine(docker_host.url, SystemClock(), SystemIds())
    yield engine
    await engine.close()


@pytest.fixture
async def podman(podman_host):
    engine = DockerEngine(podman_host.url, SystemClock(), SystemIds())
    yield engine
    await engine.close()


@pytest.mark.parametrize("check", [check for _, check in CHECKS], ids=lambda check: check.__name__)
async def test_docker_keeps_the_contract(docker, check):
    await check(docker)


@pytest.mark.parametrize("check", [check for _, check in CHECKS], ids=lambda check: check.__name__)
async def test_podman_keeps_the_contract(podman, check):
    if check is health_is_seen and not SYSTEMD:
        pytest.skip("Podman runs health checks by systemd timers, and this machine has no systemd")
    await check(podman)
