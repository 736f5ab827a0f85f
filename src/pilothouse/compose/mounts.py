"""The short form of a mount: `[SOURCE:]TARGET[:OPTIONS]`."""

import posixpath

from pilothouse.compose.shapes import Tree

_PROPAGATIONS = frozenset({"rprivate", "private", "rshared", "shared", "rslave", "slave"})


def long_form(value: Tree) -> Tree:
    """Return a mount in its long form."""
    return parse(value) if isinstance(value, str) else value


def parse(text: str) -> dict[str, Tree]:
    """Return the long form of a short one.

    Raises:
        ValueError: If text has an empty part or too many of them.
    """
    if not text:
        raise ValueError("a mount cannot be empty; write SOURCE:TARGET")
    parts = [text] if len(text) <= 2 else _split(text)
    if any(not part for part in parts):
        raise ValueError(f"{text!r} has an empty part between colons; write SOURCE:TARGET or SOURCE:TARGET:OPTIONS")
    if len(parts) > 3:
        raise ValueError(f"{text!r} has too many colons; write the long form with type, source and target")
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    is_path = _is_path(source)
    long: dict[str, Tree] = {"type": "bind" if is_path else "volume", "target": _clean(target)}
    if source:
        long["source"] = source
    bind, named = _options(parts[2].split(",") if len(parts) == 3 else [], long)
    if is_path:
        bind["create_host_path"] = True
    if bind:
        long["bind"] = bind
    if named or (not is_path and len(text) > 2):
        long["volume"] = named
    return long


def _options(options: list[str], long: dict[str, Tree]) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """Set read_only in long, and return what the options say about a bind and about a volume."""
    bind: dict[str, Tree] = {}
    named: dict[str, Tree] = {}
    for option in options:
        if option == "ro":
            long["read_only"] = True
        elif option == "rw":
            long.pop("read_only", None)
        elif option == "nocopy":
            named["nocopy"] = True
        elif option in _PROPAGATIONS:
            bind["propagation"] = option
        elif option in {"z", "Z"}:
            bind["selinux"] = option
    return bind, named


def _clean(target: str) -> str:
    cleaned = posixpath.normpath(target)
    return "/" + cleaned.lstrip("/") if cleaned.startswith("//") else cleaned


def _split(text: str) -> list[str]:
    """Split at colons, but not after a drive letter and not inside `${...}`."""
    parts = [""]
    depth = 0
    for index, sign in enumerate(text):
        if sign == "$" and text[index + 1 : index + 2] == "{":
            depth += 1
        elif sign == "}" and depth:
            depth -= 1
        if sign == ":" and not depth and not (len(parts[-1]) == 1 and parts[-1].isalpha()):
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _is_path(source: str) -> bool:
    return source[:1] in {".", "/", "~"} or source.startswith("\\\\") or (source[:1].isalpha() and source[1:2] == ":")
