"""What the other commands ask and write."""

import json

import pytest

from pilothouse import errors
from pilothouse.model.api import CheckResult, EventView, Explanation, Finding, GrantRequest, LogEntry
from pilothouse.model.container import ContainerSpec
from pilothouse.model.node import Node
from pilothouse.model.objects import AuditRecord, Grant, Health, PortBinding
from pilothouse.model.states import TaskState
from pilothouse.model.wire import Stream, TaskUsage
from tests.cli.fake_api import Short, events, ndjson, page, problem
from tests.cli.views import app, service, task

GRANT = Grant(id="g00000000001", app="shop", kind="cap-add", value="NET_ADMIN", granted_at=1.0, reason="vpn")


def _entry(text, at=1.0, **fields):
    return LogEntry(
        **{"task_id": "t1", "service": "web", "slot": 1, "at": at, "stream": Stream.OUT, "text": text, **fields}
    )


def test_ps_puts_the_worst_reason_above_the_tasks(api, command):
    waits = service("web", converged=False, sentence="waits for db")
    parked = service("db", converged=False, failed=True, sentence="gave up after 50 tries")
    api.answers["GET", "/v1/apps"] = page(app(waits, parked))
    api.answers["GET", "/v1/tasks"] = page(
        task("db.1", state=TaskState.FAILED, exit_code=3, health=Health.NONE, sentence="exited with 3"),
        task("web.2", ports=(PortBinding(target=80, host_port=8080, host_ip="127.0.0.1"),), current=False),
    )
    lines = command("ps", "-a").out.splitlines()
    assert lines[:2] == ["shop/db: gave up after 50 tries", "shop/web: waits for db"]
    assert lines[2].split()[:4] == ["TASK", "ID", "STATE", "HEALTH"]
    assert "failed (3)" in lines[3]
    assert lines[3].endswith("exited with 3")
    assert "127.0.0.1:8080→80" in lines[4]
    assert "running, old" in lines[4]
    assert api.asked[-1][2]["all"] == "true"


def test_ps_says_which_node_once_there_is_more_than_one(api, command):
    api.answers["GET", "/v1/apps"] = page(app(service()))
    api.answers["GET", "/v1/tasks"] = page(task("web.1", node_id="h1"), task("web.2", node_id="h2"), task("web.3"))
    heads, *rows = (line.split() for line in command("ps").out.splitlines())
    assert heads[:4] == ["TASK", "ID", "NODE", "STATE"]
    assert [row[2] for row in rows] == ["h1", "h2", "-"]
    api.answers["GET", "/v1/tasks"] = page(task("web.1", node_id="h1"), task("web.2", node_id="h1"))
    assert "NODE" not in command("ps").out


def test_ps_is_about_the_project_of_the_directory(api, command, here):
    (here / "compose.yaml").write_text("name: shop\nservices: {web: {image: x}}\n")
    api.answers["GET", "/v1/apps/shop"] = app(service())
    api.answers["GET", "/v1/tasks"] = page(task())
    assert len(json.loads(command("ps", "--json").out)) == 1
    assert api.asked[-1][2]["app"] == "shop"


def test_ps_of_a_project_that_is_not_deployed_says_what_to_do(api, command, here):
    (here / "compose.yaml").write_text("name: shop\nservices: {web: {image: x}}\n")
    done = command("ps")
    assert done.code == 0
    assert done.out.startswith("shop is not deployed: `pilothouse up` deploys it")
    assert command("ps", "shop").code == 3


def test_ps_without_a_project_here_lists_every_app(api, command):
    api.answers["GET", "/v1/apps"] = api.answers["GET", "/v1/tasks"] = page()
    assert command("ps").out == "no tasks\n"


def test_a_command_that_needs_an_app_says_so_where_there_is_no_project(api, command):
    done = command("logs")
    assert done.code == 3
    assert "no APP was given and there is no Compose file" in done.err


def test_a_name_cannot_forge_a_row_of_ps(api, command):
    api.answers["GET", "/v1/apps"] = page()
    api.answers["GET", "/v1/tasks"] = page(task(image="web:1\nshop/db.1  running\x1b[2J"))
    assert len(command("ps").out.splitlines()) == 2


def test_logs_name_the_task_of_each_line_and_clean_it(api, command):
    api.answers["GET", "/v1/apps/shop/logs"] = ndjson(
        _entry("one\x1b]0;owned\x07"), _entry("two", service="worker", slot=2), _entry("\x1b[31mred", slot=2)
    )
    assert command("logs", "shop").out.splitlines() == ["web.1 | one", "worker.2 | two", "web.2    | red"]


def test_logs_of_one_task_leave_the_others_out(api, command):
    api.answers["GET", "/v1/apps/shop/logs"] = ndjson(_entry("one"), _entry("two", slot=2))
    done = command("logs", "--no-prefix", "-t", "shop", "web.2")
    assert done.out == "1970-01-01T00:00:01.000Z two\n"
    assert api.asked[0][2]["services"] == "web"


def test_logs_end_at_the_time_asked_for(api, command):
    api.answers["GET", "/v1/apps/shop/logs"] = ndjson(_entry("old", at=1.0), _entry("new", at=1_900_000_000.0))
    assert command("logs", "--until", "2020-01-01", "--no-prefix", "shop").out == "old\n"


def test_logs_as_json_keep_the_text_as_it_was_written(api, command):
    api.answers["GET", "/v1/apps/shop/logs"] = ndjson(_entry("\x1b[31mred"))
    assert json.loads(command("logs", "--json", "shop").out)["text"] == "\x1b[31mred"


def test_events_go_on_from_where_the_past_ended(api, command):
    past = EventView(revision=7, index=0, at=1.0, name="task.failed", object="task/t1", app="shop", sentence="exit 3")
    api.answers["GET", "/v1/events"] = page(past)
    new = EventView(revision=8, index=0, at=2.0, name="task.running", object="task/t2", app="shop")
    api.answers["GET", "/v1/events/watch"] = events(("event", new))
    lines = command("events", "-f", "shop").out.splitlines()
    assert lines == [
        "1970-01-01T00:00:01Z  task.failed  task/t1  exit 3",
        "1970-01-01T00:00:02Z  task.running  task/t2",
    ]
    assert api.asked[-1][2] == {"app": "shop", "since": "7"}


def test_explain_says_the_sentence_first_then_the_chain_behind_it(api, command):
    api.answers["GET", "/v1/explain"] = Explanation(
        object="task/t1",
        sentence="shop/web.1 failed.",
        causes=("it exited with 137", "it used more memory than it may"),
        facts=(("exit code", "137"),),
        log_tail=("bye",),
        changes=("image",),
        effective=ContainerSpec(image="web:1", command=("run",)),
    )
    lines = command("explain", "shop/web.1").out.splitlines()
    assert lines[:3] == [
        "shop/web.1 failed.",
        "  it exited with 137",
        "  it used more memory than it may",
    ]
    assert {"  exit code: 137", "  bye", "  image", '  image = "web:1"', '  command = ["run"]'} <= set(lines)
    assert command("explain", "--short", "shop/web.1").out.splitlines() == lines[:3]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("shop", "app/shop"),
        ("shop/web", "service/shop/web"),
        ("shop/web.1", "task/t00000000001"),
        ("shop/web.9", "service/shop/web.9"),
        ("t00000000001", "task/t00000000001"),
        ("volume/shop/data", "volume/shop/data"),
    ],
)
def test_inspect_understands_the_names_people_use(api, command, name, path):
    api.answers["GET", "/v1/tasks"] = page(
        task(id="t00000000002", state=TaskState.FAILED, created_at=2.0), task(id="t00000000001")
    )
    api.answers["GET", f"/v1/inspect/{path}"] = {"id": path}
    assert json.loads(command("inspect", name).out) == {"id": path}


def test_top_turns_two_readings_into_a_rate(api, command, monkeypatch):
    monkeypatch.setattr("pilothouse.cli.commands.top._MEASURE_SECONDS", 0.0)
    readings = [TaskUsage(task_id="t00000000001", at=at, cpu_nano_total=int(cpu * 1e9), memory_bytes=3 << 20,
                          memory_limit_bytes=0, pids=2) for at, cpu in ((1.0, 1.0), (3.0, 2.0))]  # fmt: skip
    answers = iter(readings)
    api.answers["GET", "/v1/stats"] = lambda *_: page(next(answers))
    api.answers["GET", "/v1/tasks"] = page(task())
    row = command("top", "shop").out.splitlines()[1]
    assert row.split("  ")[0] == "shop/web.1"
    assert "50.0 %" in row
    assert "3.0 MiB" in row
    assert "no limit" in row


def test_a_grant_is_asked_for_with_its_end_and_its_reason(api, command):
    api.answers["POST", "/v1/grants"] = GRANT
    done = command("grant", "create", "shop", "cap-add", "NET_ADMIN", "--until", "2126-01-01", "--reason", "vpn")
    assert done.out.startswith("granted: shop may cap-add NET_ADMIN; take it back with `pilothouse grant revoke g00")
    request = api.bodies("POST", "/v1/grants", GrantRequest)[0]
    assert (request.app, request.kind, request.value, request.reason) == ("shop", "cap-add", "NET_ADMIN", "vpn")
    assert request.until == 4922899200.0


def test_a_grant_without_a_reason_is_refused(api, command):
    assert command("grant", "create", "shop", "privileged").code == 3
    assert api.asked == []


def test_only_grants_that_count_are_listed_unless_all_are_asked_for(api, command):
    ended = Grant(id="g00000000002", app="shop", kind="device", until=2.0)
    api.answers["GET", "/v1/grants"] = page(GRANT, ended)
    assert [each["id"] for each in json.loads(command("grant", "ls", "--json").out)] == [GRANT.id]
    assert len(json.loads(command("grant", "ls", "-a", "--json").out)) == 2


def test_a_revoked_grant_is_named(api, command):
    api.answers["DELETE", f"/v1/grants/{GRANT.id}"] = GRANT
    assert command("grant", "revoke", GRANT.id).out.startswith("revoked: shop may cap-add NET_ADMIN")


def test_audit_shows_the_newest_in_order(api, command):
    made = [
        AuditRecord(id=f"{n:012}", at=n, principal="uid:0(root)", action="app.deploy", object="app/shop")
        for n in range(5)
    ]
    api.answers["GET", "/v1/audit"] = page(*reversed(made))
    lines = command("audit", "ls", "-n", "2").out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["1970-01-01T00:00:03Z", "1970-01-01T00:00:04Z"]


@pytest.mark.parametrize(
    ("noun", "path", "heads"),
    [("volume", "volumes", "VOLUME"), ("network", "networks", "NETWORK"), ("secret", "secrets", "SECRET"),
     ("config-file", "configs", "CONFIG FILE")],
)  # fmt: skip
def test_resources_are_listed(api, command, noun, path, heads):
    api.answers["GET", f"/v1/{path}"] = page(
        {"id": "shop/data", "spec": {"name": "shop_data"}, "content_version": "v1"}
    )
    done = command(noun, "ls", "shop")
    assert done.out.startswith(heads)
    assert "shop/data" in done.out
    assert api.asked[0][2]["app"] == "shop"


def test_nodes_are_listed_with_their_engine(api, command):
    api.answers["GET", "/v1/nodes"] = page(Node(id="n1", ready=True, message="fine"))
    assert command("node", "ls").out.splitlines()[1].split()[:3] == ["n1", "-", "yes"]


def test_a_damaged_store_is_a_failed_check(api, command):
    api.answers["POST", "/v1/check"] = CheckResult(ok=False, message="page 7 is torn")
    assert (command("check").code, command("check").out) == (2, "damaged: page 7 is torn\n")


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warning", 0), ("error", 2)])
def test_the_doctor_fails_only_when_something_is_wrong(api, command, level, code):
    api.answers["GET", "/v1/doctor"] = page(Finding(level=level, subject="engine", message="says", advice="do"))
    done = command("doctor")
    assert done.code == code
    assert done.out == f"{level:<7}  engine: says\n         do\n"


def test_a_backup_appears_whole_and_private(api, command, here):
    api.answers["POST", "/v1/backup"] = b"state" * 1000
    assert command("backup", "copy.db").code == 0
    assert (here / "copy.db").read_bytes() == b"state" * 1000
    assert (here / "copy.db").stat().st_mode & 0o777 == 0o600
    assert command("backup", "copy.db").code == 3
    assert command("backup", "--force", "copy.db").code == 0


@pytest.mark.parametrize("half", [[b"half", None], Short(b"half")], ids=["in chunks", "with a length"])
def test_a_backup_that_breaks_off_leaves_no_file(api, command, here, half):
    api.answers["POST", "/v1/backup"] = half
    assert command("backup", "copy.db").code == 2
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_for_three_shells(command, shell):
    assert "_PILOTHOUSE_COMPLETE" in command("completion", shell).out


def test_version_works_with_and_without_a_server(command, api):
    api.answers["GET", "/v1/info"] = problem(errors.ServerUnavailableError("no"))
    assert json.loads(command("version", "--json").out)["server"] == ""
