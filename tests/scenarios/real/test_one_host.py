"""The life of an app on one host, with the real command, server and engine."""

import json
import pathlib

import pytest

from tests.engine import SLEEPER, SPEAKER, WEB, until
from tests.platform import platform, settled

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SHOP = f"""\
name: shop
services:
  web:
    image: {WEB}
    stop_grace_period: 1s
    ports: ["18081:80"]
    depends_on:
      db: {{condition: service_healthy}}
    x-pilothouse:
      probes:
        startup: {{tcp: {{port: 80}}, interval: 1s}}
  db:
    image: {SLEEPER}
    stop_grace_period: 1s
    environment: {{LEVEL: "1"}}
    deploy: {{update_config: {{monitor: 1ms}}}}
    healthcheck: {{test: [CMD, "true"], interval: 1s}}
    volumes: ["data:/data"]
volumes:
  data: {{}}
"""


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


def _ids(made, service):
    return {task["id"] for task in made.tasks("shop") if task["service"] == service}


def _command_line(pid):
    try:
        return pathlib.Path("/proc", pid, "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_up_heals_replaces_only_what_changed_explains_and_goes_without_a_trace(made):
    before = made.host.inventory()
    done = made.up(made.manifest(SHOP))
    assert done.stdout.startswith("shop: 2 services as the manifest says (release 1, ")
    (web,), database = _ids(made, "web"), _ids(made, "db")

    made.host.request("POST", f"/containers/ph.shop.web.1.{web}/kill")
    until(lambda: _ids(made, "web") not in ({web}, set()), "another task took the killed one's place")
    assert settled(made, "shop")["converged"]
    dead = next(t for t in made.tasks("shop", everything=True) if t["id"] == web)
    assert dead["exit_code"] == 137
    assert "failed (137)" in made.command("ps", "-a", "shop").stdout
    said = made.command("explain", f"shop/{dead['name']}").stdout
    assert "no-new-privileges" in said, "the safe defaults it runs with"
    assert "SIGKILL" in made.command("explain", web).stdout

    healed = _ids(made, "web")
    made.up(made.manifest(SHOP.replace('LEVEL: "1"', 'LEVEL: "2"')))
    assert _ids(made, "web") == healed
    assert _ids(made, "db").isdisjoint(database)

    done = made.command("down", "shop")
    assert done.stdout == "shop is gone; its volumes stay\n"
    assert made.host.inventory() - before == {"volume shop_data"}
    made.up(made.manifest(SHOP))
    made.command("down", "shop", "--volumes")
    assert made.host.inventory() == before


def test_a_second_up_of_the_same_file_touches_nothing(made):
    made.up(made.manifest(SHOP))
    tasks = {task["id"] for task in made.tasks("shop")}
    done = made.up(made.manifest(SHOP))
    assert "keep db, web" in done.stderr
    assert {task["id"] for task in made.tasks("shop")} == tasks


def test_logs_of_dead_tasks_are_there_and_the_failure_is_told(made):
    text = f"name: talk\nservices:\n  say:\n    image: {SPEAKER}\n    restart: 'no'\n"
    done = made.up(made.manifest(text), check=False)
    assert done.returncode == 2, done.stdout
    assert "error PH108: talk" in done.stderr
    assert "| two" in done.stderr
    lines = made.command("logs", "--no-prefix", "talk").stdout.splitlines()
    assert lines[:2] == ["one", "two"]


def test_what_needs_a_grant_is_refused_granted_by_the_command_it_names_and_recorded(made):
    text = f"name: bold\nservices:\n  s:\n    image: {SLEEPER}\n    cap_add: [NET_ADMIN]\n    stop_grace_period: 1s\n"
    done = made.up(made.manifest(text), check=False)
    assert done.returncode == 3
    line = next(line for line in done.stderr.splitlines() if "allow it: pilothouse " in line)
    assert line.split("allow it: pilothouse ")[1] == 'grant create bold cap-add NET_ADMIN --service s --reason "WHY"'
    made.command("grant", "create", "bold", "cap-add", "NET_ADMIN", "--service", "s", "--reason", "a trial")
    made.up(made.manifest(text))
    records = json.loads(made.command("audit", "ls", "--object", "app/bold", "--json").stdout)
    assert [(record["action"], record.get("outcome", "done")) for record in records] == [
        ("app.deploy", "refused"),
        ("app.deploy", "done"),
    ]


def test_a_missing_image_is_refused_and_what_runs_is_left_alone(made):
    made.up(made.manifest(SHOP))
    tasks = {task["id"] for task in made.tasks("shop")}
    done = made.up(made.manifest(SHOP.replace(WEB, "pilothouse/none:1")), check=False)
    assert done.returncode == 3
    assert "PH107" in done.stderr
    assert "pilothouse/none:1" in done.stderr
    assert {task["id"] for task in made.tasks("shop")} == tasks


def test_a_service_that_left_the_file_goes_unless_orphans_are_kept(made):
    made.up(made.manifest(SHOP))
    alone = SHOP.split("  db:\n", maxsplit=1)[0].replace(
        "    depends_on:\n      db: {condition: service_healthy}\n", ""
    )
    made.up(made.manifest(alone), "--keep-orphans")
    assert _ids(made, "db")
    made.up(made.manifest(alone))
    until(lambda: not _ids(made, "db"), "the service that left is gone")


def test_a_server_that_is_killed_or_stopped_restarts_no_container(made):
    made.up(made.manifest(SHOP))
    running = {c["Id"]: c["State"] for c in made.host.request("GET", "/containers/json")[1]}
    made.stop()
    assert {c["Id"]: c["State"] for c in made.host.request("GET", "/containers/json")[1]} == running
    made.start()
    assert settled(made, "shop")["converged"]
    made.kill()
    made.start()
    assert settled(made, "shop")["converged"]
    assert {c["Id"]: c["State"] for c in made.host.request("GET", "/containers/json")[1]} == running


def test_up_starts_a_server_where_none_runs_and_stop_ends_it(made, tmp_path):
    apart = {"PILOTHOUSE_DATA": str(tmp_path / "d"), "PILOTHOUSE_RUN": str(tmp_path / "r"), "PILOTHOUSE_SOCKET": ""}
    assert made.command("server", "status", environment=apart, check=False).returncode == 2
    done = made.command("server", "start", environment=apart)
    try:
        assert "started the server (process " in done.stdout
        assert json.loads(made.command("server", "status", "--json", environment=apart).stdout)["running"]
        assert "runs already" in made.command("server", "start", environment=apart).stdout
        second = made.command("server", "run", environment=apart, check=False)
        assert second.returncode == 3
        assert "a server runs already" in second.stderr
        assert "server.starting" in made.command("server", "logs", environment=apart).stdout
    finally:
        stopped = made.command("server", "stop", environment=apart)
    assert "containers run on" in stopped.stdout
    assert "no server runs" in made.command("server", "stop", environment=apart).stdout
    assert not (tmp_path / "r" / "api.sock").exists()
    pid = stopped.stdout.split("process ")[1].split(")")[0]
    assert _command_line(pid) == b"", "it has ended; at most its parent has yet to notice"


def test_a_backup_put_back_brings_the_app_back(made, tmp_path):
    made.up(made.manifest(SHOP))
    copy = tmp_path / "copy"
    made.command("backup", copy)
    assert made.command("check").stdout.startswith("ok: ")
    made.command("down", "shop", "--volumes")
    assert made.command("restore", "--force", copy, check=False).returncode == 3, "not while a server runs"
    made.stop()
    assert made.command("restore", copy, check=False).returncode == 3, "not over a store without being told to"
    assert "holds revision" in made.command("restore", "--force", copy).stdout
    made.start()
    assert settled(made, "shop")["converged"]
    assert len(made.tasks("shop")) == 2
