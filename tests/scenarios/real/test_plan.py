"""A plan on a real engine: what it says is what `up` then does, and a plan that was kept is done as it was or not."""

import json

import pytest

from tests.engine import BASE, SLEEPER, WEB, until
from tests.platform import platform

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SHOP = f"""\
name: shop
services:
  web:
    image: {WEB}
    stop_grace_period: 1s
    depends_on: [db]
    deploy: {{replicas: 2, update_config: {{monitor: 1ms}}}}
    environment: {{LEVEL: "1"}}
    secrets: [key]
    x-pilothouse:
      probes:
        ready: {{tcp: {{port: 80}}, interval: 1s}}
  db:
    image: {SLEEPER}
    stop_grace_period: 1s
    volumes: ["data:/data"]
  old:
    image: {SLEEPER}
    stop_grace_period: 1s
volumes:
  data: {{}}
secrets:
  key: {{file: ./key}}
"""
CHANGED = SHOP.replace('LEVEL: "1"', 'LEVEL: "2"').replace("  old:\n", "  new:\n")


@pytest.fixture(scope="module")
def made(docker_host):
    with platform(docker_host) as found:
        yield found


@pytest.fixture(autouse=True)
def gone(made, nothing_left_behind):
    """Take every app down before the engine is looked at."""
    (made.directory / "key").write_text("hunter2")
    yield
    _, page = made.api("GET", "/v1/apps")
    for app in page["items"]:
        made.command("down", app["name"], "--volumes", check=False)


def plan(made, text, *arguments, code=0):
    done = made.command("plan", "-f", made.manifest(text), *arguments, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def services(made, text):
    return {each["name"]: each for each in json.loads(plan(made, text, "--json").stdout)["services"]}


def live(made):
    return {task["id"]: task["service"] for task in made.tasks("shop")}


def stable(made):
    until(lambda: made.api("GET", "/v1/apps/shop")[1]["release"]["state"] == "stable", "the release is stable")


def test_what_a_plan_says_is_what_up_does(made):
    first = plan(made, SHOP).stdout
    assert first.splitlines()[0] == "shop: it would be release 1, its first"
    assert "+ web: create, 2 tasks" in first
    assert made.api("GET", "/v1/apps")[1]["items"] == [], "nothing was deployed"
    assert json.loads(made.command("audit", "ls", "--object", "app/shop", "--json").stdout) == []

    made.up(made.manifest(SHOP))
    stable(made)
    assert plan(made, SHOP).stdout.splitlines()[0] == "shop: nothing would change (release 1)"
    before = live(made)
    planned = services(made, CHANGED)
    assert {name: each["action"] for name, each in planned.items()} == {
        "db": "keep", "new": "create", "old": "remove", "web": "replace",
    }  # fmt: skip
    assert set(planned["web"]["stops"]) == {task for task, name in before.items() if name == "web"}
    done = made.up(made.manifest(CHANGED))
    assert "shop release 2: create new; replace web; remove old; keep db" in done.stderr
    after = live(made)
    assert before.keys() - after.keys() == {task for each in planned.values() for task in each.get("stops", ())}


def test_a_database_that_holds_its_volume_leaves_a_gap_and_the_plan_says_why(made):
    made.up(made.manifest(SHOP))
    stable(made)
    said = plan(made, SHOP.replace('volumes: ["data:/data"]', 'volumes: ["data:/data"]\n    hostname: other')).stdout
    assert "! risk: a gap: the old task is stopped before the new one is started" in said
    assert "because the old task holds the volume data for writing" in said


def test_a_refused_plan_names_the_grant_and_a_plan_pulls_nothing(made):
    bold = f"name: bold\nservices:\n  web:\n    image: {WEB}\n    privileged: true\n"
    done = plan(made, bold, code=3)
    assert "allow it: pilothouse grant create bold privileged" in done.stdout
    far = "name: far\nservices:\n  web: {image: registry.invalid/none:1}\n"
    assert "! services.web.image: the image registry.invalid/none:1 is not on the node" in plan(made, far).stdout


@pytest.mark.parametrize("change", ["file", "secret", "image", "release"])
def test_a_kept_plan_is_done_or_refused_with_what_differs(made, change):
    made.up(made.manifest(SHOP))
    stable(made)
    kept = made.directory / "change.plan"
    plan(made, CHANGED, "--out", kept)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "hunter2" not in kept.read_text()
    before = live(made)
    if change == "file":
        made.manifest(CHANGED.replace('LEVEL: "2"', 'LEVEL: "3"'))
        said = "web: environment.LEVEL: 1 → 3, but the plan says environment.LEVEL: 1 → 2"
    elif change == "secret":
        (made.directory / "key").write_text("hunter3")
        said = "web: secrets.key: content changed is not in the plan"
    elif change == "image":
        _tag(made, BASE, WEB)
        said = "web: its image means sha256:"
    else:
        made.command("restart", "shop", "old", "--detach")
        stable(made)
        before = live(made)
        said = "the app's newest release is 2, and the plan is of release 1"
    try:
        done = made.up(made.directory / "compose.yaml", "--plan", kept, check=False)
    finally:
        _tag(made, f"{WEB}-kept", WEB) if change == "image" else None
    assert done.returncode == 3, done.stderr
    assert "error PH110: the plan of shop is stale, and nothing was changed" in done.stderr
    assert said in done.stderr
    assert live(made) == before
    (made.directory / "key").write_text("hunter2")
    plan(made, CHANGED, "--out", kept)
    assert made.up(made.manifest(CHANGED), "--plan", kept).returncode == 0


def _tag(made, ref, name):
    """Have *name* mean the image *ref*; what it meant stays as NAME-kept."""
    for what, tag in ((name, f"{name}-kept"), (ref, name)):
        if not (ref.endswith("-kept") and tag.endswith("-kept")):
            repository, _, version = tag.rpartition(":")
            made.host.request("POST", f"/images/{what}/tag?repo={repository}&tag={version}")
