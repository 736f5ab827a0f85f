"""Structured events: `noun.verb` plus keys, one line each; JSON unless a person reads along.

Levels mean: debug = for its author; info = something changed; warning = may heal by itself; error = somebody lost
something. Values are encoded, never pasted, so no value can break a line or forge another event.
"""

import sys
import time
from typing import Literal

import msgspec

Level = Literal["debug", "info", "warning", "error"]

_RANK: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_threshold = _RANK["info"]


def set_level(level: Level) -> None:
    """Drop events below *level* from now on, in this process."""
    global _threshold  # noqa: PLW0603 - one process, one log
    _threshold = _RANK[level]


def event(level: Level, name: str, /, **keys: object) -> None:
    """Write one event to standard error.

    Args:
        level: How much it matters.
        name: `noun.verb`, listed in docs/reference/events.md.
        keys: What it was about; values that JSON cannot hold are written as their repr.
    """
    if _RANK[level] < _threshold:
        return
    line = msgspec.json.encode({"at": round(time.time(), 3), "level": level, "event": name, **keys}, enc_hook=repr)
    if sys.stderr.isatty():
        said = " ".join(f"{key}={msgspec.json.encode(value, enc_hook=repr).decode()}" for key, value in keys.items())
        sys.stderr.write(f"{level:7} {name} {said}\n")
    else:
        sys.stderr.write(line.decode() + "\n")
    sys.stderr.flush()
