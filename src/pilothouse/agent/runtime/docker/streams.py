"""The engine's way to put two streams and many lines into one: taken apart piece by piece, as pure functions of bytes.

Without a terminal every piece has a header: one byte for the stream, three zeros, four for the length. A line longer
than 16 KiB comes in several pieces, each with a time stamp of its own.
"""

from collections.abc import Iterator

from pilothouse.agent.runtime.docker.answers import seconds_of
from pilothouse.model.wire import LogLine, Stream

MAX_LINE_BYTES = 65_536
_HEADER = 8
_STAMP_BYTES = 64


class Demultiplexer:
    """Turns chunks of any size into (stream, piece)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[tuple[Stream, bytes]]:
        """Take in *chunk* and yield the pieces that are complete."""
        self._buffer += chunk
        while len(self._buffer) >= _HEADER:
            end = _HEADER + int.from_bytes(self._buffer[4:_HEADER], "big")
            if len(self._buffer) < end:
                return
            piece = bytes(self._buffer[_HEADER:end])
            stream = Stream.ERR if self._buffer[0] == 2 else Stream.OUT
            del self._buffer[:end]
            yield stream, piece


class Raw:
    """The same for a container with a terminal: one stream, and pieces are whatever arrived."""

    def feed(self, chunk: bytes) -> Iterator[tuple[Stream, bytes]]:
        """Yield *chunk* as standard output."""
        yield Stream.OUT, chunk


class Lines:
    """Turns pieces into lines with their time stamps; *framed* says that each piece begins with a stamp."""

    def __init__(self, task_id: str, *, framed: bool) -> None:
        self._task_id = task_id
        self._framed = framed
        self._partial: dict[Stream, bytearray] = {}
        self._stamps: dict[Stream, str] = {}

    def feed(self, stream: Stream, piece: bytes) -> Iterator[LogLine]:
        """Take in *piece* and yield the lines that are complete."""
        if self._framed and stream in self._partial:
            piece = piece.partition(b" ")[2]  # the stamp of a continuation says nothing new
        held = self._partial.setdefault(stream, bytearray())
        held += piece
        while (end := held.find(b"\n")) >= 0:
            line = bytes(held[:end])
            del held[: end + 1]
            yield self._line(stream, line)
        if not held:
            del self._partial[stream]
        else:
            del held[MAX_LINE_BYTES + _STAMP_BYTES :]  # with the stamp off it is still too long, so `_line` cuts it

    def rest(self) -> Iterator[LogLine]:
        """Yield what was written without a line end, once no more can come."""
        for stream, held in self._partial.items():
            yield self._line(stream, bytes(held))
        self._partial.clear()

    def _line(self, stream: Stream, line: bytes) -> LogLine:
        stamp, _, text = line.decode(errors="replace").partition(" ")
        text = text.removesuffix("\r")[:MAX_LINE_BYTES]
        return LogLine(task_id=self._task_id, at=seconds_of(stamp) or 0.0, stream=stream, text=text)
