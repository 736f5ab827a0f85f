"""Server-sent events: how one is written, and the beat that keeps an idle stream from looking dead."""

import msgspec

KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = b": still here\n\n"


def message(name: str, content: object, id: str = "") -> bytes:
    """Return one event; JSON has no line breaks, so its data is one line."""
    head = f"id: {id}\n" if id else ""
    return f"{head}event: {name}\ndata: ".encode() + msgspec.json.encode(content) + b"\n\n"
