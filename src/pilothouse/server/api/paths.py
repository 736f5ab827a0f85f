"""One normal form for paths: what does not have it is refused, so no two spellings of a path are judged differently."""

import re
import urllib.parse

from pilothouse.server.api.problems import HttpError

MAX_PATH = 2048
# Encoded or not, these make two readers see two different paths.
_FORBIDDEN = re.compile(
    rb"%(?:2f|5c|2e|25|3b|7f|[01][0-9a-f])|\\|//|;|[\x00-\x20\x7f-\xff]|/\.{1,2}(?:/|\Z)", re.IGNORECASE
)
_PERCENT = re.compile(rb"%(?![0-9a-fA-F]{2})")


def segments(raw_path: bytes) -> tuple[str, ...]:
    """Return the decoded segments of a path.

    Raises:
        HttpError: It is not in normal form, not UTF-8, or too long.
    """
    if len(raw_path) > MAX_PATH:
        raise HttpError(414, "Path too long", f"the path has more than {MAX_PATH} bytes; shorten it")
    if not raw_path.startswith(b"/") or _FORBIDDEN.search(raw_path) or _PERCENT.search(raw_path):
        raise _odd()
    try:
        return tuple(urllib.parse.unquote_to_bytes(part).decode() for part in raw_path[1:].split(b"/"))
    except UnicodeDecodeError:
        raise _odd() from None


def _odd() -> HttpError:
    return HttpError(
        400,
        "Ambiguous path",
        "the path is not in its normal form: write it without '//', '.' segments, ';', '\\' and encoded slashes",
    )
