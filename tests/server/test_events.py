"""What happened can be read in pages and followed without a gap."""

import asyncio
import json

import pytest

from tests.server.harness import World
from tests.server.test_api import deployed, problem


async def busy():
    """Return a world in which a dozen things happened."""
    world, _ = await deployed()
    for number in range(5):
        await world.call("POST", "/v1/grants", {"app": "shop", "kind": "gpu", "reason": str(number)})
    await world.call("PUT", "/v1/apps/blog", {"spec": {"name": "blog"}})
    return world


async def test_pages_of_events_have_no_gap_and_no_repeat():
    world = await busy()
    whole = (await world.get("/v1/events?limit=1000")).json["items"]
    seen, after = [], ""
    while after is not None:
        page = (await world.get(f"/v1/events?limit=2&after={after}")).json
        assert len(page["items"]) <= 2
        seen += page["items"]
        after = page.get("next")
    assert seen == whole
    assert len(whole) >= 8
    assert [(e["revision"], e["index"]) for e in whole] == sorted((e["revision"], e["index"]) for e in whole)


async def test_events_are_filtered_by_app_and_revision():
    world = await busy()
    assert {e["app"] for e in (await world.get("/v1/events?app=blog")).json["items"]} == {"blog"}
    later = (await world.get("/v1/events?since=3")).json["items"]
    assert later
    assert min(e["revision"] for e in later) == 4
    assert (await world.get("/v1/events?since=999999")).json["items"] == []


@pytest.mark.parametrize("after", ["x", "1", "1.x", "-1.0", "1.0.0", "9" * 40 + ".1"])
async def test_a_cursor_that_is_none_is_refused(after):
    assert problem(await World().get(f"/v1/events?after={after}")).code == "PH105"


async def test_watching_events_begins_where_it_was_told_and_goes_on():
    world = await busy()
    async with world.stream("/v1/events/watch?since=0&app=shop") as chunks:
        await chunks.get()
        seen = []
        while len(seen) < 6:
            body = (await chunks.get())["body"]
            if body.startswith(b"id"):
                seen.append(json.loads(body.split(b"data: ")[1])["name"])
        assert "app.deployed" in seen
        await world.call("POST", "/v1/apps/shop/services/web/restart")
        async with asyncio.timeout(5):
            while b"restart" not in (await chunks.get())["body"]:
                pass
