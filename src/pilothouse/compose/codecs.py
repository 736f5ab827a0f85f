"""Scalars and string mappings: from their canonical value to what a loaded project holds."""

from collections.abc import Callable, Mapping

from pilothouse.compose import amounts, casts, words
from pilothouse.compose.shapes import Pairs, Tree

Warn = Callable[[str], None]
_MAX_UNSIGNED = 2**64


def _text(value: Tree, warn: Warn) -> str:
    del warn
    return "" if value is None else casts.as_text(value)


def _flag(value: Tree, warn: Warn) -> bool:
    return casts.flag(value, warn) if isinstance(value, str) else bool(value)


def _whole(value: Tree, warn: Warn) -> int:
    return casts.whole(value, warn) if isinstance(value, str) else int(value)


def _number(value: Tree, warn: Warn) -> int:
    del warn
    if isinstance(value, str):
        raise ValueError(f"{value!r} is text; write the number without quotes")
    return int(value)


def _unsigned(value: Tree, warn: Warn) -> int:
    number = _whole(value, warn)
    if not 0 <= number < _MAX_UNSIGNED:
        raise ValueError(f"{number} is out of range; write zero or more")
    return number


def _float32(value: Tree, warn: Warn) -> float:
    number = casts.real(value, warn) if isinstance(value, str) else float(value)
    return casts.rounded(number)


def _size(value: Tree, warn: Warn) -> str:
    del warn
    if isinstance(value, float):
        raise ValueError(f"{casts.as_text(value)} is not a size; write a whole number of bytes, or a unit like 512m")
    return str(amounts.size_bytes(value) if isinstance(value, str) else value)


def _duration(value: Tree, warn: Warn) -> str:
    del warn
    return amounts.printed_duration(amounts.nanoseconds(casts.as_text(value)))


def _mode(value: Tree, warn: Warn) -> str:
    del warn
    if isinstance(value, float):
        raise ValueError(f"{casts.as_text(value)} is not a file mode; write it in octal, like 0440")
    return f"0{amounts.file_mode(value) if isinstance(value, str) else value:o}"


def _count(value: Tree, warn: Warn) -> int:
    if isinstance(value, str):
        return -1 if value.lower() == "all" else casts.whole(value, warn)
    return int(value)


SCALARS: dict[str, Callable[[Tree, Warn], Tree]] = {
    "count": _count,
    "duration": _duration,
    "flag": _flag,
    "float32": _float32,
    "mode": _mode,
    "nanocpus": _float32,
    "number": _number,
    "printed": _text,
    "size": _size,
    "text": _text,
    "unsigned": _unsigned,
    "whole": _whole,
}

#: What stands for nothing in a key that is always written.
KEPT_ZEROS: dict[str, Tree] = {"text": "", "size": "0", "number": 0, "whole": 0}

#: What each scalar codec makes of nothing; a value equal to it is left out unless its shape keeps it.
ZEROS: dict[str, tuple[Tree, ...]] = {
    "duration": ("0s",),
    "size": ("0",),
    "mode": (),
}


def pairs(value: Tree, shape: Pairs) -> Tree:
    """Return a string mapping in its loaded form.

    Raises:
        ValueError: If an entry cannot be one; the message names it.
    """
    found = _PAIRS[shape.codec](value)
    return dict(sorted(found.items())) if isinstance(found, dict) else found


def _labels(value: Tree) -> Tree:
    return _mapping(value)


def _mapping(value: Tree) -> dict[str, str]:
    if isinstance(value, list):
        split = [casts.as_text(item).partition("=") for item in value]
        return {name: text for name, _, text in split}
    return {name: "" if item is None else casts.as_text(item) for name, item in value.items()}


def _environment(value: Tree) -> dict[str, str | None]:
    if not isinstance(value, list):
        return {name: None if item is None else casts.as_text(item) for name, item in value.items()}
    found: dict[str, str | None] = {}
    for item in value:
        name, equals, text = casts.as_text(item).partition("=")
        if name[-1:].isspace():
            raise ValueError(f"the variable {name!r} ends with a space; remove it")
        found[name] = text if equals else None
    return found


def _multi(value: Mapping[str, Tree]) -> dict[str, list[str]]:
    return {
        name: [casts.as_text(part) for part in (item if isinstance(item, list) else [item])]
        for name, item in value.items()
    }


def _hosts(value: Tree) -> list[str]:
    found: dict[str, list[str]] = {}
    if isinstance(value, list):
        for item in value:
            text = casts.as_text(item)
            name, sign, address = text.partition("=") if "=" in text else text.partition(":")
            if not sign:
                raise ValueError(f"{text!r} has no address; write HOST=ADDRESS")
            found.setdefault(name, []).extend(address.split(","))
    else:
        for name, item in value.items():
            found[name] = (
                [casts.as_text(part) for part in item]
                if isinstance(item, list)
                else ["" if item is None else casts.as_text(item)]
            )
    for name in found:
        if not name or ":" in name or "=" in name:
            raise ValueError(f"{name!r} is not a host name; write HOST=ADDRESS")
    return sorted(f"{name}={_unbracketed(address)}" for name, addresses in found.items() for address in addresses)


def _unbracketed(address: str) -> str:
    return address[1:-1] if len(address) > 2 and address[0] == "[" and address[-1] == "]" else address


def _ssh(value: Mapping[str, Tree]) -> list[dict[str, str]]:
    return [{"id": name, **({"path": casts.as_text(path)} if path else {})} for name, path in sorted(value.items())]


_PAIRS: dict[str, Callable[[Tree], Tree]] = {
    "environment": _environment,
    "hosts": _hosts,
    "labels": _labels,
    "mapping": _mapping,
    "multi": _multi,
    "options": _mapping,
    "ssh": _ssh,
    "texts": _mapping,
}


def command(value: Tree, codec: str, warn: Warn) -> list[str] | None:
    """Return a command as a list of words; a health check in one string goes to a shell.

    Raises:
        ValueError: If it cannot be split.
    """
    if value is None or isinstance(value, list):
        return value
    if codec == "test":
        return ["CMD-SHELL", value]
    found, rest = words.split(value)
    if rest:
        warn(f"command {value!r} is cut before {rest!r}, which only a shell can read: write [sh, -c, '…']")
    return found
