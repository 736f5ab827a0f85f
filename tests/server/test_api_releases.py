"""Releases over the API: listed, shown, compared, gone back to; restarts, and rollouts held up and let go."""

import msgspec
import pytest
from msgspec.structs import replace

from pilothouse.model.objects import App, Service
from pilothouse.model.release import Release, ReleaseKind, ReleaseState
from pilothouse.model.release_api import ReleaseDiff, ReleaseView
from pilothouse.model.states import Writer
from pilothouse.server.deploy.rollback import restore
from tests.server.harness import SimulatedNode, World, service, shop
from tests.server.releasing import deploy, end, releases, stored, with_files


async def several(count=4):
    world = World(node=SimulatedNode(images=("web:1", "web:2", "web:3", "web:4", "db:1")))
    for number in range(1, count + 1):
        assert (await deploy(world, shop(service("web", f"web:{number}"), service("db", "db:1")))).status == 200
        await end(world, number)
    return world


async def test_releases_are_listed_newest_first_in_pages():
    world = await several()
    first = await world.get("/v1/apps/shop/releases?limit=3")
    found = [msgspec.convert(item, ReleaseView) for item in first.json["items"]]
    assert [each.number for each in found] == [4, 3, 2]
    assert found[0].kind is ReleaseKind.DEPLOY
    assert "web:4" in found[0].images["web"]
    second = await world.get(f"/v1/apps/shop/releases?limit=3&after={first.json['next']}")
    assert [item["number"] for item in second.json["items"]] == [1]
    assert "next" not in second.json
    assert "next" not in (await world.get("/v1/apps/shop/releases?limit=4")).json


async def test_a_page_begins_after_a_release_that_is_gone_meanwhile():
    world = await several()
    await world.store.update(Writer.REAPER, lambda tx: tx.delete(tx.get(Release, "shop/000002")))
    assert [r["number"] for r in (await world.get("/v1/apps/shop/releases?after=2")).json["items"]] == [1]


async def test_an_app_from_before_there_were_releases_has_none():
    world = World()
    await world.store.update(Writer.API, lambda tx: tx.put(App(id="shop", spec=shop(), revision=7)))
    assert (await world.get("/v1/apps/shop/releases")).json["items"] == []
    assert (await world.get("/v1/apps/shop/releases/7")).status == 404


async def test_only_the_newest_release_says_how_far_its_services_are():
    world = await several(2)
    newest = (await world.get("/v1/apps/shop/releases/2")).json
    assert [each["service"] for each in newest["services"]] == ["db", "web"]
    assert "services" not in (await world.get("/v1/apps/shop/releases/1")).json


async def test_a_release_that_was_rolled_back_names_the_one_that_did_it():
    world = await several(2)
    await end(world, 2, ReleaseState.ROLLED_BACK)
    body = {"release": 1, "message": "2 is slow"}
    assert (await world.call("POST", "/v1/apps/shop/rollback", body)).json["revision"] == 3
    third = (await releases(world))[-1]
    assert (third.copies, third.message, third.undoes) == (1, "2 is slow", 0)


async def test_a_release_that_the_platform_undid_names_the_one_that_did_it():
    world = await several(2)
    await restore(world.context, "shop", 2, 1, "web.1 exited with code 1")
    await end(world, 2, ReleaseState.ROLLED_BACK)
    assert (await world.get("/v1/apps/shop/releases/2")).json["rolled_back_by"] == 3


@pytest.mark.parametrize(
    ("query", "before", "expected"),
    [
        ("", 1, {"services.web.image", "services.web.replicas", "services.web.task.container.image"}),
        ("?with=1", 1, {"services.web.image", "services.web.replicas", "services.web.task.container.image"}),
        ("?with=4", 4, {"services.web.replicas", "services.web.restarts_requested"}),
        ("?with=2", 2, set()),
    ],
)
async def test_two_releases_are_compared_field_by_field(query, before, expected):
    world = await several(1)
    await deploy(world, shop(service("web", "web:2", replicas=2), service("db", "db:1")))
    await deploy(world, shop(service("web", "web:2", replicas=3), service("db", "db:1")))
    await world.call("POST", "/v1/apps/shop/restart", {"services": ["web"]})
    answer = await world.get("/v1/apps/shop/releases/2/diff" + query)
    found = msgspec.convert(answer.json, ReleaseDiff)
    assert (found.before, found.after, {change.path for change in found.changes}) == (before, 2, expected)


async def test_the_first_release_is_compared_with_nothing_and_no_content_is_shown():
    world = World()
    spec = replace(with_files(), services=(service("web", "web:1", environment={"PASSWORD": "hunter2"}),))
    await deploy(world, spec, secrets={"key": b"hunter3"}, configs={"conf": b"hunter4"})
    await deploy(world, spec, secrets={"key": b"hunter5"}, configs={"conf": b"hunter4"})
    first, second = [await world.get(f"/v1/apps/shop/releases/{n}/diff") for n in (1, 2)]
    assert first.json["before"] == 0
    assert {"services.web.image", "secrets.key.content_version"} <= {c["path"] for c in first.json["changes"]}
    assert [c["path"] for c in second.json["changes"]] == ["secrets.key.content_version"]
    shown = await world.get("/v1/apps/shop/releases")
    assert not any(b"hunter" in answer.body for answer in (first, second, shown))


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/v1/apps/none/releases", 404, "PH102"),
        ("/v1/apps/shop/releases/9", 404, "PH102"),
        ("/v1/apps/shop/releases/1/diff?with=9", 404, "PH102"),
        ("/v1/apps/shop/releases/one", 400, "PH105"),
        ("/v1/apps/shop/releases/1/diff?with=0", 400, "PH105"),
        ("/v1/apps/shop/releases?after=x", 400, "PH105"),
    ],
)
async def test_what_is_no_release_is_said(target, status, code):
    world = await several(1)
    answer = await world.get(target)
    assert (answer.status, answer.json["code"]) == (status, code)


async def test_restarting_an_app_is_one_release_of_all_its_services():
    world = await several(1)
    answer = await world.call("POST", "/v1/apps/shop/restart", {})
    assert (answer.json["revision"], answer.json["changed"]) == (2, ["web", "db"])
    assert [(await stored(world, Service, f"shop/{n}")).restarts_requested for n in ("web", "db")] == [2, 2]
    assert (await world.get("/v1/audit?object=app/shop")).json["items"][-1]["action"] == "app.restart"


async def test_restarting_one_service_is_a_release_too():
    world = await several(1)
    answer = await world.call("POST", "/v1/apps/shop/services/web/restart")
    assert (answer.status, answer.json["name"]) == (200, "web")
    assert (await releases(world))[-1].restarts == {"web": 2}


async def test_a_rollout_is_paused_and_resumed_over_the_api():
    world = await several(1)
    await deploy(world, shop(service("web", "web:2"), service("db", "db:1")))
    assert (await world.call("POST", "/v1/apps/shop/pause")).json["release"]["paused"]
    assert not (await world.call("POST", "/v1/apps/shop/resume")).json["release"].get("paused", False)
    await end(world, 2)
    refused = await world.call("POST", "/v1/apps/shop/pause")
    assert (refused.status, refused.json["code"]) == (409, "PH104")
