"""The standard gRPC health question in the few HTTP/2 frames it takes: one unary call without TLS, then goodbye.

Only what `grpc.health.v1.Health/Check` needs. Headers that come back are not read; the answer is in the data frame, and
a call that failed has none.
"""

import asyncio
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK, _PADDED = 1, 4, 1, 8
_SERVING = 1
_NAMES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_MAX_FRAME = 1 << 16


async def ask_health(address: str, port: int, service: str) -> str:
    """Return "" if the server says that *service* is SERVING, else one sentence.

    Raises:
        OSError, EOFError: The connection failed or was cut.
    """
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + request(f"{address}:{port}", service))
        await writer.drain()
        answer = await _answer(reader, writer)
    finally:
        writer.close()
    if answer is None:
        return f"port {port} has no gRPC health service that knows {service!r}"
    status = status_of(answer)
    return "" if status == _SERVING else f"the gRPC health service on port {port} says {_NAMES.get(status, status)}"


def request(authority: str, service: str) -> bytes:
    """Return the HEADERS and DATA frames of the call on stream 1."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "pilothouse-probe"),
    )
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    data = b"\x00" + struct.pack(">I", len(message)) + message
    return _frame(_HEADERS, _END_HEADERS, 1, block) + _frame(_DATA, _END_STREAM, 1, data)


def status_of(data: bytes) -> int:
    """Return field 1 of the HealthCheckResponse in a length-prefixed gRPC message; an absent field is 0."""
    message = data[5:]
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
    """Return the message of stream 1, or None if the call ended without one."""
    data = b""
    while True:
        head = await reader.readexactly(9)
        length, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        stream = int.from_bytes(head[5:9]) & 0x7FFFFFFF
        if length > _MAX_FRAME:
            raise OSError(f"a frame of {length} bytes is more than a health answer needs")
        payload = await reader.readexactly(length)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY or (kind == _RST_STREAM and stream == 1):
            return data or None
        elif kind == _DATA and stream == 1:
            data += payload[1 : len(payload) - payload[0]] if flags & _PADDED and payload else payload
            if len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[1:5]):
                return data
        if kind in {_DATA, _HEADERS} and stream == 1 and flags & _END_STREAM:
            return data or None


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _text(value: str) -> bytes:
    """Return an HPACK string without Huffman coding."""
    data = value.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    return b"\x7f" + _varint(len(data) - 127) + data


def _varint(number: int) -> bytes:
    made = bytearray()
    while number >= 128:
        made.append(number % 128 | 128)
        number //= 128
    return bytes((*made, number))
