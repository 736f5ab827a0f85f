"""Probes: when they ask, what their answers mean, and that each way of asking tells good from bad."""

import asyncio
import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent.machine import Checks
from pilothouse.agent.probes import grpc
from pilothouse.agent.probes.ask import ask
from pilothouse.agent.probes.verdict import (
    Answers,
    answered,
    combine,
    early_check,
    forgiving,
    settled,
    wait_seconds,
)
from pilothouse.errors import PermanentError
from pilothouse.model.container import Healthcheck
from pilothouse.model.objects import Health
from pilothouse.model.spec import Probe, ProbeKind, Probes

TCP = Probe(kind=ProbeKind.TCP, port=80, interval_seconds=5.0, failures=3, successes=2)
PASSED, FAILED = Answers(passing=True, streak=1), Answers(passing=False, streak=-3, message="refused")


def after(*messages, probe=TCP):
    found = Answers()
    for message in messages:
        found = answered(probe, found, message)
    return found


@pytest.mark.parametrize(
    ("messages", "passing"),
    [
        ((), None),
        (("",), None),
        (("", ""), True),
        (("", "", "no", "no"), True),
        (("", "", "no", "no", "no"), False),
        (("", "", "no", "no", "", "no", "no"), True),
        (("no", "no", "no"), False),
        (("no", "no", "no", ""), False),
        (("no", "no", "no", "", ""), True),
    ],
)
def test_a_verdict_takes_as_many_equal_answers_as_the_probe_says(messages, passing):
    assert after(*messages).passing is passing


@given(st.lists(st.sampled_from(["", "no"]), max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_a_verdict_changes_only_at_the_end_of_a_run_that_is_long_enough(messages, failures, successes):
    probe = Probe(kind=ProbeKind.TCP, port=1, failures=failures, successes=successes)
    found = Answers()
    for number, message in enumerate(messages):
        before, found = found, answered(probe, found, message)
        if found.passing != before.passing:
            needed = successes if found.passing else failures
            assert [bool(m) for m in messages[number + 1 - needed : number + 1]] == [not found.passing] * needed


def test_a_startup_probe_never_fails_it_only_has_not_passed_yet():
    assert after(*["no"] * 1000, probe=forgiving(TCP)).passing is None


def test_the_first_question_comes_after_fifty_milliseconds_and_then_less_often_up_to_the_interval():
    waits = [wait_seconds(TCP, Answers(asked=asked), eager=True) for asked in range(9)]
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert wait_seconds(TCP, Answers(), eager=False) == 5.0
    assert wait_seconds(TCP, PASSED, eager=True) == 5.0


@pytest.mark.parametrize(
    ("probes", "answers", "engine", "expected"),
    [
        ({}, {}, "none", Checks()),
        ({}, {}, "starting", Checks(health=Health.STARTING, ready=False)),
        ({}, {"check": PASSED}, "starting", Checks(health=Health.HEALTHY)),
        ({}, {}, "healthy", Checks(health=Health.HEALTHY)),
        ({"startup": TCP}, {}, "none", Checks(health=Health.STARTING, ready=False)),
        ({"startup": TCP}, {"startup": PASSED}, "none", Checks(health=Health.HEALTHY)),
        ({"startup": TCP}, {"startup": PASSED}, "starting", Checks(health=Health.STARTING, ready=False)),
        ({"ready": TCP}, {}, "none", Checks(health=Health.STARTING, ready=False)),
        ({"ready": TCP}, {"ready": FAILED}, "none", Checks(health=Health.HEALTHY, ready=False)),
        ({"live": TCP}, {}, "none", Checks(health=Health.HEALTHY)),
        (
            {"live": TCP},
            {"live": FAILED},
            "none",
            Checks(health=Health.UNHEALTHY, ready=False, failing="its live probe failed 3 times in a row: refused"),
        ),
        (
            {},
            {"check": PASSED},
            "unhealthy",
            Checks(
                health=Health.UNHEALTHY, ready=False, failing="its health check failed as often as its retries allow"
            ),
        ),
    ],
)
def test_all_checks_together_say_health_and_readiness(probes, answers, engine, expected):
    assert combine(Probes(**probes), answers, engine) == expected


def test_a_task_that_was_ready_before_the_agent_restarted_stays_ready():
    checks = combine(Probes(startup=TCP, ready=TCP), settled(True, Health.HEALTHY), "starting")
    assert checks == Checks(health=Health.HEALTHY)
    assert settled(False, Health.STARTING) == {}


@pytest.mark.parametrize(
    ("test", "command"),
    [
        (("CMD", "curl", "-f", "x"), ("curl", "-f", "x")),
        (("CMD-SHELL", "a && b"), ("/bin/sh", "-c", "a && b")),
        (("NONE",), None),
        ((), None),
    ],
)
def test_a_compose_health_check_becomes_an_early_question(test, command):
    early = early_check(Healthcheck(test=test, interval_seconds=9.0, timeout_seconds=2.0))
    assert (early and early.command) == command
    if early:
        assert (early.interval_seconds, early.timeout_seconds) == (9.0, 2.0)
    assert early_check(None) is None


# Ways of asking, against servers on the loopback interface


@contextlib.asynccontextmanager
async def server(talk):
    talks = set()

    async def serve(reader, writer):
        talks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                await talk(reader, writer)
                await writer.drain()
            finally:
                writer.close()
                await writer.wait_closed()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield made.sockets[0].getsockname()[1]
    finally:
        made.close()
        await made.wait_closed()
        for talking in talks:
            talking.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


def answering(line):
    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(line)

    return talk


async def nobody(command, timeout_seconds):
    raise AssertionError("no command was asked for")


async def of(kind, talk, **changes):
    async with server(talk) as port:
        return await ask(Probe(kind=kind, port=port, timeout_seconds=1.0, **changes), "127.0.0.1", nobody)


@pytest.mark.parametrize(
    ("line", "good"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 204\r\n\r\n", True),
        (b"HTTP/1.1 399 Odd\r\n\r\n", True),
        (b"HTTP/1.1 400 Bad\r\n\r\n", False),
        (b"HTTP/1.1 503 Busy\r\n\r\n", False),
        (b"SSH-2.0-x\r\n", False),
        (b"HTTP/1.1 " + b"2" * 100_000, False),
        (b"", False),
    ],
)
async def test_http_passes_from_200_to_399(line, good):
    assert ((await of(ProbeKind.HTTP, answering(line))) == "") is good


async def test_http_sends_its_path_and_headers():
    got = []

    async def talk(reader, writer):
        got.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    assert await of(ProbeKind.HTTP, talk, path="/healthz?x=1", headers={"Host": "shop.example", "X-A": "b"}) == ""
    assert got[0].startswith(b"GET /healthz?x=1 HTTP/1.1\r\n")
    assert b"\r\nHost: shop.example\r\n" in got[0]
    assert b"\r\nX-A: b\r\n" in got[0]


async def test_a_server_that_says_nothing_fails_in_time():
    async def talk(reader, writer):
        await asyncio.sleep(5.0)

    async with server(talk) as port:
        probe = Probe(kind=ProbeKind.HTTP, port=port, timeout_seconds=0.05)
        assert await ask(probe, "127.0.0.1", nobody) == f"127.0.0.1:{port} did not answer within 0.05 s"


async def test_tcp_passes_when_somebody_listens_and_fails_when_nobody_does():
    async with server(answering(b"")) as port:
        probe = Probe(kind=ProbeKind.TCP, port=port)
        assert await ask(probe, "127.0.0.1", nobody) == ""
    assert str(port) in await ask(probe, "127.0.0.1", nobody)
    assert "no address" in await ask(probe, "", nobody)


async def test_exec_passes_with_exit_code_0():
    probe = Probe(kind=ProbeKind.EXEC, command=("check",), timeout_seconds=3.0)

    async def run(command, timeout_seconds):
        assert (command, timeout_seconds) == (("check",), 3.0)
        return answers.pop(0)

    answers = [(0, ""), (2, "no table\n")]
    assert await ask(probe, "", run) == ""
    assert await ask(probe, "", run) == "check ended with exit code 2: no table"

    async def gone(command, timeout_seconds):
        raise PermanentError("it does not run")

    assert await ask(probe, "", gone) == "it does not run"


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def health_server(message, got=None):
    """Speak just enough HTTP/2 to answer one health question with *message*, or with trailers only if it is None."""

    async def talk(reader, writer):
        assert await reader.readexactly(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        writer.write(frame(4, 0, 0, b"") + frame(6, 0, 0, b"12345678"))
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if got is not None:
                got.append((head[3], head[4], payload))
            if head[3] == 0:
                break
        if message is None:
            writer.write(frame(1, 5, 1, b"\x88"))
            return
        data = b"\x00" + struct.pack(">I", len(message)) + message
        writer.write(frame(1, 4, 1, b"\x88") + frame(0, 0, 1, data[:3]) + frame(0, 0, 1, data[3:]))
        writer.write(frame(1, 5, 1, b"\x88"))

    return talk


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"\x08\x01", ""),
        (b"\x08\x02", "NOT_SERVING"),
        (b"", "UNKNOWN"),
        (None, "no gRPC health service"),
    ],
)
async def test_grpc_passes_only_while_serving(message, said):
    answer = await of(ProbeKind.GRPC, health_server(message), service="shop")
    assert answer == "" if not said else said in answer


async def test_grpc_asks_the_standard_question():
    got = []
    assert await of(ProbeKind.GRPC, health_server(b"\x08\x01", got), service="s" * 300) == ""
    headers = next(payload for kind, _, payload in got if kind == 1)
    assert b"/grpc.health.v1.Health/Check" in headers
    assert b"application/grpc" in headers
    data = next(payload for kind, _, payload in got if kind == 0)
    assert data == b"\x00" + struct.pack(">I", 303) + b"\x0a\xac\x02" + b"s" * 300


async def test_grpc_is_not_fooled_by_another_protocol():
    assert await of(ProbeKind.GRPC, answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")) != ""


def test_a_long_header_is_written_as_hpack_says():
    assert grpc._text("x" * 200)[:3] == b"\x7f\x49x"
