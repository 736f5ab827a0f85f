"""A published port carries what its programs speak, as they speak it, and tells them who calls."""

import asyncio
import base64
import contextlib
import hashlib
import struct

import pytest

from pilothouse.agent.probes.grpc import ask_health
from pilothouse.agent.proxy.conformance import NOBODY, answers, claimed, running, until
from pilothouse.agent.proxy.interface import Backend, Door
from pilothouse.model.objects import PortBinding
from pilothouse.model.wire import Split
from tests.agent.proxy.real import BINARY, read_answer, read_request, real

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BINARY, reason="Envoy is not installed")]


def backend(task_id, port, place, door=Door.OPEN, **more):
    binding = PortBinding(target=place.port, host_port=port, ingress=True)
    plain = {"service_id": "check/web", "fingerprint": "one", "address": place.address} | more
    return Backend(task_id=task_id, port=binding, door=door, **plain)


@contextlib.asynccontextmanager
async def published(place, **more):
    """Have one program published; yields the surroundings, the host port and the driver."""
    async with real() as around, running(around) as ingress:
        port = around.free_port()
        if not hasattr(place, "port"):
            place = await around.serve(place) if callable(place) else await around.program(place)
        ingress.settle(["a"])
        ingress.put("a", [backend("a", port, place, **more)])
        await claimed(ingress, port)
        yield around, port, ingress


async def said_to(port, data):
    """Send *data* and return everything that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except OSError:
        # Closed before it was read.
        return b""
    finally:
        writer.close()


async def test_a_kept_connection_carries_many_requests_and_headers_keep_their_form():
    async with published("a") as (around, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(5):
            writer.write(b"GET //x/../y%2Fz?q HTTP/1.1\r\nHost: Shop.example:99\r\nX-FunNy-Case: 1\r\n\r\n")
            status, head, body = await read_answer(reader)
            assert (status, body) == (200, b"a")
            assert b"X-Case: Kept" in head
            assert b"envoy" not in head.lower()
        writer.close()
        assert around.heads[-1].startswith(
            "GET //x/../y%2Fz?q HTTP/1.1\r\nHost: Shop.example:99\r\nX-FunNy-Case: 1\r\n"
        )


async def test_programs_are_told_who_calls_by_the_proxy_alone():
    forged = (
        "X-Forwarded-For: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
        "X-Envoy-Retry-On: 5xx",
        "X-Envoy-Upstream-Rq-Timeout-Ms: 1",
        "X-Request-Id: mine",
    )
    async with published("a", app_protocol="http") as (around, port, _):
        await around.get(port, *forged)
        head = around.heads[-1].lower()
        assert "6.6.6.6" not in head
        assert "evil" not in head
        assert "envoy" not in head
        assert head.count("x-forwarded-for:") == 1
        assert "x-forwarded-proto: http\r\n" in head
        assert "x-request-id: mine" in head


async def _websocket(reader, writer):
    head, _ = await read_request(reader)
    key = next(line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")  # fmt: skip
    while data := await reader.read(1000):
        writer.write(data)


async def test_a_websocket_stays_open_and_counts_as_busy_while_it_drains():
    async with published(_websocket, app_protocol="http") as (_, port, ingress):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")  # fmt: skip
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        (served,) = ingress._table.of("a")
        ingress.put("a", [backend("a", port, _place(served), Door.DRAINING, app_protocol="http")])
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(ingress.drained("a"))
            for _ in range(10):
                writer.write(b"ping")
                assert await reader.readexactly(4) == b"ping"
                await asyncio.sleep(0.02)
            assert not draining.done()
            writer.close()
            async with asyncio.timeout(10):
                await draining


def _place(served):
    from pilothouse.agent.proxy.conformance import Place

    return Place(served.address, served.port.target)


def _frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload


async def _grpc(reader, writer):
    """Answer each call with a health message that says SERVING."""
    assert (await reader.readexactly(24)).startswith(b"PRI")
    writer.write(_frame(4, 0, 0, b""))
    while True:
        head = await reader.read(9)
        if len(head) < 9:
            return
        payload = await reader.readexactly(int.from_bytes(head[:3], "big")) if any(head[:3]) else b""
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
        if kind == 4 and not flags & 1:
            writer.write(_frame(4, 1, 0, b""))
        if kind == 6 and not flags & 1:
            writer.write(_frame(6, 1, 0, payload))
        if kind == 0 and flags & 1:
            answer = b"\x88\x00\x0ccontent-type\x10application/grpc"
            writer.write(_frame(1, 4, stream, answer) + _frame(0, 0, stream, b"\0\0\0\0\2\x08\x01"))
            writer.write(_frame(1, 5, stream, b"\x00\x0bgrpc-status\x010"))


@pytest.mark.parametrize("app_protocol", ["", "grpc"])
async def test_grpc_is_carried(app_protocol):
    async with published(_grpc, app_protocol=app_protocol) as (_, port, _):
        async with asyncio.timeout(10):
            assert await ask_health("127.0.0.1", port, "") == ""


async def _echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@pytest.mark.parametrize("app_protocol", ["", "tcp"])
async def test_bytes_are_passed_through_both_ways_and_so_is_their_end(app_protocol):
    data = b"\x16\x03\x01 not HTTP " * 50_000
    async with published(_echo, app_protocol=app_protocol) as (_, port, _):
        assert await said_to(port, data) == data


async def _greeting(reader, writer):
    writer.write(b"220 mail.example ESMTP\r\n")
    writer.write(await reader.readline())


@pytest.mark.parametrize(("app_protocol", "at_most"), [("", 1.0), ("tcp", 0.2)])
async def test_a_program_may_speak_first_where_nothing_is_known_of_it(app_protocol, at_most):
    async with published(_greeting, app_protocol=app_protocol) as (_, port, _):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readline() == b"220 mail.example ESMTP\r\n"
        assert loop.time() - begun < at_most
        writer.write(b"HELO me\r\n")
        assert await reader.readline() == b"HELO me\r\n"
        writer.close()


async def test_a_program_that_asks_is_told_the_caller_by_proxy_protocol():
    async with published(_echo, client_address="proxy-protocol") as (_, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        own = writer.get_extra_info("sockname")
        writer.write(b"data")
        got = await reader.readexactly(28 + 4)
        writer.close()
    assert got.startswith(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11")
    assert (got[16:20], struct.unpack(">H", got[24:26])[0]) == (b"\x7f\x00\x00\x01", own[1])
    assert got.endswith(b"data")


async def test_nobody_there_is_said_in_plain_words():
    async with published("a", door=Door.CLOSED) as (around, port, _):
        status, _, body = await around.get(port)
        assert status == 503
        assert body.startswith(b"No task of check/web is ready.")
        assert await said_to(port, b"\x00\x01 not HTTP") == b""


async def test_a_request_that_reached_nobody_is_sent_to_another():
    async with published("a") as (around, port, ingress):
        from pilothouse.agent.proxy.conformance import Place

        ingress.put("dead", [backend("dead", port, Place("127.0.0.1", around.free_port()))])
        await ingress.drained("a nobody")
        assert {(await around.get(port))[0] for _ in range(30)} == {200}


async def test_weights_divide_requests_and_connections_and_each_side_is_counted():
    async def bad(reader, writer):
        while await read_request(reader) is not None:
            writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nnew")

    async with published("a", app_protocol="http") as (around, port, ingress):
        ingress.divide([Split(app="check", service="web", fingerprint="two", weight=20)])
        ingress.put("b", [backend("b", port, await around.serve(bad), fingerprint="two", app_protocol="http")])

        async def begun():
            return bool(ingress.measured())

        await until(begun, "measured")
        count = 500
        got = [(await around.get(port))[2] for _ in range(count)]
        assert got.count(b"new") == pytest.approx(0.2 * count, abs=0.08 * count)

        async def counted():
            (report,) = ingress.measured()
            return report.new.requests + report.old.requests == count and report.old.buckets[-1][1] > 0.5 * count

        await until(counted, "every request is counted")
        (report,) = ingress.measured()
        assert report.new.requests == report.new.errors == got.count(b"new")
        assert report.old.errors == 0
        assert [upto for _, upto in report.old.buckets] == sorted(upto for _, upto in report.old.buckets)


async def test_connections_are_divided_and_counted_too():
    async def named(reader, writer):
        writer.write(b"new")
        await reader.read()

    async def plain(reader, writer):
        writer.write(b"old")
        await reader.read()

    async with published(plain, app_protocol="tcp") as (around, port, ingress):
        ingress.divide([Split(app="check", service="web", fingerprint="two", weight=20)])
        ingress.put("b", [backend("b", port, await around.serve(named), fingerprint="two", app_protocol="tcp")])

        async def begun():
            return bool(ingress.measured())

        await until(begun, "measured")
        got = [await said_to(port, b"x") for _ in range(200)]
        assert got.count(b"new") == pytest.approx(40, abs=10)

        async def counted():
            (report,) = ingress.measured()
            return (report.old.requests, report.new.requests) == (got.count(b"old"), got.count(b"new"))

        await until(counted, "every connection is counted")


async def test_twenty_swaps_under_load_fail_no_request():
    async with real() as around, running(around) as ingress:
        port = around.free_port()
        ingress.settle(["t0"])
        ingress.put("t0", [backend("t0", port, await around.program("t0"))])
        await claimed(ingress, port)
        await answers(around, port, "t0")
        over = asyncio.Event()
        seen = []

        async def kept():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while not over.is_set():
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                status, head, _ = await read_answer(reader)
                seen.append(status)
                if b"connection: close" in head.lower():
                    writer.close()
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()

        async def anew():
            while not over.is_set():
                seen.append((await around.get(port))[0])

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(kept())
                group.create_task(anew())
            for n in range(1, 21):
                old, new = f"t{n - 1}", f"t{n}"
                weight = {0: (), 1: (Split(app="check", service="web", fingerprint=new, weight=30),)}[n % 2]
                ingress.divide(weight)
                ingress.put(new, [backend(new, port, await around.program(new), fingerprint=new)])
                (was,) = ingress._table.of(old)
                ingress.put(old, [backend(old, port, _place(was), Door.DRAINING, fingerprint=old)])
                await ingress.drained(old)
                ingress.put(old, [])
            over.set()
        assert len(seen) > 100
        assert {status: seen.count(status) for status in set(seen)} == {200: len(seen)}


async def test_a_task_that_is_not_open_gets_nothing():
    async with published("a", door=Door.CLOSED) as (around, port, _):
        assert {await around.ask(port) for _ in range(5)} == {NOBODY}
        assert around.heads == []
