"""A link keeps its contract whatever carries its bytes."""

import asyncio
import contextlib
import socket

import pytest
import uvloop

from pilothouse.clock import SystemClock
from pilothouse.errors import SessionLostError
from pilothouse.link import conformance, sockets
from pilothouse.link.answering import MOST_CONVERSATIONS
from pilothouse.link.credentials import Credentials
from pilothouse.link.frames import Frame, Kind, encode
from pilothouse.link.interface import Offer
from pilothouse.link.memory import HeldPath, pair
from pilothouse.link.sockets import Listener, connection_over, dial
from pilothouse.link.tls import client_context, pinned_context, server_context
from pilothouse.model.cluster import Role
from pilothouse.model.identity import SERVER_NAME
from tests.link.joins import JOINS, serving, tls
from tests.pki import CLUSTER, Pki


@pytest.mark.parametrize("make", JOINS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
async def test_a_link_keeps_the_contract(tmp_path, make, check):
    await conformance.run_check(make(tmp_path), check)


@pytest.mark.parametrize("make", JOINS, ids=lambda make: make.__name__)
def test_a_link_keeps_the_contract_on_the_event_loop_of_production(tmp_path, make):
    async def every():
        for number, check in enumerate(conformance.CHECKS):
            place = tmp_path / str(number)
            place.mkdir()
            await conformance.run_check(make(place), check)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(every())


async def test_who_is_at_the_other_end_stands_in_its_certificate(tmp_path):
    async with tls(tmp_path)(conformance.ECHO, conformance.ECHO) as (first, second):
        assert second.peer == (f"spiffe://{CLUSTER}/agent/n1",)
        assert second.serial == Credentials(tmp_path / "n1").held().serial
        assert first.peer == (f"spiffe://{CLUSTER}/agent/m1", f"spiffe://{CLUSTER}/manager/m1")


async def test_nobody_gets_in_without_a_certificate_of_the_authority(tmp_path):
    now = SystemClock().now()
    pki, other = Pki(now), Pki(now)
    served = []

    async def accept(sock):
        served.append(sock)

    listener = Listener(accept, server_context(pki.credentials(tmp_path / "m1", "m1", now, Role.MANAGER)))
    address = f"127.0.0.1:{await listener.open_tcp('127.0.0.1', 0)}"
    foreign = client_context(other.credentials(tmp_path / "n1", "n1", now, authorities=pki.made.certificate))
    nameless = pinned_context(pki.made.certificate)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listener.run())
        for context in (foreign, nameless):
            # TLS 1.3 tells the client only after it believes that it is through.
            with pytest.raises(SessionLostError):
                await dial_and_serve(address, context)
        wrong = client_context(other.credentials(tmp_path / "n2", "n2", now))
        with pytest.raises(SessionLostError, match="no session with"):
            await dial(address, Offer(), SystemClock(), context=wrong, server_name=SERVER_NAME)
        listening.cancel()
    assert served == []


DAY = 86_400.0
FUTURE = "the manager's certificate is not valid yet by this machine's clock, which says 20"
PAST = "the manager's certificate is not valid any more by this machine's clock, which says 20"
REFUSED = "or a clock is wrong: this machine's is the one which says 20"


@pytest.mark.parametrize(
    ("manager", "node", "said"), [(2 * DAY, 0, FUTURE), (-2 * DAY, 0, PAST), (0, -2 * DAY, REFUSED)]
)
async def test_where_a_clock_is_wrong_by_more_than_a_certificate_lasts_the_clock_is_named(
    tmp_path, manager, node, said
):
    """Whose clock it is nobody can know at that moment, so both times stand there or can be read."""
    now = SystemClock().now()
    pki = Pki(now - 3 * DAY)

    async def accept(sock):
        await connection_over(sock, Offer(), SystemClock(), dialled=False).serve()

    listener = Listener(accept, server_context(pki.credentials(tmp_path / "m1", "m1", now + manager, Role.MANAGER)))
    address = f"127.0.0.1:{await listener.open_tcp('127.0.0.1', 0)}"
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listener.run())
        with pytest.raises(SessionLostError) as refused:
            await dial_and_serve(address, client_context(pki.credentials(tmp_path / "n1", "n1", now + node)))
        listening.cancel()
    assert said in str(refused.value)
    assert "set both machines' clocks, by NTP" in str(refused.value)


async def dial_and_serve(address, context):
    link = await dial(address, Offer(), SystemClock(), context=context, server_name=SERVER_NAME)
    await link.serve()


class QuickClock(SystemClock):
    """Waits a hundredth of what is asked."""

    async def sleep(self, seconds):
        await asyncio.sleep(seconds / 100)


async def test_an_end_that_reads_nothing_for_twenty_seconds_is_cut_off():
    there = HeldPath()
    first, second = pair(Offer(), conformance.ECHO, QuickClock(), there=there)
    async with asyncio.timeout(10), serving(second):
        there.hold()
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(conformance._raised(first.ask("echo", bytes(1 << 20))))
            with pytest.raises(SessionLostError, match="read nothing for 20 s"):
                await first.serve()
            assert type(await asking) is SessionLostError


async def test_an_end_that_reads_slowly_is_waited_for():
    there = HeldPath()
    first, second = pair(Offer(), conformance.ECHO, QuickClock(), there=there)
    async with asyncio.timeout(20), serving(first, second), asyncio.TaskGroup() as group:
        asking = group.create_task(first.ask("echo", bytes(2 << 20)))
        while not asking.done():
            there.hold()
            await asyncio.sleep(0.05)
            there.release()
            await asyncio.sleep(0.01)
        assert len(await asking) == 2 << 20


async def test_a_socket_that_is_never_read_from_holds_nobody_for_long(tmp_path):
    ended = asyncio.get_running_loop().create_future()

    async def flood(_body):
        while True:
            yield bytes(100_000)

    async def accept(sock):
        connection = connection_over(sock, Offer(streams={"flood": flood}), QuickClock(), dialled=False)
        try:
            await connection.serve()
        except SessionLostError as error:
            ended.set_result(str(error))

    listener = Listener(accept)
    await listener.open_unix(str(tmp_path / "s"))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        listening = group.create_task(listener.run())
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.connect(str(tmp_path / "s"))
            deaf.sendall(encode(Frame(Kind.STREAM, 1, "flood")))
            deaf.sendall(encode(Frame(Kind.CREDIT, 1, body=(1 << 30).to_bytes(4, "big"))))
            assert "read nothing" in await ended
        listening.cancel()


def rude(*frames):
    """Return how a served end takes frames that a correct end would not send."""

    async def run():
        _, second = pair(Offer(), conformance.ECHO, SystemClock())
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            serving_it = group.create_task(conformance._raised(second.serve()))
            for frame in frames:
                second.received(encode(frame))
            return str(await serving_it)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([Frame(Kind.ANSWER, 2)], "which nobody began"),
        ([Frame(Kind.ANSWER, 1)], "that it began itself"),
        ([Frame(Kind.ASK, 3, "echo"), Frame(Kind.ASK, 1, "echo")], "twice"),
        ([Frame(Kind.ASK, 1, "echo", more=True), Frame(Kind.STREAM, 1, "echo")], "asked again"),
        ([Frame(Kind.ASK, 2 * n + 1, "echo", more=True) for n in range(MOST_CONVERSATIONS + 1)], "more than 1024"),
    ],
)
def test_an_end_that_breaks_the_rules_is_cut_off(frames, why):
    assert why in rude(*frames)


async def test_a_machine_that_does_not_answer_is_given_up_soon(monkeypatch):
    monkeypatch.setattr(sockets, "CONNECT_SECONDS", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        with socket.create_connection(address), contextlib.ExitStack() as waiting:
            for _ in range(3):  # the kernel drops what comes to a queue that is full
                one = waiting.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(address)
            with pytest.raises(SessionLostError, match=r"nobody answered within 0\.2 s"):
                await sockets.dial(f"127.0.0.1:{address[1]}", Offer(), SystemClock())
