"""When a node removes images by itself, as `PILOTHOUSE_IMAGES` says: "begin=85,end=80,age=2m,remove=ours"."""

from collections.abc import Mapping

from pilothouse.agent.images.decide import Policy, Scope
from pilothouse.cli import times
from pilothouse.errors import InvalidRequestError

VARIABLE = "PILOTHOUSE_IMAGES"


def image_policy(environment: Mapping[str, str]) -> Policy:
    """Return what *environment* says, with the defaults for what it leaves out.

    Raises:
        InvalidRequestError: It says something else.
    """
    text = environment.get(VARIABLE, "")
    said = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
    unknown = sorted(set(said) - {"begin", "end", "age", "remove"})
    if unknown:
        raise _wrong(text, f"{unknown[0]!r} is none of begin, end, age, remove")
    begins, ends = _share(text, said.get("begin", "85")), _share(text, said.get("end", "80"))
    if ends > begins:
        raise _wrong(text, "removing would end before it begins: end must not be above begin")
    scopes = {scope.value: scope for scope in Scope}
    scope = scopes.get(said.get("remove", Scope.OURS.value))
    if scope is None:
        raise _wrong(text, f"remove is one of {', '.join(scopes)}")
    return Policy(begins=begins, ends=ends, age_seconds=times.parse_duration(said.get("age", "2m")), scope=scope)


def _share(text: str, percent: str) -> float:
    if not percent.isascii() or not percent.isdigit() or not 1 <= int(percent) <= 99:
        raise _wrong(text, f"{percent!r} is no percentage from 1 to 99")
    return int(percent) / 100


def _wrong(text: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{VARIABLE}={text!r}: {why}; write for example begin=85,end=80,age=2m,remove=ours (or all, or none)"
    )
