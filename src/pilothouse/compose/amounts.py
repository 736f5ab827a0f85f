"""Durations, sizes and file modes: from how people write them to one canonical form."""

import re

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+) ?([a-zA-Z]{0,3})")
_FACTORS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_MAX = 2**63 - 1
_MAX_TEXT = 64


def nanoseconds(text: str) -> int:
    """Return a duration such as `1h5m30s20ms`, in nanoseconds.

    Raises:
        ValueError: If text is none.
    """
    form = f"{text[:_MAX_TEXT]!r} is not a duration; write it like 30s, 1m30s or 500ms"
    rest = text.lstrip("+-") if text[:1] in {"+", "-"} and text[1:2] not in {"+", "-"} else text
    if rest == "0":
        return 0
    if not rest or len(rest) > _MAX_TEXT:
        raise ValueError(form)
    total = 0
    at = 0
    while at < len(rest):
        found = _PART.match(rest, at)
        if not found or found.end() == at or not (found[1] or found[2]) or found[3] not in _UNITS:
            raise ValueError(form)
        unit = _UNITS[found[3]]
        total += int(found[1] or "0") * unit
        if found[2]:
            total += int(float(int(found[2])) * (float(unit) / 10.0 ** len(found[2])))
        at = found.end()
    if total > _MAX:
        raise ValueError(form)
    return -total if text.startswith("-") else total


def printed_duration(nano: int) -> str:
    """Return a duration in its canonical form, such as `1m30s` or `1.5s`."""
    if nano == 0:
        return "0s"
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    for unit, name in ((1_000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms")):
        if nano < unit:
            scale = unit // 1_000
            return sign + _decimal(nano, scale) + name
    minutes, rest = divmod(nano, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds = _decimal(rest, 1_000_000_000) + "s"
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def _decimal(amount: int, scale: int) -> str:
    whole, fraction = divmod(amount, scale)
    digits = str(fraction).zfill(len(str(scale)) - 1).rstrip("0") if fraction else ""
    return f"{whole}.{digits}" if digits else str(whole)


def size_bytes(text: str) -> int:
    """Return an amount such as `512m` or `1.5 GiB`, in bytes; units are powers of 1,024.

    Raises:
        ValueError: If text is none.
    """
    found = _SIZE.fullmatch(text) if len(text) <= _MAX_TEXT else None
    suffix = found[2].lower() if found else ""
    if not found or (suffix and not _is_unit(suffix)):
        raise ValueError(f"{text[:_MAX_TEXT]!r} is not a size; write it like 512m, 1g or 1048576")
    amount = int(float(found[1]) * _FACTORS.get(suffix[:1], 1))
    if amount > _MAX:
        raise ValueError(f"{text!r} is more than 64 bits can count; write a smaller size")
    return amount


def _is_unit(suffix: str) -> bool:
    return suffix == "b" or (suffix[0] in _FACTORS and suffix[1:] in {"", "b", "ib"})


def file_mode(text: str) -> int:
    """Return a file mode written in octal.

    Raises:
        ValueError: If text is none.
    """
    if len(text) > 8 or not re.fullmatch(r"[0-7]+", text):
        raise ValueError(f"{text[:_MAX_TEXT]!r} is not a file mode; write it in octal, like 0440")
    return int(text, 8)
