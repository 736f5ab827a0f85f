"""Server-sent events: how one is written, and the beat that keeps an idle stream from looking dead."""

import msgspec

from pilothouse.server.fan import Piece
from pilothouse.server.history import events_of
from pilothouse.store.interface import Commit

KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = b": still here\n\n"


def message(name: str, content: object, id: str = "") -> bytes:
    """Return one event; JSON has no line breaks, so its data is one line."""
    head = f"id: {id}\n" if id else ""
    return f"{head}event: {name}\ndata: ".encode() + msgspec.json.encode(content) + b"\n\n"


def events(commit: Commit) -> tuple[Piece, ...]:
    """Return what happened in *commit*, each with its app and as it is written."""
    return tuple((one.app, message("event", one, id=f"{one.revision}.{one.index}")) for one in events_of(commit))
