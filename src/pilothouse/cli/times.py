"""Times as people write and read them. Parsing is strict: what is not understood is refused, never guessed."""

import datetime
import re

from pilothouse.errors import InvalidRequestError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+\Z")


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as "90s", "1h30m" or "500ms".

    Raises:
        InvalidRequestError: It is none.
    """
    if not _WHOLE.match(text):
        raise InvalidRequestError(
            f"{text[:40]!r} is not a duration: write numbers with units, such as 500ms, 90s, 1h30m or 7d"
        )
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def parse_past(text: str, now: float) -> float:
    """Return the time, in seconds since the epoch, of a duration ago ("10m") or a time stamp."""
    return now - parse_duration(text) if _WHOLE.match(text) else _parse_stamp(text)


def parse_future(text: str, now: float) -> float:
    """Return the time of a duration from now ("30d") or a time stamp that has not passed.

    Raises:
        InvalidRequestError: It is neither, or has passed.
    """
    at = now + parse_duration(text) if _WHOLE.match(text) else _parse_stamp(text)
    if at <= now:
        raise InvalidRequestError(
            f"{text!r} has passed already: write a time to come, such as 30d or {stamp(now)[:4]}…"
        )
    return at


def _parse_stamp(text: str) -> float:
    try:
        if not re.match(r"\d{4}-\d{2}-\d{2}", text):
            raise ValueError
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequestError(
            f"{text[:40]!r} is not a time: write a duration such as 10m or 2h, a date such as 2026-03-01, or a time "
            "stamp such as 2026-03-01T12:00:00Z"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()


def stamp(at: float) -> str:
    """Return *at* as an RFC 3339 time in UTC, to the second."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def fine_stamp(at: float) -> str:
    """Return *at* as an RFC 3339 time in UTC, to the millisecond."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(at: float, now: float) -> str:
    """Return how long ago *at* was, in its largest whole unit."""
    seconds = max(0.0, now - at)
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def short(seconds: float) -> str:
    """Return *seconds* as people say it while they wait: "12 s", "2 min 5 s", "3 h 10 min"."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
