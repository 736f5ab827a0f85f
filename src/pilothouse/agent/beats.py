"""The agent's signs of life: a beat every so often on one session, and what its answers mean for the lease.

A beat is sent when its time has come, whether or not the one before was answered. A manager that answers none for
`SILENT_SECONDS` is left: another may be reached, and the lease does not wait.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError
from pilothouse.ids import Ids
from pilothouse.link.interface import Link
from pilothouse.log import event
from pilothouse.model.session import Beat, BeatAnswer, Method, Welcome
from pilothouse.model.skew import Codec

JITTER = 0.1
SILENT_SECONDS = 5.0

_ANSWER = Codec(BeatAnswer)


class Lease(Protocol):
    """How long what is fenced may run (`agent.lease.Lease`)."""

    def begin(self) -> None:
        """Note that a new session was opened."""
        ...

    def acknowledged(self, sent_at: float, seconds: float) -> bool:
        """Note that the beat sent then was answered; False if the session must be ended and another begun."""
        ...

    def remaining(self) -> float:
        """Return how many seconds are left."""
        ...


@dataclass(frozen=True, slots=True)
class Signs:
    """What beats carry and bring, whatever the session.

    Attributes:
        lease: Is told of answers.
        boottime: The clock that goes on while the machine sleeps.
        pressure: Why the node should get no more work, by kind.
        renewal_due: Called when the manager wants this node to ask for a new certificate now.
        time_told: Called with when a beat was sent and answered, on *boottime*, and the manager's wall clock meanwhile.
    """

    clock: Clock
    ids: Ids
    lease: Lease
    boottime: Callable[[], float]
    pressure: Callable[[], Mapping[str, str]]
    renewal_due: Callable[[], None]
    time_told: Callable[[float, float, float], None] = lambda _sent, _received, _manager: None


class Beats:
    """The beats of one session."""

    def __init__(
        self, link: Link, welcome: Welcome, signs: Signs, said: Callable[[int], None] = lambda _format: None
    ) -> None:
        """Make them; *said* is told the platform's format, which can be raised while a session lasts."""
        self._link = link
        self._said = said
        self._signs = signs
        self._every = welcome.beat_seconds
        self._sequence = 0
        self._heard_at = signs.clock.monotonic()

    async def run(self) -> None:
        """Send beats until cancelled, or until the session has to be ended and is."""
        clock = self._signs.clock
        async with asyncio.TaskGroup() as group:
            while True:
                self._sequence += 1
                group.create_task(self._beat(self._sequence), name="beat")
                wait = self._every * (1 - JITTER + 2 * JITTER * self._signs.ids.fraction())
                due = clock.monotonic() + wait
                await clock.sleep(wait)
                # While this process was late itself, answers may have come that it has yet to read; what it missed is
                # not the manager's silence. The lease does not care: it counts from what was sent and answered.
                self._heard_at += max(0.0, clock.monotonic() - due)
                silent = clock.monotonic() - self._heard_at
                if silent > SILENT_SECONDS:
                    self._link.close(f"no beat was answered for {silent:.1f} s")
                    return

    async def _beat(self, sequence: int) -> None:
        sent_at = self._signs.boottime()
        beat = Beat(sequence=sequence, pressure=dict(self._signs.pressure()))
        try:
            answer = _ANSWER.decode(await self._link.ask(Method.BEAT.value, msgspec.msgpack.encode(beat)))
        except PilothouseError as error:
            # The end of the session is told by the session; a refusal means as much as no answer.
            event("debug", "beat.unanswered", sequence=sequence, reason=str(error))
            return
        if answer.now:
            self._signs.time_told(sent_at, self._signs.boottime(), answer.now)
        self._heard_at = self._signs.clock.monotonic()
        self._every = answer.beat_seconds
        self._said(answer.format)
        if not self._signs.lease.acknowledged(sent_at, answer.lease_seconds):
            self._link.close("the lease had ended, so this node asks again what belongs to it")
        if answer.renew:
            self._signs.renewal_due()
