"""Conversations that begin here: questions that wait for an answer, streams that are read at their reader's pace."""

import asyncio
import struct
from collections import deque
from collections.abc import AsyncGenerator

from pilothouse.errors import SessionLostError
from pilothouse.link.failures import from_bytes
from pilothouse.link.frames import BODY_BYTES, Frame, Kind
from pilothouse.link.outbox import Outbox

WINDOW_BYTES = 256 << 10
"""So much of a stream may be under way or unread; the other end sends on while less is."""

ITEM_BYTES = 64
"""What an item costs beside its length, so that empty ones are paced as well."""

_CREDIT = struct.Struct(">I")


class _Conversation:
    """What came of one conversation so far."""

    def __init__(self, *, stream: bool) -> None:
        self.stream = stream
        self.parts: list[bytes] = []
        self.part_bytes = 0
        self.items: deque[bytes] = deque()
        self.unread = 0
        self.error: Exception | None = None
        self.over = False
        self.news = asyncio.Event()

    def end(self, error: Exception | None = None) -> None:
        """Let the asker know that nothing more comes."""
        if not self.over:
            self.over = True
            self.error = error
            self.news.set()


class Asking:
    """The conversations that were begun at this end, by their numbers: odd for who dialled, even for who was called."""

    def __init__(self, outbox: Outbox, first: int) -> None:
        self._outbox = outbox
        self._next = first
        self._first = first
        self._open: dict[int, _Conversation] = {}

    def owns(self, conversation: int) -> bool:
        """Whether a conversation of that number was or would be begun here."""
        return conversation % 2 == self._first % 2

    async def ask(self, name: str, body: bytes) -> bytes:
        """Return the answer; see `interface.Link.ask`."""
        number, conversation = self._begin(stream=False)
        try:
            await self._outbox.send(Kind.ASK, number, name, body)
            await conversation.news.wait()
            if conversation.error is not None:
                raise conversation.error
            return conversation.items.popleft()
        finally:
            self._leave(number, conversation)

    async def stream(self, name: str, body: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the items; see `interface.Link.stream`."""
        number, conversation = self._begin(stream=True)
        try:
            await self._outbox.send(Kind.STREAM, number, name, body)
            read = 0
            while True:
                while conversation.items:
                    item = conversation.items.popleft()
                    yield item
                    read += len(item) + ITEM_BYTES
                    if read >= WINDOW_BYTES // 2:
                        self._grant(number, conversation, read)
                        read = 0
                if conversation.over:
                    break
                conversation.news.clear()
                await conversation.news.wait()
            if conversation.error is not None:
                raise conversation.error
        finally:
            self._leave(number, conversation)

    def take(self, frame: Frame) -> None:
        """Take a frame of a conversation that began here.

        Raises:
            SessionLostError: It cannot be meant.
        """
        if frame.conversation >= self._next:
            raise SessionLostError(f"the other end answered conversation {frame.conversation}, which nobody began")
        conversation = self._open.get(frame.conversation)
        if conversation is None or conversation.over:
            return  # its asker left; the other end may not have heard of that yet
        if frame.kind is Kind.ERROR:
            conversation.end(from_bytes(frame.body))
        elif frame.kind is Kind.END and conversation.stream:
            conversation.end()
        elif frame.kind is (Kind.ITEM if conversation.stream else Kind.ANSWER):
            _add(conversation, frame)
        else:
            raise SessionLostError(f"the other end sent {frame.kind.name} to a conversation that does not take it")

    def fail(self, error: SessionLostError) -> None:
        """End every conversation."""
        for conversation in self._open.values():
            conversation.end(SessionLostError(str(error)))

    def _begin(self, *, stream: bool) -> tuple[int, _Conversation]:
        if self._outbox.lost is not None:
            raise SessionLostError(str(self._outbox.lost))
        number, self._next = self._next, self._next + 2
        conversation = self._open[number] = _Conversation(stream=stream)
        return number, conversation

    def _leave(self, number: int, conversation: _Conversation) -> None:
        del self._open[number]
        if not conversation.over:
            self._outbox.send_now(Frame(Kind.CANCEL, number))

    def _grant(self, number: int, conversation: _Conversation, read: int) -> None:
        conversation.unread -= read
        if not conversation.over:
            self._outbox.send_now(Frame(Kind.CREDIT, number, body=_CREDIT.pack(read)))


def _add(conversation: _Conversation, frame: Frame) -> None:
    if conversation.stream and not conversation.parts and conversation.unread >= WINDOW_BYTES:
        raise SessionLostError("the other end sent more of a stream than it was let")
    conversation.parts.append(frame.body)
    conversation.part_bytes += len(frame.body)
    if conversation.part_bytes > BODY_BYTES:
        raise SessionLostError(f"the other end sent a body of more than {BODY_BYTES} bytes")
    if frame.more:
        return
    body = conversation.parts[0] if len(conversation.parts) == 1 else b"".join(conversation.parts)
    conversation.parts.clear()
    conversation.part_bytes = 0
    conversation.items.append(body)
    conversation.unread += len(body) + ITEM_BYTES
    if conversation.stream:
        conversation.news.set()
    else:
        conversation.end()
