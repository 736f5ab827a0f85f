"""What happened can be read in pages and followed without a gap."""

import asyncio
import contextlib
import json
import random
import re

import pytest

from pilothouse.server.listen import Listener
from tests.server.harness import World
from tests.server.test_api import deployed, problem
from tests.server.test_stalls import true


def events_in(text):
    """Return the events written in a part of a stream."""
    return [json.loads(data) for data in re.findall(rb"^data: (.*)$", text, re.MULTILINE)]


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
            seen += [told["name"] for told in events_in((await chunks.get())["body"])]
        assert "app.deployed" in seen
        await world.call("POST", "/v1/apps/shop/services/web/restart")
        async with asyncio.timeout(5):
            while b"restart" not in (await chunks.get())["body"]:
                pass


@pytest.mark.parametrize("seed", range(12))
async def test_each_watcher_is_told_everything_once_and_in_order_however_slow_it_is(seed):
    chance = random.Random(seed)
    world = await busy()
    count = 40
    async with contextlib.AsyncExitStack() as stack:
        watchers = []
        for app in ("", "", "shop", "blog"):
            told, eagerness = bytearray(), chance.choice((0.0, 0.5, 0.9, 1.0))

            def push(chunk, told=told, eagerness=eagerness):
                takes = chance.random() < eagerness
                told.extend(chunk if takes else b"")
                return takes

            chunks = await stack.enter_async_context(
                world.stream(f"/v1/events/watch?since=0&app={app}", push=push, told=told)
            )
            watchers.append((app, told, chunks))
        for number in range(count):
            app = chance.choice(("shop", "blog"))
            await world.call("POST", "/v1/grants", {"app": app, "kind": "gpu", "reason": str(number)})
            for _ in range(chance.choice((0, 0, 1, 5, 20))):
                await asyncio.sleep(0)
        whole = (await world.get("/v1/events?limit=1000")).json["items"]
        assert len(whole) >= count
        for app, told, _ in watchers:
            expected = [one for one in whole if app in {"", one["app"]}]
            await true(lambda told=told, expected=expected: len(events_in(bytes(told))) >= len(expected), "all is told")
            assert events_in(bytes(told)) == expected


async def test_a_watcher_that_keeps_up_is_pushed_to_and_one_that_lags_reads_at_its_own_pace():
    world = await busy()
    pushed = []
    keeping_up = True

    def push(chunk):
        if keeping_up:
            pushed.append(chunk)
        return keeping_up

    async with world.stream("/v1/events/watch", push=push) as chunks:
        await chunks.get()
        await chunks.get()
        await world.call("POST", "/v1/grants", {"app": "shop", "kind": "gpu", "reason": "first"})
        await true(lambda: pushed, "it is told")
        keeping_up = False
        await world.call("POST", "/v1/grants", {"app": "shop", "kind": "gpu", "reason": "second"})
        async with asyncio.timeout(5):
            later = (await chunks.get())["body"]
        assert b"first" in pushed[0]
        assert len(pushed) == 1
        assert b"second" in later
        assert b"first" not in later
    assert world.context.events.watching == 0


async def test_events_pushed_on_a_real_connection_are_read_as_written(tmp_path):
    world = await busy()
    listener = Listener(world.api, world.context.closing)
    await listener.open_unix(tmp_path / "api.sock")
    watching = asyncio.create_task(world.context.commits.run(world.store))
    reader, writer = await asyncio.open_unix_connection(tmp_path / "api.sock")
    writer.write(b"GET /v1/events/watch HTTP/1.1\r\nHost: here\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    told = []
    async with asyncio.timeout(10):
        for number in range(20):
            if number == 3:
                await true(lambda: world.context.events.watching == 1, "it keeps up")
            await world.call("POST", "/v1/grants", {"app": "shop", "kind": "gpu", "reason": f"r{number}"})
        while len(told) < 20:
            size = int(await reader.readline(), 16)
            told += events_in(await reader.readexactly(size))
            assert await reader.readline() == b"\r\n"
    assert [f"r{n}" in json.dumps(one) for n, one in enumerate(told)] == [True] * 20
    watching.cancel()
    writer.close()
    await listener.close(0.1)
