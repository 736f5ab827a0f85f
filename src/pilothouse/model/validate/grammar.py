"""How names, references and other texts must look, and what no text or number of a spec may be."""

import ipaddress
import math
import re
from collections.abc import Iterator

import msgspec

Finding = tuple[str, str]

LARGEST = 2**63 - 1
LONGEST_TEXT = 131_072  # the kernel's limit for one argument or variable

ENGINE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}\Z")
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(?:\.{LABEL})*\Z")
MAC_ADDRESS = re.compile(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\Z")
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?/)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"{_DOMAIN}{_COMPONENT}(?:/{_COMPONENT})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@[a-z0-9+.-]+:[0-9a-f]{{32,128}})?\Z"
)
LONGEST_REFERENCE = 512


def image(path: str, reference: str) -> Iterator[Finding]:
    """Yield what is wrong with an image reference."""
    if len(reference) > LONGEST_REFERENCE or not _REFERENCE.match(reference):
        yield (
            path,
            f"{reference[:80]!r} is no image reference; write NAME:TAG in lower case, such as shop/web:1.2",
        )


def address(path: str, text: str, version: int | None = None) -> Iterator[Finding]:
    """Yield what is wrong with an IP address; "" is fine."""
    try:
        found = ipaddress.ip_address(text) if text else None
    except ValueError:
        yield path, f"{text[:80]!r} is no IP address; write one such as 10.1.2.3 or fd00::5"
        return
    if found is not None and version not in {None, found.version}:
        yield path, f"{text!r} is an IPv{found.version} address where IPv{version} belongs"


def within(path: str, value: float, lowest: float, highest: float) -> Iterator[Finding]:
    """Yield a finding if *value* is outside of *lowest* to *highest*."""
    if not lowest <= value <= highest:
        yield path, f"{value:g} is outside of {lowest:g} to {highest:g}"


def one_of(path: str, value: str, known: frozenset[str]) -> Iterator[Finding]:
    """Yield a finding if *value* is none of *known*."""
    if value not in known:
        yield path, f"{value[:80]!r} is not known; write {', '.join(sorted(name for name in known if name))}"


def absolute(path: str, target: str) -> Iterator[Finding]:
    """Yield what is wrong with a place in the container to mount something on."""
    if not target.startswith("/") or ".." in target.split("/"):
        yield path, f"{target[:80]!r} must be an absolute path without '..', such as /data"
    elif not target.strip("/"):
        yield path, "the whole file system cannot be replaced; write a directory below /"


def numbers_and_texts(value: object, path: str) -> Iterator[Finding]:
    """Yield every text and number in *value* that no machine could use, at any depth."""
    if isinstance(value, str):
        yield from _text(path, value)
    elif isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) > LARGEST:
            yield path, "is larger than any machine can count"
    else:
        for where, inner in _parts(value, path):
            yield from numbers_and_texts(inner, where)


def _parts(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield the path and value of everything directly inside of *value*; an app's parts go by their keys."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield f"{path}.{name}" if path else name, getattr(value, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path} (a key)", key
            yield f"{path}.{key[:80]}", inner
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            key = "" if "." in path else getattr(inner, "key", "") or getattr(inner, "name", "")
            yield f"{path}.{key[:80]}" if key else f"{path}[{index}]", inner


def _text(path: str, text: str) -> Iterator[Finding]:
    if len(text) > LONGEST_TEXT:
        yield path, f"is {len(text):,} characters long; at most {LONGEST_TEXT:,} can be passed on"
    if "\0" in text or not _encodable(text):
        yield path, "holds a character that no program can be given (NUL or half of a surrogate pair); remove it"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
