"""Conversations that begin at the other end: each is answered by a task of its own, as far as its reader lets it."""

import asyncio
import struct
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

from pilothouse.errors import InvalidRequestError, PilothouseError, SessionLostError
from pilothouse.link.asking import ITEM_BYTES, WINDOW_BYTES
from pilothouse.link.failures import to_bytes
from pilothouse.link.frames import BODY_BYTES, Frame, Kind
from pilothouse.link.interface import Handlers
from pilothouse.link.outbox import Outbox
from pilothouse.log import event

MOST_CONVERSATIONS = 1024
"""So many may be under way from the other end; whoever begins more is cut off."""

_CREDIT = struct.Struct(">I")
H = TypeVar("H")


@dataclass(slots=True)
class _Asked:
    """One conversation from the other end, being heard or being answered."""

    kind: Kind
    name: str
    parts: list[bytes] = field(default_factory=list)
    part_bytes: int = 0
    heard: bool = False
    credit: int = WINDOW_BYTES
    more_credit: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Answering:
    """The conversations of the other end."""

    def __init__(self, outbox: Outbox, handlers: Handlers) -> None:
        self._outbox = outbox
        self._handlers = handlers
        self._group: asyncio.TaskGroup | None = None
        self._open: dict[int, _Asked] = {}
        self._newest = -1
        self._unheard_bytes = 0

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Answer from now on, in tasks of *group*, also what was asked before."""
        self._group = group
        for number, asked in self._open.items():
            self._answer_if_heard(number, asked)

    def end(self) -> None:
        """Answer nothing any more: what is being answered is cancelled."""
        self._group = None
        for asked in self._open.values():
            if asked.task is not None:
                asked.task.cancel()
        self._open.clear()

    def take(self, frame: Frame) -> None:
        """Take a frame of a conversation that began at the other end.

        Raises:
            SessionLostError: It cannot be meant, or asks for more than anybody may.
        """
        asked = self._open.get(frame.conversation)
        if frame.kind in {Kind.ASK, Kind.STREAM}:
            self._hear(frame, asked)
        elif frame.kind is Kind.CREDIT and len(frame.body) == _CREDIT.size:
            if asked is not None:
                asked.credit += _CREDIT.unpack(frame.body)[0]
                asked.more_credit.set()
        elif frame.kind is Kind.CANCEL:
            self._forget(frame.conversation)
            if asked is not None and asked.task is not None:
                asked.task.cancel()
        else:
            raise SessionLostError(f"the other end sent {frame.kind.name} to a conversation that it began itself")

    def _hear(self, frame: Frame, asked: _Asked | None) -> None:
        if asked is None:
            if frame.conversation <= self._newest:
                raise SessionLostError(f"the other end began conversation {frame.conversation} twice")
            if len(self._open) >= MOST_CONVERSATIONS:
                raise SessionLostError(f"the other end began more than {MOST_CONVERSATIONS} conversations at once")
            self._newest = frame.conversation
            asked = self._open[frame.conversation] = _Asked(frame.kind, frame.name)
        if asked.heard or asked.kind is not frame.kind:
            raise SessionLostError(f"the other end asked again in conversation {frame.conversation}")
        asked.parts.append(frame.body)
        asked.part_bytes += len(frame.body)
        self._unheard_bytes += len(frame.body)
        if self._unheard_bytes > BODY_BYTES:
            raise SessionLostError(f"the other end has more than {BODY_BYTES} bytes of unfinished questions")
        if not frame.more:
            asked.heard = True
            self._answer_if_heard(frame.conversation, asked)

    def _answer_if_heard(self, number: int, asked: _Asked) -> None:
        if self._group is None or not asked.heard or asked.task is not None:
            return
        body = asked.parts[0] if len(asked.parts) == 1 else b"".join(asked.parts)
        asked.parts.clear()
        self._unheard_bytes -= asked.part_bytes
        asked.part_bytes = 0
        asked.task = self._group.create_task(self._answer(number, asked, body), name=f"conversation {asked.name}")

    async def _answer(self, number: int, asked: _Asked, body: bytes) -> None:
        try:
            if asked.kind is Kind.ASK:
                answer = await _handler(asked.name, self._handlers.answers)(body)
                await self._outbox.send(Kind.ANSWER, number, body=answer)
            else:
                async with aclosing(_handler(asked.name, self._handlers.streams)(body)) as items:
                    async for item in items:
                        await self._item(number, asked, item)
                await self._outbox.send(Kind.END, number)
        except PilothouseError as error:
            await self._tell(number, error)
        except Exception as error:  # noqa: BLE001 - a bug in one answer must not end the others, and is logged whole
            event("error", "conversation.failed", name=asked.name, error=repr(error))
            await self._tell(number, PilothouseError(f"{asked.name} could not be answered: this is a bug ({error!r})"))
        finally:
            self._forget(number)

    async def _item(self, number: int, asked: _Asked, item: bytes) -> None:
        while asked.credit <= 0:
            asked.more_credit.clear()
            await asked.more_credit.wait()
        asked.credit -= len(item) + ITEM_BYTES
        await self._outbox.send(Kind.ITEM, number, body=item)

    async def _tell(self, number: int, error: PilothouseError) -> None:
        if self._outbox.lost is None:
            try:
                await self._outbox.send(Kind.ERROR, number, body=to_bytes(error))
            except SessionLostError as lost:
                event("debug", "conversation.unheard", error=str(error), reason=str(lost))

    def _forget(self, number: int) -> None:
        asked = self._open.pop(number, None)
        if asked is not None:
            self._unheard_bytes -= asked.part_bytes
            asked.part_bytes = 0


def _handler(name: str, handlers: Mapping[str, H]) -> H:
    found = handlers.get(name)
    if found is None:
        raise InvalidRequestError(f"{name!r} cannot be asked of this end of the session")
    return found
