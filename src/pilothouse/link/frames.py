"""What stands on the wire: frames to bytes and bytes to frames. Pure: no socket, no clock, no meaning.

A frame is its length (4 bytes, of what follows), its kind (1, the highest bit says that more of the same body
follows), the length of its name (1), its conversation (8), its name and its body. Numbers are big-endian.
"""

import enum
import struct
from collections.abc import Iterator
from typing import NamedTuple

from pilothouse.errors import SessionLostError, TooLargeError

FRAME_BYTES = 16 << 20
"""No frame is longer, its length field aside; whoever announces a longer one is not understood."""

PART_BYTES = 128 << 10
"""A longer body is cut into parts, so that others get their turn between them."""

BODY_BYTES = 256 << 20
"""No body is longer, however many parts it has."""

_HEAD = struct.Struct(">IBBQ")
_LENGTH_BYTES = 4
_REST_BYTES = _HEAD.size - _LENGTH_BYTES
_MORE = 0x80
_NAME_BYTES = 64


class Kind(enum.IntEnum):
    """What a frame is for.

    ASK and STREAM begin a conversation and carry its name. ANSWER ends a question; ITEM is one of a stream, END its
    end; ERROR ends either. CREDIT lets so many more bytes of a stream come. CANCEL says that the asker left. CLOSE,
    of conversation 0, ends the connection and says why.
    """

    ASK = 1
    STREAM = 2
    ANSWER = 3
    ITEM = 4
    END = 5
    ERROR = 6
    CREDIT = 7
    CANCEL = 8
    CLOSE = 9


_IN_PARTS = frozenset({Kind.ASK, Kind.STREAM, Kind.ANSWER, Kind.ITEM})
_KINDS = {int(kind): kind for kind in Kind}


class Frame(NamedTuple):
    """One frame; *more* says that its body goes on in the next frame of its conversation."""

    kind: Kind
    conversation: int
    name: str = ""
    body: bytes = b""
    more: bool = False


def encode(frame: Frame) -> bytes:
    """Return the bytes of one frame.

    Raises:
        TooLargeError: Its body or its name is longer than a frame may carry.
    """
    name = frame.name.encode()
    length = _REST_BYTES + len(name) + len(frame.body)
    if length > FRAME_BYTES or len(name) > _NAME_BYTES:
        raise TooLargeError(
            f"a frame of {length} bytes with a name of {len(name)} cannot be sent; at most {FRAME_BYTES} and "
            f"{_NAME_BYTES} can"
        )
    return b"".join((
        _HEAD.pack(length, frame.kind | (_MORE if frame.more else 0), len(name), frame.conversation),
        name,
        frame.body,
    ))  # fmt: skip


def encode_parts(kind: Kind, conversation: int, name: str, body: bytes) -> Iterator[bytes]:
    """Yield the bytes of as many frames as *body* needs, each of one part; one frame if it fits.

    Raises:
        TooLargeError: The body is longer than BODY_BYTES.
    """
    if len(body) > BODY_BYTES:
        raise TooLargeError(f"a body of {len(body)} bytes cannot be sent; at most {BODY_BYTES} can")
    if len(body) <= PART_BYTES:
        yield encode(Frame(kind, conversation, name, body))
        return
    view = memoryview(body)
    for start in range(0, len(body), PART_BYTES):
        part = bytes(view[start : start + PART_BYTES])
        yield encode(Frame(kind, conversation, "" if start else name, part, more=start + PART_BYTES < len(body)))


class Decoder:
    """Turns bytes, however they were split, into frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take *data* and return the frames that are whole now.

        Raises:
            SessionLostError: The bytes are no frames; nothing that follows can be understood.
        """
        held = self._held
        held += data
        found: list[Frame] = []
        at = 0
        while len(held) - at >= _HEAD.size:
            length, kind, name_bytes, conversation = _HEAD.unpack_from(held, at)
            _check(length, kind, name_bytes)
            end = at + _LENGTH_BYTES + length
            if len(held) < end:
                break
            found.append(_frame(kind, conversation, bytes(held[at + _HEAD.size : end]), name_bytes))
            at = end
        del held[:at]
        return found


def _check(length: int, kind: int, name_bytes: int) -> None:
    known = _KINDS.get(kind & ~_MORE)
    if known is None:
        raise SessionLostError(f"the other end sent a frame of the unknown kind {kind & ~_MORE}; is it Pilothouse?")
    if kind & _MORE and known not in _IN_PARTS:
        raise SessionLostError(f"the other end sent a frame of kind {known.name} in parts, which that kind never is")
    if not _REST_BYTES <= length <= FRAME_BYTES:
        raise SessionLostError(f"the other end announced a frame of {length} bytes; at most {FRAME_BYTES} are taken")
    if name_bytes > min(_NAME_BYTES, length - _REST_BYTES):
        raise SessionLostError(f"the other end sent a name of {name_bytes} bytes in a frame of {length}")


def _frame(kind: int, conversation: int, rest: bytes, name_bytes: int) -> Frame:
    try:
        name = rest[:name_bytes].decode()
    except UnicodeDecodeError as error:
        raise SessionLostError(f"the other end sent a name that is no text ({error.reason})") from error
    return Frame(_KINDS[kind & ~_MORE], conversation, name, rest[name_bytes:], bool(kind & _MORE))
