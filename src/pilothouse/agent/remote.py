"""The manager over the network, as the agent needs it: keeps `agent.session.ManagerLink` over one session at a time.

A session that is lost is followed by another with whichever manager answers and leads. Nothing on the node stops or
starts for it: assignments come whole again, and reports that were not answered are made again by `agent.reports`.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

import msgspec

from pilothouse.agent.beats import Beats, Signs
from pilothouse.agent.managers import Managers, patience_seconds, wait_seconds
from pilothouse.agent.offering import Answerer, offer
from pilothouse.clock import Clock
from pilothouse.errors import NodeRemovedError, NodeUnavailableError, NotLeadingError, PilothouseError, SessionLostError
from pilothouse.link.interface import Handlers, Link
from pilothouse.link.sockets import dial
from pilothouse.log import event
from pilothouse.model.format import FORMAT, fit
from pilothouse.model.identity import SERVER_NAME
from pilothouse.model.node import NodeDescription
from pilothouse.model.patch import patch
from pilothouse.model.session import (
    PROTOCOL,
    Changes,
    Hello,
    Method,
    Renew,
    Renewed,
    Report,
    Welcome,
    check_protocol,
)
from pilothouse.model.skew import Codec
from pilothouse.model.wire import Assignment, ResourceReport, TaskReport, TrafficReport

YOUNG_SECONDS = 2.0
"""A session that ended sooner is not followed by the next at once: it may end the same way."""

_WELCOME = Codec(Welcome)
_CHANGES = Codec(Changes)
_RENEWED = Codec(Renewed)
_NEEDED = Codec(tuple[str, ...])
_encode = msgspec.msgpack.encode

Dial = Callable[[str, Handlers], Awaitable[Link]]
"""Connects to an address; raises SessionLostError."""


def dialler(clock: Clock, contexts: Callable[[], ssl.SSLContext | None]) -> Dial:
    """Return how managers are dialled over TLS; *contexts* gives the newest context, which pins the cluster's CA."""

    async def connect(address: str, handlers: Handlers) -> Link:
        context = contexts()
        return await dial(address, handlers, clock, context=context, server_name=SERVER_NAME if context else "")

    return connect


class RemoteLink:
    """The session with the manager that leads, whichever that is.

    Attributes:
        incarnation: Of this agent.
    """

    def __init__(self, *, connect: Dial, managers: Managers, signs: Signs, version: str) -> None:
        """Make it; nothing is dialled before `run`.

        Args:
            connect: Dials.
            managers: Whom.
            signs: What beats carry and bring.
            version: Of Pilothouse.
        """
        self.incarnation = signs.ids.new()
        self._connect = connect
        self._managers = managers
        self._signs = signs
        self._version = version
        self._epoch = 0
        self._format = 1
        self._description: NodeDescription | None = None
        self._link: Link | None = None
        self._changed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether there is a session."""
        return self._link is not None

    async def run(self, services: Answerer) -> None:
        """Have a session for ever; *services* answer what the manager asks.

        Raises:
            NodeRemovedError: The manager that leads says that this node is none of the cluster any more.
        """
        failures = 0
        while True:
            address = self._managers.next(self._signs.ids.fraction())
            try:
                served = await self._session(address, offer(services))
            except NodeRemovedError:
                raise
            except PilothouseError as error:
                served = False
                event("debug" if failures else "warning", "session.failed", manager=address, reason=str(error))
            failures = 0 if served else failures + 1
            left = self._signs.lease.remaining()
            await self._signs.clock.sleep(wait_seconds(failures, self._signs.ids.fraction(), left))

    async def assignments(self) -> AsyncIterator[Assignment]:
        """Yield the node's assignment now and after each change; ends with the session it began in."""
        link = await self._any_link()
        have, number = Assignment(revision=0), 0
        async with aclosing(link.stream(Method.ASSIGNMENTS.value)) as items:
            async for item in items:
                changes = _CHANGES.decode(item)
                try:
                    have = patch(have, number, changes)
                except SessionLostError as error:
                    link.close(str(error))
                    raise
                number = changes.number
                yield have

    async def report(self, tasks: tuple[TaskReport, ...], resources: tuple[ResourceReport, ...] = ()) -> None:
        await self._ask(Method.REPORT, self._said(Report(tasks=tasks, resources=resources)))

    async def describe(self, description: NodeDescription) -> None:
        self._description = description
        await self._ask(Method.DESCRIBE, self._said(description))

    async def traffic(self, reports: tuple[TrafficReport, ...]) -> None:
        if self._link is None:
            raise SessionLostError("no manager is connected, and by the time one is, these counts are old")
        await self._ask(Method.TRAFFIC, self._said(reports))

    async def needed_images(self) -> tuple[str, ...]:
        if self._link is None:
            raise SessionLostError("no manager is connected")
        return _NEEDED.decode(await self._ask(Method.NEEDED, b""))

    async def renew(self, request: str) -> tuple[str, str]:
        """Return a certificate for a signing request, and the authorities to trust, all as PEM (`link.renewal.Ask`)."""
        renewed = _RENEWED.decode(await self._ask(Method.RENEW, _encode(Renew(request=request))))
        return renewed.certificate, renewed.authorities

    def _said(self, value: object) -> bytes:
        """Return a message without what the platform's format does not have yet."""
        return _encode(fit(value, self._format))

    async def _ask(self, method: Method, body: bytes) -> bytes:
        link = await self._any_link()
        return await link.ask(method.value, body)

    async def ask(self, name: str, body: bytes = b"") -> bytes:
        """Ask the manager that leads something on behalf of this machine's own manager; without a session, not at all.

        Raises:
            NodeUnavailableError: There is no session now.
            SessionLostError: It ended first.
        """
        return await self._link_now().ask(name, body)

    async def stream(self, name: str, body: bytes = b"") -> AsyncGenerator[bytes, None]:
        """Yield the answers of the manager that leads; as `ask`."""
        async with aclosing(self._link_now().stream(name, body)) as items:
            async for item in items:
                yield item

    def _link_now(self) -> Link:
        if self._link is None:
            raise NodeUnavailableError("this manager has no session with the one that leads; try again in a moment")
        return self._link

    async def _any_link(self) -> Link:
        while (link := self._link) is None:
            await self._changed.wait()
        return link

    async def _session(self, address: str, handlers: Handlers) -> bool:
        """Have one session with the manager at *address*; return whether it was a good one."""
        link = await self._connect(address, handlers)
        begun = self._signs.clock.monotonic()
        problem: PilothouseError | None = None
        served = False
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(_until_lost(link), name="session")
            try:
                welcome = await self._hello(link)
                if served := self._accept(welcome, address):
                    await self._live(link, welcome, serving)
            except PilothouseError as error:
                problem = error
            finally:
                self._set(None)
                link.close("the agent goes on to another manager, or ends")
        if problem is not None:
            raise problem
        if served:
            event("warning", "session.lost", manager=address, reason=serving.result())
        return served and self._signs.clock.monotonic() - begun > YOUNG_SECONDS

    async def _hello(self, link: Link) -> Welcome:
        hello = Hello(
            protocol=PROTOCOL,
            version=self._version,
            incarnation=self.incarnation,
            epoch=self._epoch,
            format=FORMAT,
        )
        patience = patience_seconds(len(self._managers.known), self._signs.lease.remaining())
        try:
            async with asyncio.timeout(patience):
                welcome = _WELCOME.decode(await link.ask(Method.HELLO.value, _encode(hello)))
        except TimeoutError:
            raise SessionLostError(f"the manager did not answer hello in {patience:.0f} s") from None
        check_protocol(welcome.protocol, "the manager")
        if not welcome.leader and welcome.epoch < self._epoch:
            raise NotLeadingError(f"term {welcome.epoch} is over; this node was served in term {self._epoch}")
        return welcome

    def _accept(self, welcome: Welcome, address: str) -> bool:
        """Note what a manager said first; return whether it serves this node."""
        self._managers.learn(welcome.managers)
        self._managers.lead(welcome.leader or address)
        if not welcome.leader:
            self._epoch = welcome.epoch
            self._speak(welcome.format)
        return not welcome.leader

    def _speak(self, format: int) -> None:
        self._format = format

    async def _live(self, link: Link, welcome: Welcome, serving: "asyncio.Task[str]") -> None:
        """Beat, and let the agent use the session, until it is lost."""
        self._signs.lease.begin()
        self._set(link)
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(Beats(link, welcome, self._signs, self._speak).run(), name="beats")
            introducing = group.create_task(self._introduce(link), name="introduce")
            await asyncio.wait([serving])
            beating.cancel()
            introducing.cancel()

    async def _introduce(self, link: Link) -> None:
        """Say again what this node is: the manager may never have heard it, or have forgotten."""
        if self._description is None:
            return
        try:
            await link.ask(Method.DESCRIBE.value, self._said(self._description))
        except PilothouseError as error:
            event("warning", "description.failed", reason=str(error))

    def _set(self, link: Link | None) -> None:
        self._link = link
        self._changed.set()
        self._changed = asyncio.Event()


class _Served(Protocol):
    async def serve(self) -> None: ...


async def _until_lost(link: _Served) -> str:
    """Serve *link* to its end, and return why it ended."""
    try:
        await link.serve()
    except SessionLostError as error:
        return str(error)
    return "it ended"
