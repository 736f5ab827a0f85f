"""The contract of a link as a suite that runs on memory, on Unix sockets and on TLS alike.

A test calls each of `CHECKS` with a way to join two ends, both being served.
"""

# ruff: noqa: D103 - the name of a check is its sentence

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from pilothouse.errors import (
    ConflictError,
    ImageMissingError,
    InvalidRequestError,
    PilothouseError,
    SessionLostError,
    TooLargeError,
)
from pilothouse.link.frames import BODY_BYTES, PART_BYTES
from pilothouse.link.interface import Handlers, Link, Offer

DEADLINE_SECONDS = 20.0
Join = Callable[[Handlers, Handlers], AbstractAsyncContextManager[tuple[Link, Link]]]
"""Joins an end that dialled to one that was called, with what may be asked of each, and serves both."""

Check = Callable[[Join], Awaitable[None]]


async def _echo(body: bytes) -> bytes:
    return body


ECHO = Offer(answers={"echo": _echo})


async def run_check(join: Join, check: Check) -> None:
    """Run one check; one that hangs fails."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        await check(join)


async def a_question_is_answered_in_both_directions(join: Join) -> None:
    async with join(ECHO, ECHO) as (first, second):
        assert await first.ask("echo", b"there") == b"there"
        assert await second.ask("echo", b"and back") == b"and back"
        assert await first.ask("echo") == b""


async def bodies_of_any_length_arrive_whole(join: Join) -> None:
    async with join(ECHO, ECHO) as (first, _):
        for length in (1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 20 << 20):
            body = bytes(range(256)) * (length // 256 + 1)
            assert await first.ask("echo", body[:length]) == body[:length]


async def questions_are_answered_as_they_get_ready(join: Join) -> None:
    ready = asyncio.Event()

    async def slow(body: bytes) -> bytes:
        await ready.wait()
        return body

    async with join(ECHO, Offer(answers={"slow": slow, **ECHO.answers})) as (first, _), asyncio.TaskGroup() as group:
        waiting = group.create_task(first.ask("slow", b"late"))
        for number in range(200):
            assert await first.ask("echo", b"%d" % number) == b"%d" % number
        assert not waiting.done()
        ready.set()
        assert await waiting == b"late"


async def an_error_arrives_as_the_same_class_with_the_same_message(join: Join) -> None:
    async def refuse(body: bytes) -> bytes:
        raise (ConflictError if body else ImageMissingError)("web.1 wäre doppelt; nimm einen anderen Namen")

    async def broken(body: bytes) -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise ImageMissingError("no such image")

    offer = Offer(answers={"refuse": refuse}, streams={"broken": broken})
    async with join(ECHO, offer) as (first, _):
        error = await _raised(first.ask("refuse", b"x"))
        assert (type(error), str(error)) == (ConflictError, "web.1 wäre doppelt; nimm einen anderen Namen")
        assert type(await _raised(first.ask("refuse"))) is ImageMissingError
        items = first.stream("broken")
        assert await anext(items) == b"one"
        assert type(await _raised(anext(items))) is ImageMissingError


async def what_nobody_offers_is_refused_and_the_link_lives(join: Join) -> None:
    async with join(ECHO, ECHO) as (first, _):
        assert type(await _raised(first.ask("nonsense"))) is InvalidRequestError
        assert type(await _raised(anext(first.stream("echo")))) is InvalidRequestError
        assert await first.ask("echo", b"still") == b"still"


async def a_bug_in_an_answer_is_told_and_the_link_lives(join: Join) -> None:
    async def bug(body: bytes) -> bytes:
        raise ValueError("a bug on purpose")

    async with join(ECHO, Offer(answers={"bug": bug, **ECHO.answers})) as (first, _):
        assert type(await _raised(first.ask("bug"))) is PilothouseError
        assert await first.ask("echo", b"still") == b"still"


async def a_body_beyond_the_limit_is_refused_where_it_is_sent(join: Join) -> None:
    async with join(ECHO, ECHO) as (first, _):
        assert type(await _raised(first.ask("echo", bytes(BODY_BYTES + 1)))) is TooLargeError
        assert await first.ask("echo", b"still") == b"still"


async def a_stream_arrives_in_order_and_ends(join: Join) -> None:
    async def count(body: bytes) -> AsyncGenerator[bytes, None]:
        for number in range(int(body)):
            yield b"%d" % number

    async with join(ECHO, Offer(streams={"count": count})) as (first, _):
        assert [item async for item in first.stream("count", b"20000")] == [b"%d" % n for n in range(20_000)]
        assert [item async for item in first.stream("count", b"0")] == []


async def a_slow_reader_slows_its_stream_and_nobody_else(join: Join) -> None:
    made: list[int] = []

    async def endless(body: bytes) -> AsyncGenerator[bytes, None]:
        while True:
            made.append(len(made))
            yield bytes(10_000)

    offer = Offer(answers=ECHO.answers, streams={"endless": endless})
    async with join(ECHO, offer) as (first, _), aclosing(first.stream("endless")) as items:
        await anext(items)
        for _each in range(50):
            assert await first.ask("echo", b"x") == b"x"
        stopped = len(made)
        assert stopped < 100
        for _each in range(50):
            assert await first.ask("echo", b"x") == b"x"
        assert len(made) == stopped
        for _each in range(100):
            await anext(items)
        assert len(made) > stopped


async def a_stream_ends_at_the_other_end_when_its_reader_leaves(join: Join) -> None:
    ended = asyncio.Event()

    async def endless(body: bytes) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with join(ECHO, Offer(streams={"endless": endless})) as (first, _):
        async with aclosing(first.stream("endless")) as items:
            await anext(items)
        await ended.wait()


async def a_question_whose_asker_left_is_cancelled(join: Join) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(body: bytes) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return b""

    async with join(ECHO, Offer(answers={"wait": wait, **ECHO.answers})) as (first, _), asyncio.TaskGroup() as group:
        asking = group.create_task(first.ask("wait"))
        await begun.wait()
        asking.cancel()
        await cancelled.wait()
        assert await first.ask("echo", b"still") == b"still"


async def closing_ends_what_is_under_way_at_both_ends_with_the_reason(join: Join) -> None:
    begun = asyncio.Event()

    async def wait(body: bytes) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    async with join(ECHO, Offer(answers={"wait": wait})) as (first, second), asyncio.TaskGroup() as group:
        asking = group.create_task(_raised(first.ask("wait")))
        await begun.wait()
        second.close("the certificate was revoked")
        lost = await asking
        assert type(lost) is SessionLostError
        assert "the certificate was revoked" in str(lost)
        assert type(await _raised(second.ask("echo"))) is SessionLostError
        assert type(await _raised(anext(first.stream("echo")))) is SessionLostError
        assert "the certificate was revoked" in str(await _raised(first.serve()))


async def many_conversations_share_one_link(join: Join) -> None:
    async def three(body: bytes) -> AsyncGenerator[bytes, None]:
        for _each in range(3):
            yield body

    async def read(link: Link, body: bytes) -> None:
        assert [item async for item in link.stream("three", body)] == [body] * 3

    offer = Offer(answers=ECHO.answers, streams={"three": three})
    async with join(offer, offer) as links, asyncio.TaskGroup() as group:
        for number in range(400):
            group.create_task(read(links[number % 2], bytes([number % 256]) * 5_000))


async def _raised(work: Awaitable[object]) -> BaseException:
    """Return what *work* raised."""
    try:
        await work
    except PilothouseError as error:
        return error
    raise AssertionError("nothing was raised")


CHECKS: tuple[Check, ...] = (
    a_question_is_answered_in_both_directions,
    bodies_of_any_length_arrive_whole,
    questions_are_answered_as_they_get_ready,
    an_error_arrives_as_the_same_class_with_the_same_message,
    what_nobody_offers_is_refused_and_the_link_lives,
    a_bug_in_an_answer_is_told_and_the_link_lives,
    a_body_beyond_the_limit_is_refused_where_it_is_sent,
    a_stream_arrives_in_order_and_ends,
    a_slow_reader_slows_its_stream_and_nobody_else,
    a_stream_ends_at_the_other_end_when_its_reader_leaves,
    a_question_whose_asker_left_is_cancelled,
    closing_ends_what_is_under_way_at_both_ends_with_the_reason,
    many_conversations_share_one_link,
)
