"""Quantities as Compose writes them, to numbers with a unit: durations, sizes, CPUs, permissions, port ranges.

Each function raises ValueError with a sentence that says what to write instead; the caller knows where it stood.
"""

import math
import re
from decimal import Decimal, InvalidOperation

LARGEST = 2**63 - 1
LAST_PORT = 65535

_SECONDS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
}
_PART = re.compile(r"(\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(ns|us|µs|μs|ms|s|m|h|d|w)", re.ASCII)
_BYTES = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_SIZE = re.compile(r"(-?\d{1,20}(?:\.\d{1,20})?) ?([bkmgtp]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_OCTAL = re.compile(r"(?:0o?)?([0-7]{1,5})", re.ASCII)
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)


def seconds(value: object) -> float:
    """Return a duration such as "1m30s" in seconds."""
    text = str(value).strip()
    if text == "0":
        return 0.0
    total, end = Decimal(0), 0
    for part in _PART.finditer(text):
        if part.start() != end:
            break
        total, end = total + Decimal(part[1]) * _SECONDS[part[2]], part.end()
    if end != len(text) or not text or isinstance(value, bool):
        raise ValueError(f'{text[:40]!r} is not a duration; write a number with a unit, such as "90s" or "1m30s"')
    if total > LARGEST:
        raise ValueError(f"{text[:40]!r} is longer than any wait can be")
    return float(total)


def byte_count(value: object) -> int:
    """Return a size such as "64m" in bytes; units are powers of 1,024, and -1 stays -1."""
    found = _SIZE.fullmatch(str(value).strip())
    if found is None or isinstance(value, bool):
        raise ValueError(f'{str(value)[:40]!r} is not a size; write a number with a unit, such as "64m" or "2g"')
    count = int(Decimal(found[1]) * _BYTES[found[2].lower()])
    if abs(count) > LARGEST:
        raise ValueError(f"{str(value)[:40]!r} is more than any machine has")
    return count


def cpu_nano(value: object) -> int:
    """Return a number of CPUs such as 0.5 in billionths of one."""
    try:
        count = Decimal(str(value).strip())
    except InvalidOperation:
        count = Decimal("nan")
    if isinstance(value, bool) or not count.is_finite() or not 0 <= count < 2**32:
        raise ValueError(f"{str(value)[:40]!r} is not a number of CPUs; write a number such as 0.5")
    return round(count * 10**9)


def integer(value: object) -> int:
    """Return a whole number, also when it is written as text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d{1,19}", text, re.ASCII) or abs(int(text)) > LARGEST:
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)


def number(value: object) -> float:
    """Return a finite number, also when it is written as text."""
    try:
        found = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{str(value)[:40]!r} is not a number")
    return found


def permission(value: object) -> int:
    """Return an octal permission such as "0440" as a number."""
    found = _OCTAL.fullmatch(str(value).strip())
    if found is None or int(found[1], 8) > 0o7777:
        raise ValueError(f'{str(value)[:40]!r} is not a permission; write octal digits in quotes, such as "0440"')
    return int(found[1], 8)


def port_range(value: object) -> tuple[int, int] | None:
    """Return first and last port of "8080" or "8080-8090"; None for "" and "0", which leave the choice open."""
    text = str(value).strip()
    if text in {"", "0"}:
        return None
    found = _PORTS.fullmatch(text)
    if found is None:
        raise ValueError(f'{text[:40]!r} is not a port; write "8080" or a range such as "8080-8090"')
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= LAST_PORT:
        raise ValueError(f"{text!r} is no range of ports; ports go from 1 to {LAST_PORT}, the lower one first")
    return first, last
