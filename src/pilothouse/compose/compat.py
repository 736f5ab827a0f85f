"""What becomes of each key a Compose file uses, with the place where it stands; reads one file as it is written.

Variables are not filled in, and `extends` and `include` are not followed: name the other files as well.
"""

import difflib
import re
from collections.abc import Iterator, Mapping

from pilothouse.compose import document
from pilothouse.compose.classes import KeyClass, Verdict, honoured, refused
from pilothouse.compose.problems import Path, nearest
from pilothouse.compose.project_classes import CONFIG, NETWORK, NETWORK_BELOW, PROJECT, SECRET, VOLUME
from pilothouse.compose.service_classes import SERVICE, SERVICE_BELOW
from pilothouse.compose.value_classes import BY_VALUE
from pilothouse.compose.x_pilothouse import KEY
from pilothouse.model.base import Value

_SECTIONS: dict[str, tuple[dict[str, Verdict], dict[str, Verdict]]] = {
    "services": (SERVICE, SERVICE_BELOW),
    "networks": (NETWORK, NETWORK_BELOW),
    "volumes": (VOLUME, {}),
    "secrets": (SECRET, {}),
    "configs": (CONFIG, {}),
}
_OURS = honoured("is for Pilothouse alone, see docs/reference/x-pilothouse.md")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class UsedKey(Value, frozen=True, kw_only=True):
    """One key of a file and what becomes of it; line and column count from 1."""

    path: str
    file: str
    line: int
    column: int
    verdict: Verdict

    @property
    def refused(self) -> bool:
        """Whether `pilothouse up` would not take the file because of it."""
        return self.verdict.key_class is KeyClass.REFUSED


def judge(content: bytes, file: str) -> tuple[UsedKey, ...]:
    """Return the verdict for each key in *content*, in the order of the file.

    Raises:
        InvalidManifestError: It is no YAML, or a mapping was expected.
    """
    found: list[UsedKey] = []
    for doc in document.read(content, file):
        for path, verdict in _document(doc.value):
            mark = nearest(doc.marks, path, file)
            found.append(
                UsedKey(path=_dotted(path), file=mark.file, line=mark.line, column=mark.column, verdict=verdict)
            )
    return tuple(sorted(found, key=lambda used: (used.line, used.column)))


def _document(value: object) -> Iterator[tuple[Path, Verdict]]:
    for key, inner in value.items() if isinstance(value, Mapping) else ():
        if key == KEY:
            yield (key,), _OURS
        elif key.startswith("x-"):
            continue
        elif key not in PROJECT:
            yield (key,), _unknown(key, PROJECT)
        elif key not in _SECTIONS:
            yield (key,), PROJECT[key]
        else:
            for name, entry in inner.items() if isinstance(inner, Mapping) else ():
                yield from _entry(key, (key, name), entry)


def _entry(section: str, path: Path, entry: object) -> Iterator[tuple[Path, Verdict]]:
    known, below = _SECTIONS[section]
    for key, value in entry.items() if isinstance(entry, Mapping) else ():
        if key == KEY and section == "services":
            yield (*path, key), _OURS
        elif key.startswith("x-"):
            continue
        elif key not in known:
            yield (*path, key), _unknown(key, known)
        elif value is False and key == "external":
            yield (*path, key), honoured("false is the default")
        else:
            yield from _key(section, (*path, key), value, known[key])
            yield from _deeper((*path, key), value, key, below)


def _key(section: str, path: Path, value: object, verdict: Verdict) -> Iterator[tuple[Path, Verdict]]:
    """Yield the key with the verdict its value earns, and what below it has another."""
    rule = BY_VALUE.get(str(path[-1])) if section == "services" else None
    special = list(rule(value)) if rule else []
    yield path, next((found for where, found in special if not where), verdict)
    for where, found in special:
        if where:
            yield (*path, *_steps(where)), found


def _deeper(path: Path, value: object, key: str, below: dict[str, Verdict]) -> Iterator[tuple[Path, Verdict]]:
    """Yield sub-keys that have a class of their own."""
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        dotted = f"{key}.{name}"
        if dotted in below:
            yield (*path, name), below[dotted]
        if any(other.startswith(f"{dotted}.") for other in below):
            yield from _deeper((*path, name), inner, dotted, below)


def _steps(where: str) -> Path:
    return tuple(int(index) if index else name for name, index in _STEP.findall(where))


def _dotted(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _unknown(key: str, known: Mapping[str, Verdict]) -> Verdict:
    near = difflib.get_close_matches(key, sorted(known), 1)
    advice = f"did you mean {near[0]}?" if near else "remove it, or begin its name with x- if it is a note"
    return refused("is not a key of the Compose Specification at this place", advice)
