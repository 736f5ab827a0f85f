"""One session with an agent over a link: it says hello, and then reports, beats, and follows its assignment.

What the agent says is taken for its own node only, and that node's name stands in its certificate. It can ask for
nothing beside what `offer` has.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from pilothouse.control.images import needed_images
from pilothouse.control.nodes.timers import LEASE_SECONDS, beat_seconds
from pilothouse.errors import InvalidRequestError, NotLeadingError, SessionLostError, SkewError, UnauthorizedError
from pilothouse.governance.identity.authority.rotation import must_renew
from pilothouse.link.interface import Link, Offer
from pilothouse.log import event
from pilothouse.model.cluster import Authority, Role
from pilothouse.model.format import fit
from pilothouse.model.identity import identity_of
from pilothouse.model.node import Node, NodeDescription
from pilothouse.model.patch import delta, stripped, whole
from pilothouse.model.session import (
    PROTOCOL,
    Beat,
    BeatAnswer,
    Changes,
    Hello,
    Method,
    Renew,
    Report,
    Welcome,
    check_protocol,
)
from pilothouse.model.skew import Codec
from pilothouse.model.states import Writer
from pilothouse.model.wire import Assignment, TrafficReport
from pilothouse.server.cluster.admission import sessions_of
from pilothouse.server.cluster.renewing import renew
from pilothouse.server.sessions.attach import assignment_of
from pilothouse.server.sessions.calls import Bell
from pilothouse.server.sessions.reception import Reception
from pilothouse.server.sessions.records import (
    check_agent,
    platform_format,
    runs,
    write_description,
    write_traffic,
    write_version,
)
from pilothouse.server.sessions.relay import relaying
from pilothouse.server.sessions.stub import NodeStub
from pilothouse.server.sessions.takeover import adopting, take_over
from pilothouse.store.interface import ReadTx

_HELLO = Codec(Hello)
_BEAT = Codec(Beat)
_DESCRIPTION = Codec(NodeDescription)
_REPORT = Codec(Report)
_TRAFFIC = Codec(tuple[TrafficReport, ...])
_RENEW = Codec(Renew)
_encode = msgspec.msgpack.encode

Handler = Callable[[bytes], Awaitable[bytes]]


class RemoteSession:
    """Keeps `reception.Visitor`.

    Attributes:
        offer: What the agent may ask.
    """

    def __init__(self, reception: Reception, names: tuple[str, ...], serial: str) -> None:
        self.names = names
        self.serial = serial
        self.node_id = ""
        self.incarnation = ""
        self._reception = reception
        self._kit = reception.kit
        self.heard_at = self._kit.clock.monotonic()
        self._format = 1
        self._link: Link | None = None
        self._stub: NodeStub | None = None
        relay = relaying(reception.link_of, self._check_manager)
        self.offer = Offer(
            answers={
                **relay.answers,
                Method.HELLO.value: self._hello,
                Method.BEAT.value: self._welcomed(self._beat),
                Method.DESCRIBE.value: self._welcomed(self._describe),
                Method.REPORT.value: self._welcomed(self._report),
                Method.TRAFFIC.value: self._welcomed(self._traffic),
                Method.RENEW.value: self._welcomed(self._renew),
                Method.NEEDED.value: self._welcomed(self._needed),
            },
            streams={**relay.streams, Method.ASSIGNMENTS.value: self._assignments},
        )

    async def run(self, link: Link) -> None:
        """Serve the agent until the session ends.

        Raises:
            SessionLostError: It ended; the message says why.
        """
        self._link = link
        self._reception.open(self)
        reason = "it was not served any more"
        try:
            await link.serve()
        except SessionLostError as error:
            reason = str(error)
            raise
        finally:
            self._reception.leave(self, reason)

    def end(self, reason: str) -> None:
        if self._link is not None:
            self._link.close(reason)

    def _welcomed(self, handler: Handler) -> Handler:
        async def handle(body: bytes) -> bytes:
            self._check_welcomed()
            return await handler(body)

        return handle

    def _check_welcomed(self) -> None:
        if self._stub is None:
            raise UnauthorizedError("nothing is answered on this session before hello was said and accepted")

    def _check_manager(self) -> None:
        """Accept a manager: a certificate with a manager's name is issued once it was approved, and can be taken back.

        Raises:
            UnauthorizedError: It is an agent, or has not said hello.
        """
        self._check_welcomed()
        identity = identity_of(self.names)
        if identity is None or identity.role is not Role.MANAGER:
            raise UnauthorizedError("only managers have nodes asked by the manager that leads")

    async def _hello(self, body: bytes) -> bytes:
        hello = _HELLO.decode(body)
        if self.incarnation or not hello.incarnation:
            raise InvalidRequestError("hello is said once in a session, with an incarnation")
        try:
            check_protocol(hello.protocol, "the agent")
            number = await self._kit.store.view(lambda tx: check_agent(tx, hello.format))
        except SkewError as error:
            event("warning", "session.refused", names=self.names, version=hello.version, reason=str(error))
            raise
        if hello.epoch > self._kit.epoch:
            raise NotLeadingError(f"this manager leads term {self._kit.epoch}, and term {hello.epoch} has begun")
        self.incarnation = hello.incarnation
        self.node_id = await self._reception.enter(self)
        self._format = number
        await self._note_version(hello)
        if self._link is None:
            raise SessionLostError("the session ended before it began")
        self._stub = NodeStub(self.node_id, self._link)
        self._reception.connect(self, self._stub)
        return _encode(
            Welcome(
                protocol=PROTOCOL,
                epoch=self._kit.epoch,
                managers=await self._kit.store.view(sessions_of),
                beat_seconds=self._beat_seconds(),
                lease_seconds=LEASE_SECONDS,
                format=self._format,
            )
        )

    async def _note_version(self, hello: Hello) -> None:
        """Write down which version the agent is."""
        store, told = self._kit.store, (self.node_id, hello.version, hello.format)
        if not await store.view(lambda tx: runs(tx, *told)):
            await store.update(Writer.AGENT, lambda tx: write_version(tx, *told))

    async def _beat(self, body: bytes) -> bytes:
        beat = _BEAT.decode(body)
        self.heard_at = self._kit.clock.monotonic()
        self._kit.presence.pressure(self.node_id, beat.pressure)
        if not self._kit.presence.beat(self.node_id):
            reason = "what ran here was given to other nodes meanwhile, or the term is over; come again"
            self.end(reason)
            raise SessionLostError(reason)
        renewal_due = await self._kit.store.view(self._look_at_node)
        return _encode(
            BeatAnswer(
                sequence=beat.sequence,
                epoch=self._kit.epoch,
                beat_seconds=self._beat_seconds(),
                lease_seconds=LEASE_SECONDS,
                renew=renewal_due,
                now=self._kit.clock.now(),
                format=self._format,
            )
        )

    def _look_at_node(self, tx: ReadTx) -> bool:
        """Note the platform's format, and return whether the node needs another certificate."""
        self._format = platform_format(tx)
        node = tx.get(Node, self.node_id)
        return node is not None and must_renew(node, tx.find(Authority), self._kit.clock.now())

    def _beat_seconds(self) -> float:
        return beat_seconds(self._reception.count)

    async def _describe(self, body: bytes) -> bytes:
        description = _DESCRIPTION.decode(body)
        await self._kit.store.update(Writer.AGENT, lambda tx: write_description(tx, self.node_id, description))
        return b""

    async def _report(self, body: bytes) -> bytes:
        report = _REPORT.decode(body)
        await self._kit.intake.report(self.node_id, report.tasks, report.resources)
        return b""

    async def _traffic(self, body: bytes) -> bytes:
        reports = _TRAFFIC.decode(body)
        await self._kit.store.update(Writer.AGENT, lambda tx: write_traffic(tx, self.node_id, reports))
        return b""

    async def _needed(self, _body: bytes) -> bytes:
        return _encode(await self._kit.store.view(lambda tx: needed_images(tx, self.node_id)))

    async def _renew(self, body: bytes) -> bytes:
        kit, asked = self._kit, _RENEW.decode(body)
        return _encode(await renew(kit.store, kit.vault, kit.clock, self.node_id, asked.request))

    async def _assignments(self, _body: bytes) -> AsyncGenerator[bytes, None]:
        self._check_welcomed()
        bell = self._kit.calls.enter(self.node_id)
        try:
            # What is being given to others just now must not be in the first assignment.
            await self._kit.presence.quiet(self.node_id)
            sent: Assignment | None = None
            number = 0
            while True:
                await bell.wait()
                found = await self._look(bell, sent)
                changes = whole(found) if sent is None else delta(sent, found, number)
                if changes is not None:
                    await self._take_over(changes)
                    sent, number = stripped(found), changes.number
                    yield _encode(fit(changes, self._format))
        finally:
            self._kit.calls.leave(self.node_id, bell)

    async def _look(self, bell: Bell, sent: Assignment | None) -> Assignment:
        secrets = {(file.id, file.version) for file in sent.secrets} if sent is not None else set()
        configs = {(file.id, file.version) for file in sent.configs} if sent is not None else set()
        async with self._kit.looks:
            found = await self._kit.store.view(
                lambda tx: assignment_of(
                    tx, self._kit.vault, self.node_id, secrets_there=secrets, configs_there=configs
                )
            )
        self._kit.calls.follow(bell, {task.app for task in found.tasks})
        return found

    async def _take_over(self, changes: Changes) -> None:
        if self._stub is not None and (waiting := adopting(changes.tasks)):
            await take_over(waiting, self._stub)
