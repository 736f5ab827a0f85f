"""Real sockets whose readers do not read: the server does not keep an answer for them for ever."""

import asyncio
import contextlib
import json
import socket

import pytest

from pilothouse.server import guard
from pilothouse.server.listen import Listener
from tests.server.harness import line
from tests.server.test_api import with_task

LINE = "x" * 10_000
MANY = 300
"""So many lines are more than both ends of a socket hold."""


@contextlib.asynccontextmanager
async def serving(tmp_path, lines):
    world, task = await with_task(node_id="n1")
    world.node.lines[task.id] = [line(task.id, float(n), LINE) for n in range(lines)]
    world.node.live[task.id] = asyncio.Queue()
    listener = Listener(world.api, world.context.closing)
    path = tmp_path / "run" / "api.sock"
    await listener.open_unix(path)
    try:
        yield world.node.live[task.id], task, path, listener
    finally:
        await listener.close(0.1)


@contextlib.contextmanager
def caller(path, target):
    """Have a socket that asked for *target* and reads only what it is told to."""
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(str(path))
        made.sendall(f"GET {target} HTTP/1.1\r\nHost: pilothouse\r\n\r\n".encode())
        made.setblocking(False)
        yield made


async def true(condition, what, seconds=10.0):
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - what is waited for is the inside of a server
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(what) from None


@pytest.mark.parametrize("follow", ["false", "true"])
async def test_a_reader_that_takes_nothing_is_cut_off_and_its_stream_ends(tmp_path, monkeypatch, capsys, follow):
    monkeypatch.setattr(guard, "STALL_SECONDS", 0.2)
    async with serving(tmp_path, MANY) as (_, task, path, listener):
        with caller(path, f"/v1/tasks/{task.id}/logs?follow={follow}"):
            await true(lambda: listener._state.connections, "it is connected")
            await true(lambda: not listener._state.connections, "it is cut off")
            await true(lambda: not listener._state.tasks, "and nothing works for it any more")
    said = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert [each["seconds"] for each in said if each["event"] == "reader.cut"] == [0.2]


async def test_a_stall_in_the_middle_of_a_live_stream_counts_however_little_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "STALL_SECONDS", 0.2)
    async with serving(tmp_path, 0) as (live, task, path, listener):
        with caller(path, f"/v1/tasks/{task.id}/logs?follow=true") as reader:
            loop = asyncio.get_running_loop()
            assert b"200 OK" in await loop.sock_recv(reader, 65536)
            for number in range(MANY):
                live.put_nowait(line(task.id, float(number), LINE))
            await true(lambda: not listener._state.connections, "it is cut off")


async def test_a_slow_reader_that_takes_something_and_an_idle_stream_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "STALL_SECONDS", 0.4)
    async with serving(tmp_path, MANY) as (live, task, path, listener):
        with caller(path, f"/v1/tasks/{task.id}/logs?follow=true") as reader:
            loop, size = asyncio.get_running_loop(), 0
            begun = loop.time()
            while size < MANY * len(LINE):
                chunk = await loop.sock_recv(reader, 50_000)
                assert chunk, f"cut off after {size} bytes"
                size += len(chunk)
                await asyncio.sleep(0.02)  # its slowness is what is tested
            assert loop.time() - begun > 2 * guard.STALL_SECONDS, "it took longer than one stall"
            # Nothing waits for it now, and nothing happens for longer than a stall.
            await asyncio.sleep(1.5 * guard.STALL_SECONDS)
            live.put_nowait(line(task.id, 1.0, "still here"))
            assert b"still here" in await asyncio.wait_for(loop.sock_recv(reader, 65536), 5)
            assert listener._state.connections
