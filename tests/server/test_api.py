"""The API answers in types and problems; nobody unidentified gets past it, and nothing secret comes out of it."""

import asyncio
import json

import msgspec
import pytest
from msgspec.structs import replace

from pilothouse.errors import ProgrammingError
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import AppView, DeployResult, Problem
from pilothouse.model.node import Node
from pilothouse.model.objects import AuditRecord, Config, Grant, Secret, Service, Task
from pilothouse.model.spec import FileSpec
from pilothouse.model.states import Writer
from pilothouse.server.api.dispatch import Api, match
from pilothouse.server.api.route import Route
from pilothouse.server.api.routes import ROUTES
from tests.server.harness import SimulatedNode, World, line, reading, service, shop, task_of


def request(spec, **fields):
    return json.loads(msgspec.json.encode({"spec": spec, **fields}))


async def deployed(world=None, spec=None, **fields):
    world = world or World()
    answer = await world.call("PUT", "/v1/apps/shop", request(spec or shop(), **fields))
    assert answer.status == 200, answer
    return world, answer


async def with_task(**fields):
    world, _ = await deployed()
    found = await world.store.view(lambda tx: tx.get(Service, "shop/web"))
    task = task_of(found, **fields)
    await world.store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(task))
    return world, task


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    found = msgspec.json.decode(answer.body, type=Problem)
    assert (found.status, found.instance) == (answer.status, answer.headers["x-request-id"])
    assert found.type == f"reference/errors/{found.code}"
    return found


FILLED = {"node": "n1", "app": "shop", "service": "web", "kind": "app", "id": "x", "task": "x"}


def filled(route):
    path = route.path
    for name, value in FILLED.items():
        path = path.replace(f"{{{name}}}", value)
    return path


@pytest.mark.parametrize("route", [r for r in ROUTES if r.permission is not Permission.PUBLIC], ids=lambda r: r.name)
async def test_nobody_unidentified_gets_an_answer(route):
    world = World()
    assert problem(await world.call(route.method, filled(route), principal=None)).code == "PH109"
    assert await world.store.view(lambda tx: tx.revision) == 0


def test_only_health_and_what_a_machine_needs_to_join_is_public_and_says_so_twice():
    public = {"GET /healthz", "GET /v1/cluster/authority", "POST /v1/join"}
    assert {f"{r.method} {r.path}" for r in ROUTES if r.permission is Permission.PUBLIC} == public
    assert {f"{r.method} {r.path}" for r in ROUTES if r.anonymous} == public


@pytest.mark.parametrize("route", [r for r in ROUTES if r.name in {"health.read", "nodes.list"}], ids=lambda r: r.name)
def test_a_route_that_is_anonymous_in_one_word_only_does_not_start(route):
    with pytest.raises(ProgrammingError, match=route.name):
        Api((replace(route, anonymous=not route.anonymous),), World().context)


def test_a_route_without_a_permission_cannot_be_written():
    with pytest.raises(TypeError, match="permission"):
        Route(method="GET", path="/x", name="x", summary="x", handler=None)


def test_no_two_routes_answer_to_one_request():
    assert len({(r.method, r.path) for r in ROUTES}) == len(ROUTES)
    assert len({r.name for r in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/v1/nothing", 404, "PH102"),
        ("/", 404, "PH102"),
        ("/v1/apps/", 404, "PH102"),
        ("/v1/apps/shop", 404, "PH102"),
        ("/v1/apps/shop/watch", 404, "PH102"),
        ("/v1/apps/shop/logs", 404, "PH102"),
        ("/v1/apps/shop/services/web", 404, "PH102"),
        ("/v1/tasks/none", 404, "PH102"),
        ("/v1/inspect/task/none", 404, "PH102"),
        ("/v1/inspect/auditrecord/1", 404, "PH102"),
        ("/v1/apps?limit=0", 400, "PH105"),
        ("/v1/apps?limit=1001", 400, "PH105"),
        ("/v1/apps?limit=many", 400, "PH105"),
        ("/v1/apps?limit=1&limit=2", 400, "PH105"),
        ("/v1/apps?nonsense=1", 400, "PH105"),
        ("/v1/apps?limit=%ff", 400, "PH105"),
        ("/v1/apps?after=gone", 400, "PH105"),
        ("/v1/apps/shop/logs?since=nan", 400, "PH105"),
        ("/v1/apps/a%2fb", 400, "PH105"),
        ("/v1/apps/a%5Cb", 400, "PH105"),
        ("/v1/apps/%00", 400, "PH105"),
        ("/v1//apps", 400, "PH105"),
        ("/v1/./apps", 400, "PH105"),
        ("/v1/../v1/apps", 400, "PH105"),
        ("/v1/apps;a=b", 400, "PH105"),
        ("/v1/%2e%2e/apps", 400, "PH105"),
        ("/v1/apps/%zz", 400, "PH105"),
        ("/v1/apps/%ff", 400, "PH105"),
        ("/" + "x" * 3000, 414, "PH105"),
    ],
)
async def test_what_cannot_be_answered_is_a_problem_with_a_code(target, status, code):
    found = problem(await World().get(target))
    assert (found.status, found.code) == (status, code)


async def test_a_method_that_does_not_fit_says_which_do():
    answer = await World().call("PATCH", "/v1/apps/shop")
    assert problem(answer).status == 405
    assert answer.headers["allow"] == "DELETE, GET, PUT"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"app": 1}',
        b'{"app":"shop","app":"other","kind":"gpu","reason":"x"}',
        b'{"app":"shop","kind":"gpu","reason":"x","until":NaN}',
        b'{"app":"shop","kind":"gpu","reason":"x","until":Infinity}',
        b'{"app":"shop","kind":"gpu","reason":"\\ud800"}',
        b'{"app":"shop","kind":"gpu","reason":"x","surprise":1}',
        b'{"app":"shop","kind":"gpu","reason":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 70 + b"1" + b"}" * 70,
        b'"' + b'\\"' * 200_000,
        b'{"app":"shop","kind":"gpu","reason":"x","until":1' + b"0" * 5000 + b"}",
    ],
)
async def test_a_body_that_two_readers_could_understand_differently_is_refused(raw):
    found = problem(await World().call("POST", "/v1/grants", raw=raw))
    assert (found.status, found.code) == (400, "PH105")


async def test_a_body_larger_than_the_limit_is_refused_before_it_is_read():
    world = World()
    assert problem(await world.call("POST", "/v1/grants", raw=b" " * (1024 * 1024 + 1))).code == "PH106"
    assert problem(await world.call("POST", "/v1/check", raw=b"{}")).code == "PH105"


async def test_a_body_that_is_not_said_to_be_json_is_refused():
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    assert problem(await World().call("POST", "/v1/grants", {"app": "shop"}, headers=form)).status == 415


async def test_a_bug_is_answered_and_tells_nothing(capsys):
    world = World()

    async def broken(fn):
        raise RuntimeError("the password is hunter2")

    world.store.view = broken
    found = problem(await world.get("/v1/apps"))
    assert (found.status, found.code) == (500, "PH000")
    assert "hunter2" not in found.detail
    assert found.instance in found.detail
    logged = [json.loads(said) for said in capsys.readouterr().err.splitlines()]
    assert any(said["event"] == "request.failed" and "hunter2" in said["trace"] for said in logged)


async def test_a_deployment_is_stored_whole_and_recorded_with_its_author():
    world, answer = await deployed()
    result = msgspec.json.decode(answer.body, type=DeployResult)
    assert result == DeployResult(app="shop", revision=1, created=("web", "db"))
    services = await world.store.view(lambda tx: tx.find(Service, app="shop"))
    assert {s.name: s.image.id for s in services} == {"web": "sha256:web:1", "db": "sha256:db:1"}
    (record,) = await world.store.view(lambda tx: tx.find(AuditRecord))
    assert (record.principal, record.action, record.object) == ("uid:1000(alice)", "app.deploy", "app/shop")
    assert record.request_id == answer.headers["x-request-id"]
    assert record.version == services[0].version


async def test_deploying_the_same_app_again_writes_nothing():
    world, _ = await deployed()
    before = await world.store.view(lambda tx: tx.revision)
    _, answer = await deployed(world)
    assert answer.json == {"app": "shop", "revision": 1, "unchanged": ["web", "db"]}
    assert await world.store.view(lambda tx: tx.revision) == before


async def test_only_the_changed_service_is_written():
    world, _ = await deployed()
    before = await world.store.view(lambda tx: tx.get(Service, "shop/db"))
    world.node.images["web:2"] = "sha256:two"
    _, answer = await deployed(world, shop(service("web", "web:2"), service("db", "db:1")))
    assert (answer.json["changed"], answer.json["unchanged"], answer.json["revision"]) == (["web"], ["db"], 2)
    assert await world.store.view(lambda tx: tx.get(Service, "shop/db")) == before
    record = (await world.store.view(lambda tx: tx.find(AuditRecord)))[-1]
    assert ("services.web.image", "sha256:web:1", "sha256:two") in {(c.path, c.before, c.after) for c in record.changes}


async def test_a_rebuilt_image_of_the_same_name_changes_its_services():
    world, _ = await deployed()
    world.node.images["web:1"] = "sha256:rebuilt"
    _, answer = await deployed(world)
    assert (answer.json["changed"], answer.json["unchanged"]) == (["web"], ["db"])


async def test_a_missing_image_stops_a_deployment_before_anything_is_touched():
    world = World(node=SimulatedNode(images=("web:1",)))
    found = problem(await world.call("PUT", "/v1/apps/shop", request(shop())))
    assert found.code == "PH107"
    assert "db:1" in found.detail
    assert "docker pull db:1" in found.detail
    assert await world.store.view(lambda tx: tx.revision) == 0


async def test_a_dry_run_changes_nothing_and_pulls_nothing():
    world = World(node=SimulatedNode(images=("web:1",)))
    answer = await world.call("PUT", "/v1/apps/shop", request(shop(), dry_run=True))
    assert answer.json["created"] == ["web", "db"]
    assert "db:1 is not on the node" in answer.json["warnings"][0]
    assert {policy for _, policy, _ in world.node.asked} == {"never"}
    assert await world.store.view(lambda tx: tx.revision) == 0


async def test_a_refused_deployment_names_the_grant_and_is_recorded():
    world = World()
    spec = shop(service("web", network_mode="host"))
    found = problem(await world.call("PUT", "/v1/apps/shop", request(spec)))
    assert (found.code, found.status) == ("PH103", 403)
    (refusal,) = found.refusals
    assert refusal.command == 'pilothouse grant create shop network-host --service web --reason "WHY"'
    (record,) = await world.store.view(lambda tx: tx.find(AuditRecord))
    assert (record.action, record.outcome) == ("app.deploy", "refused")
    assert await world.store.view(lambda tx: tx.find(Service)) == []
    assert world.node.asked == []


async def test_a_grant_lets_a_deployment_through_until_it_is_taken_back():
    world = World()
    body = {"app": "shop", "kind": "network-host", "reason": "legacy licence server", "service": "web"}
    made = await world.call("POST", "/v1/grants", body)
    assert (made.status, made.json["granted_by"]) == (201, "uid:1000(alice)")
    spec = shop(service("web", network_mode="host"))
    await deployed(world, spec)
    grant_id = made.json["id"]
    assert (await world.call("DELETE", f"/v1/grants/{grant_id}")).json["revoked_at"] == world.clock.now()
    assert problem(await world.call("PUT", "/v1/apps/shop", request(spec))).code == "PH103"
    actions = [r.action for r in await world.store.view(lambda tx: tx.find(AuditRecord))]
    assert actions == ["grant.create", "app.deploy", "grant.revoke", "app.deploy"]


async def test_a_grant_taken_back_while_images_are_pulled_does_not_count():
    world = World()
    made = await world.call("POST", "/v1/grants", {"app": "shop", "kind": "network-host", "reason": "x"})
    plain = world.node.ensure_image

    async def slow(ref, policy, platform=""):
        await world.call("DELETE", f"/v1/grants/{made.json['id']}")
        async for progress in plain(ref, policy, platform):
            yield progress

    world.node.ensure_image = slow
    answer = await world.call("PUT", "/v1/apps/shop", request(shop(service("web", network_mode="host"))))
    assert problem(answer).code == "PH103"
    assert await world.store.view(lambda tx: tx.find(Service)) == []


@pytest.mark.parametrize(
    "change", [{"reason": " "}, {"until": 1.0}, {"kind": "nonsense"}, {"value": "x"}, {"app": "Bad Name"}]
)
async def test_a_grant_nobody_could_mean_is_refused(change):
    body = {"app": "shop", "kind": "gpu", "reason": "x", **change}
    assert problem(await World().call("POST", "/v1/grants", body)).code == "PH105"


@pytest.mark.parametrize("broken", ["pilothouse.governance.policy.refusals", "pilothouse.server.api.dispatch.require"])
async def test_when_a_guardian_breaks_nothing_is_let_through(monkeypatch, broken):
    def breaks(*_, **__):
        raise RuntimeError("a bug")

    world = World()
    monkeypatch.setattr(broken, breaks)
    assert problem(await world.call("PUT", "/v1/apps/shop", request(shop()))).code == "PH000"
    assert await world.store.view(lambda tx: tx.revision) == 0
    assert world.node.asked == []


async def test_an_app_cannot_name_the_volume_of_another_as_its_own():
    world, _ = await deployed(spec=shop(volumes=()))
    theirs = {"spec": {"name": "blog", "volumes": [{"key": "data", "name": "blog_data"}]}}
    assert (await world.call("PUT", "/v1/apps/blog", theirs)).status == 200
    mine = {"spec": {"name": "shop", "volumes": [{"key": "mine", "name": "blog_data"}]}}
    found = problem(await world.call("PUT", "/v1/apps/shop", mine))
    assert [r.grant for r in found.refusals] == ["external-volume"]


async def test_every_fault_of_a_spec_is_in_one_answer():
    found = problem(await World().call("PUT", "/v1/apps/A b", request(shop()), principal=None))
    assert found.code == "PH105"
    broken = {
        "spec": {"name": "shop", "services": [request(service("a b"))["spec"], request(service("c", ""))["spec"]]}
    }
    found = problem(await World().call("PUT", "/v1/apps/shop", broken))
    assert found.code == "PH101"
    assert len(found.errors) >= 2


async def test_contents_go_in_and_never_come_out():
    spec = shop(
        service("web", "web:1", environment={"PASSWORD": "hunter2"}),
        secrets=(FileSpec(key="key", name="shop_key"),),
        configs=(FileSpec(key="conf", name="shop_conf"),),
    )
    contents = {"secrets": {"key": "aHVudGVyMg=="}, "configs": {"conf": "aHVudGVyMg=="}}
    world, _ = await deployed(spec=spec, **contents)
    secret = await world.store.view(lambda tx: tx.get(Secret, "shop/key"))
    assert world.context.vault.open("shop", "key", secret.content_version, secret.sealed) == b"hunter2"
    assert (await world.store.view(lambda tx: tx.get(Config, "shop/conf"))).content == b"hunter2"
    targets = [
        "/v1/apps", "/v1/apps/shop", "/v1/secrets", "/v1/configs", "/v1/audit", "/v1/inspect/app/shop",
        "/v1/inspect/service/shop/web", "/v1/inspect/secret/shop/key", "/v1/inspect/config/shop/conf",
    ]  # fmt: skip
    for target in targets:
        answer = await world.get(target)
        assert answer.status == 200
        assert b"hunter2" not in answer.body
        assert b"aHVudGVyMg" not in answer.body
    _, again = await deployed(world, spec, **contents)
    assert again.json["unchanged"] == ["web"]
    other = {**contents, "secrets": {"key": "b3RoZXI="}}
    _, changed = await deployed(world, spec, **other)
    assert changed.json["revision"] == 2


async def test_a_changed_secret_changes_only_the_services_that_use_it():
    files = {"secrets": (FileSpec(key="key", name="shop_key"),)}
    uses = service("web", "web:1", secrets=({"source": "key", "target": "/run/secrets/key"},))
    spec = msgspec.convert(msgspec.to_builtins(shop(uses, service("db", "db:1"), **files)), type(shop()))
    world, _ = await deployed(spec=spec, secrets={"key": "YQ=="})
    _, answer = await deployed(world, spec, secrets={"key": "Yg=="})
    assert (answer.json["changed"], answer.json["unchanged"]) == (["web"], ["db"])


@pytest.mark.parametrize(
    ("files", "contents"),
    [
        ({"secrets": (FileSpec(key="k", name="n"),)}, {}),
        ({"configs": (FileSpec(key="k", name="n", external=True),)}, {}),
        ({}, {"secrets": {"k": "YQ=="}}),
    ],
)
async def test_contents_and_names_must_match(files, contents):
    answer = await World().call("PUT", "/v1/apps/shop", request(shop(**files), **contents))
    assert problem(answer).code == "PH101"


async def test_a_service_that_left_the_manifest_goes_unless_orphans_are_kept():
    world, _ = await deployed()
    _, kept = await deployed(world, shop(service("web", "web:1")), keep_orphans=True)
    assert "removed" not in kept.json
    _, gone = await deployed(world, shop(service("web", "web:1")))
    assert gone.json["removed"] == ["db"]
    assert (await world.store.view(lambda tx: tx.get(Service, "shop/db"))).removing
    _, back = await deployed(world)
    assert back.json["created"] == ["db"]
    assert not (await world.store.view(lambda tx: tx.get(Service, "shop/db"))).removing


async def test_taking_an_app_down_marks_everything_and_keeps_its_volumes():
    volumes = {
        "spec": {
            "name": "shop",
            "volumes": [{"key": "d", "name": "shop_d"}],
            "networks": [{"key": "n", "name": "shop_n"}],
        }
    }
    world = World()
    await world.call("PUT", "/v1/apps/shop", volumes)
    answer = await world.call("DELETE", "/v1/apps/shop")
    assert (answer.status, answer.json["removing"]) == (202, True)
    assert (await world.get("/v1/networks?app=shop")).json["items"][0]["removing"]
    assert "removing" not in (await world.get("/v1/volumes")).json["items"][0]
    before = await world.store.view(lambda tx: tx.revision)
    await world.call("DELETE", "/v1/apps/shop")
    assert await world.store.view(lambda tx: tx.revision) == before
    await world.call("DELETE", "/v1/apps/shop?volumes=true")
    assert (await world.get("/v1/volumes")).json["items"][0]["removing"]


async def test_a_restart_is_asked_for_and_recorded():
    world, _ = await deployed()
    assert (await world.call("POST", "/v1/apps/shop/services/web/restart")).status == 200
    assert (await world.store.view(lambda tx: tx.get(Service, "shop/web"))).restarts_requested == 2
    assert (await world.get("/v1/audit?object=service/shop/web")).json["items"][0]["action"] == "service.restart"


async def test_a_repeated_request_with_the_same_key_changes_nothing_again():
    world, _ = await deployed()
    key = [("Idempotency-Key", "once")]
    first = await world.call("POST", "/v1/apps/shop/services/web/restart", headers=key)
    again = await world.call("POST", "/v1/apps/shop/services/web/restart", headers=key)
    assert again.body == first.body
    assert again.headers["idempotent-replay"] == "true"
    assert (await world.store.view(lambda tx: tx.get(Service, "shop/web"))).restarts_requested == 2


async def test_requests_with_one_key_at_the_same_time_change_something_once():
    world, _ = await deployed()
    body = {"app": "shop", "kind": "gpu", "reason": "x"}
    key = [("Idempotency-Key", "k")]
    answers = await asyncio.gather(*(world.call("POST", "/v1/grants", body, headers=key) for _ in range(5)))
    assert len({a.body for a in answers}) == 1
    assert len(await world.store.view(lambda tx: tx.find(Grant))) == 1


async def test_a_key_is_for_one_request_and_one_caller():
    world, _ = await deployed()
    key = [("Idempotency-Key", "k")]
    body = {"app": "shop", "kind": "gpu", "reason": "x"}
    await world.call("POST", "/v1/grants", body, headers=key)
    assert problem(await world.call("POST", "/v1/grants", {**body, "reason": "y"}, headers=key)).code == "PH104"
    bob = msgspec.structs.replace(world.call.__defaults__[2], id="1001", name="bob")
    assert (await world.call("POST", "/v1/grants", body, headers=key, principal=bob)).json[
        "granted_by"
    ] == "uid:1001(bob)"


async def test_a_request_that_failed_may_be_repeated_with_its_key():
    world = World(node=SimulatedNode(images=()))
    key = [("Idempotency-Key", "k")]
    world.context.nodes.disconnect("n1")
    assert problem(await world.call("PUT", "/v1/apps/shop", request(shop()), headers=key)).code == "PH204"
    world.context.nodes.connect("n1", SimulatedNode())
    assert (await world.call("PUT", "/v1/apps/shop", request(shop()), headers=key)).status == 200


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_a_key_that_cannot_be_one_is_refused(key):
    answer = await World().call("POST", "/v1/check", headers=[("Idempotency-Key", key)])
    assert problem(answer).code == "PH105"


async def test_lists_come_in_pages_without_gaps_and_repeats():
    world = World()
    for number in range(7):
        await world.call("POST", "/v1/grants", {"app": "shop", "kind": "gpu", "reason": str(number)})
    seen, after = [], ""
    while after is not None:
        answer = (await world.get(f"/v1/grants?app=shop&limit=3&after={after}")).json
        seen += [grant["reason"] for grant in answer["items"]]
        after = answer.get("next")
    assert sorted(seen) == [str(number) for number in range(7)]


async def test_a_task_is_shown_without_the_values_of_its_variables():
    world, task = await with_task()
    answer = await world.get(f"/v1/tasks/{task.id}")
    assert msgspec.json.decode(answer.body, type=Task).id == task.id
    assert (await world.get("/v1/tasks?app=shop")).json["items"][0]["name"] == "web.1"


async def test_an_explanation_is_one_sentence_and_hides_the_values_of_variables():
    world, _ = await deployed(spec=shop(service("web", "web:1", environment={"PASSWORD": "hunter2"})))
    web = await world.store.view(lambda tx: tx.get(Service, "shop/web"))
    await world.store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(task_of(web)))
    answer = await world.get("/v1/explain?object=shop/web.1")
    assert answer.json["sentence"]
    assert "no-new-privileges:true" in answer.json["effective"]["privileges"]["security_opt"]
    assert b"hunter2" not in answer.body
    assert problem(await world.get("/v1/explain?object=nothing")).code == "PH102"
    assert problem(await world.get("/v1/explain")).code == "PH105"


async def test_an_images_progress_comes_line_by_line():
    answer = await World().call("POST", "/v1/images/ensure", {"ref": "nothing:1"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(said)["phase"] for said in answer.body.splitlines()] == ["pulling", "failed"]
    assert problem(await World().call("POST", "/v1/images/ensure", {"ref": ""})).code == "PH105"


async def test_logs_of_an_app_are_merged_by_time():
    world, one = await with_task(node_id="n1")
    db = await world.store.view(lambda tx: tx.get(Service, "shop/db"))
    two = task_of(db, id="t00000000002", node_id="n1")
    await world.store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(two))
    world.node.lines = {
        one.id: [line(one.id, 1.0, "a"), line(one.id, 3.0, "c"), line(one.id, 5.0, "e")],
        two.id: [line(two.id, 2.0, "b"), line(two.id, 4.0, "d")],
    }
    answer = await world.get("/v1/apps/shop/logs")
    said = [json.loads(text) for text in answer.body.splitlines()]
    assert "".join(s["text"] for s in said) == "abcde"
    assert {s["service"] for s in said} == {"web", "db"}
    only = await world.get("/v1/apps/shop/logs?services=db&since=3")
    assert [json.loads(text)["text"] for text in only.body.splitlines()] == ["d"]
    assert len((await world.get(f"/v1/tasks/{one.id}/logs?tail=2")).body.splitlines()) == 2


async def test_following_logs_gives_new_lines_and_picks_up_new_tasks():
    world, one = await with_task(node_id="n1")
    world.node.lines[one.id] = [line(one.id, 1.0, "old")]
    world.node.live = {one.id: asyncio.Queue(), "t00000000002": asyncio.Queue()}
    async with world.stream("/v1/apps/shop/logs?follow=true") as chunks:
        assert (await chunks.get())["type"] == "http.response.start"
        assert (await chunks.get())["body"] == b""
        assert json.loads((await chunks.get())["body"])["text"] == "old"
        world.node.live[one.id].put_nowait(line(one.id, 2.0, "new"))
        assert json.loads((await chunks.get())["body"])["text"] == "new"
        web = await world.store.view(lambda tx: tx.get(Service, "shop/web"))
        world.node.lines["t00000000002"] = [line("t00000000002", 3.0, "replacement")]
        replacement = task_of(web, id="t00000000002", node_id="n1")
        await world.store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(replacement))
        assert json.loads((await chunks.get())["body"])["text"] == "replacement"


def events(chunk):
    head, data = chunk["body"].decode().strip().split("\n", 1)
    return head.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_watching_an_app_gives_its_state_at_once_and_after_each_change_and_ends_with_it():
    world, _ = await deployed()
    async with world.stream("/v1/apps/shop/watch") as chunks:
        assert dict((await chunks.get())["headers"])[b"content-type"] == b"text/event-stream"
        name, first = events(await chunks.get())
        assert (name, first["revision"]) == ("app", 1)
        assert msgspec.convert(first, AppView).name == "shop"
        await world.call("DELETE", "/v1/apps/shop")
        assert events(await chunks.get())[1]["removing"]
        for kind in (Service,):
            for obj in await world.store.view(lambda tx, kind=kind: tx.find(kind)):
                await world.store.update(Writer.REAPER, lambda tx, obj=obj: tx.delete(obj))
        from pilothouse.model.objects import App

        app = await world.store.view(lambda tx: tx.get(App, "shop"))
        await world.store.update(Writer.REAPER, lambda tx: tx.delete(app))
        while (event := events(await chunks.get()))[0] != "gone":
            assert event[0] == "app"


async def test_a_stream_ends_when_the_server_stops():
    world, _ = await deployed()
    async with world.stream("/v1/apps/shop/watch") as chunks:
        await chunks.get()
        world.context.closing.set()
        while (await chunks.get()).get("more_body", True):
            pass


async def test_usage_is_shown_of_the_app_that_was_asked_for():
    world, task = await with_task()
    world.node.usage = (reading(task.id), reading("of-nobody"))
    assert [u["task_id"] for u in (await world.get("/v1/stats?app=shop")).json["items"]] == [task.id]
    assert (await world.get("/v1/stats?app=blog")).json["items"] == []


async def test_the_server_says_what_it_is_and_that_it_lives():
    world, _ = await deployed()
    await world.store.update(Writer.AGENT, lambda tx: tx.put(Node(id="n1")))
    info = (await world.get("/v1/info")).json
    assert (info["apps"], info["tasks"], info["node_id"], info["store"]) == (1, 0, "n1", "memory")
    assert (await world.get("/healthz", principal=None)).status == 200


async def test_a_store_in_memory_is_whole_and_has_nothing_to_copy():
    world = World()
    assert (await world.call("POST", "/v1/check")).json["ok"]
    assert problem(await world.call("POST", "/v1/backup")).code == "PH105"


@pytest.mark.parametrize(
    ("path", "parts", "expected"),
    [
        ("/v1/inspect/{kind}/{id}", ("v1", "inspect", "service", "shop", "web"), {"kind": "service", "id": "shop/web"}),
        ("/v1/apps/{app}", ("v1", "apps", ""), None),
        ("/v1/apps/{app}", ("v1", "apps", "a", "b"), None),
        ("/v1/apps", ("v1", "apps"), {}),
    ],
)
def test_a_path_fits_a_route_or_not(path, parts, expected):
    assert match(path, parts) == expected
