"""Images come from a registry that may fail, lie, or want a login."""

import base64
import json

import pytest

from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.clock import SystemClock
from pilothouse.ids import SystemIds
from tests.registry import Registry, serving

pytestmark = pytest.mark.engine


class Impatient(SystemClock):
    """Waits are over at once, and are remembered."""

    def __init__(self):
        self.waits = []

    async def sleep(self, seconds):
        self.waits.append(seconds)


@pytest.fixture
def clock():
    return Impatient()


@pytest.fixture
async def docker(docker_host, clock):
    engine = DockerEngine(docker_host.url, clock, SystemIds())
    yield engine
    await engine.close()


@pytest.fixture
def registry(docker_host, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with serving(Registry(), docker_host) as registry:
        yield registry
    docker_host.request("DELETE", f"/images/{registry.ref()}?force=1")


async def steps(engine, ref, policy="missing"):
    return [step async for step in engine.ensure_image(ref, policy)]


async def test_a_pulled_image_is_resolved_to_its_digest_and_not_pulled_twice(docker, registry):
    taken = await steps(docker, registry.ref())
    assert (taken[0].phase, taken[-1].phase) == ("pulling", "resolved")
    assert taken[-1].digest == registry.ref().removesuffix(":1") + "@" + registry.digest
    assert await docker.find_image(registry.ref()) == (taken[-1].id, taken[-1].digest)
    registry.asked.clear()
    for policy in ("", "missing", "if_not_present", "never", "build", "daily", "every_1h"):
        assert [step.phase for step in await steps(docker, registry.ref(), policy)] == ["present", "resolved"]
    assert registry.asked == []
    assert [step.phase for step in await steps(docker, registry.ref(), "always")][-1] == "resolved"
    assert registry.asked != []


async def test_an_image_older_than_the_policy_allows_is_pulled_again(docker, registry, clock):
    await steps(docker, registry.ref())
    clock.now = lambda: SystemClock().now() + 7200.0
    registry.asked.clear()
    assert [step.phase for step in await steps(docker, registry.ref(), "daily")] == ["present", "resolved"]
    assert registry.asked == []
    assert (await steps(docker, registry.ref(), "every_1h"))[-1].phase == "resolved"
    assert registry.asked != []


async def test_a_registry_that_is_down_is_asked_again_later_and_later(docker, registry, clock):
    registry.unavailable = 5
    taken = await steps(docker, registry.ref())
    phases = [step.phase for step in taken]
    assert phases[:4] == ["pulling", "waiting", "pulling", "waiting"]
    assert phases[-1] == "resolved"
    assert "attempt 2 of 5 in 1 s" in taken[1].message
    assert [round(wait / 2**number) for number, wait in enumerate(clock.waits)] == [1] * phases.count("waiting")


async def test_a_registry_that_stays_down_fails_after_five_attempts(docker, registry, clock):
    registry.unavailable = 1000
    taken = await steps(docker, registry.ref())
    assert [step.phase for step in taken if step.phase == "pulling"] == ["pulling"] * 5
    assert taken[-1].phase == "failed"
    assert "pull_policy: never" in taken[-1].message
    assert len(clock.waits) == 4


async def test_a_tag_that_does_not_exist_fails_at_once(docker, registry, clock):
    taken = await steps(docker, registry.ref("nope"))
    assert [step.phase for step in taken] == ["pulling", "failed"]
    assert clock.waits == []


async def test_content_that_is_not_what_its_digest_says_is_refused_and_nothing_is_left(docker, docker_host, registry):
    def images():
        return {image["Id"] for image in docker_host.request("GET", "/images/json?all=1")[1]}

    before = images()
    registry.corrupt = True
    taken = await steps(docker, registry.ref())
    assert taken[-1].phase == "failed"
    assert await docker.find_image(registry.ref()) is None
    assert images() == before


async def test_a_pull_that_breaks_off_is_begun_again_by_itself_and_that_is_said(docker, registry, clock):
    registry.broken_off = 2
    taken = await steps(docker, registry.ref())
    waits = [step.message for step in taken if step.phase == "waiting"]
    assert taken[-1].phase == "resolved", taken[-1]
    assert waits
    assert "attempt 2 of 5 in" in waits[0]
    assert registry.broken_off == 0


async def test_the_nodes_login_is_used_and_a_wrong_one_fails_at_once(docker, registry, tmp_path):
    registry.login = "alice:open sesame"
    assert (await steps(docker, registry.ref()))[-1].phase == "failed"
    auth = base64.b64encode(b"alice:open sesame").decode()
    host = f"127.0.0.1:{registry.port}"
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    assert (await steps(docker, registry.ref()))[-1].phase == "resolved"
