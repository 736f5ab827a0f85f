"""`x-pilothouse.placement` and `cut_off`: what their words and numbers mean; their sense is judged elsewhere."""

import difflib
import enum
import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from pilothouse.compose.quantities import seconds
from pilothouse.compose.reader import Reader
from pilothouse.compose.x_pilothouse import KEY, PlacementBlock, TogetherBlock, service_block
from pilothouse.model.placement import (
    PRIORITIES,
    Affinity,
    Packing,
    Placement,
    Pool,
    Preference,
    Spread,
    Toleration,
)
from pilothouse.model.spec import CutOff, CutOffAction

PATH = f"{KEY}.placement"
CUT_OFF = f"{KEY}.cut_off"
_WORDS = {action.value: action for action in (CutOffAction.KEEP, CutOffAction.FENCE)}
_PERCENT = re.compile(r"\s*(\d{1,9})\s*%?\s*", re.ASCII)
E = TypeVar("E", bound=enum.Enum)


def placement(service: Reader, written: Placement) -> Placement:
    """Return *written*, what `deploy.placement` of *service* says, with what its `x-pilothouse` block adds."""
    block = service_block(service).placement
    if block is None:
        return written
    return msgspec.structs.replace(
        written,
        spread=(*written.spread, *_spread(service, block)),
        tolerations=tuple(Toleration(key=_any(each.key), value=each.value) for each in block.tolerate),
        preferences=tuple(Preference(constraint=each.constraint, weight=each.weight) for each in block.prefer),
        affinities=(*_together(block.near, apart=False), *_together(block.apart, apart=True)),
        pool=_one_of(service, "pool", block.pool, Pool),
        packing=_one_of(service, "packing", block.packing, Packing),
        priority=_priority(service, block.priority),
        preemptible=block.preemptible,
    )


def cut_off(service: Reader) -> CutOff | None:
    """Return what happens to the tasks of *service* on a node that is cut off; None if that is not written."""
    block = service_block(service).cut_off
    if block is None:
        return None
    if isinstance(block, str):
        if block not in _WORDS:
            service.error(CUT_OFF, f"{block[:40]!r} is not known; write keep, fence, or stop with a time: {{stop: 5m}}")
        return CutOff(action=_WORDS.get(block, CutOffAction.KEEP))
    try:
        return CutOff(action=CutOffAction.STOP, after_seconds=seconds(block.stop))
    except ValueError as problem:
        service.error(f"{CUT_OFF}.stop", str(problem))
        return None


def _any(key: str) -> str:
    """Return the key of a taint; "*" means all of them."""
    return "" if key == "*" else key


def _together(blocks: tuple[TogetherBlock, ...], *, apart: bool) -> Iterator[Affinity]:
    for each in blocks:
        level = "node" if each.level == "node.id" else each.level
        yield Affinity(service=each.service, level=level, apart=apart, weight=each.weight)


def _spread(service: Reader, block: PlacementBlock) -> Iterator[Spread]:
    for at, each in enumerate(block.spread):
        path = f"{PATH}.spread[{at}].targets"
        targets = {value: _percent(service, f"{path}.{value}", share) for value, share in each.targets.items()}
        yield Spread(level="node.id" if each.level == "node" else each.level, targets=targets)


def _percent(service: Reader, path: str, share: float | str) -> int:
    found = _PERCENT.fullmatch(str(share))
    if found is None or isinstance(share, bool):
        service.error(path, f"{str(share)[:40]!r} is no percentage; write a whole number such as 60%")
        return 0
    return int(found[1])


def _priority(service: Reader, written: int | str) -> int:
    if isinstance(written, int):
        return written
    if written in PRIORITIES:
        return PRIORITIES[written]
    if re.fullmatch(r"\d{1,9}", written, re.ASCII):
        return int(written)
    service.error(
        f"{PATH}.priority",
        f"{written[:40]!r} is not known; write {_words(written, PRIORITIES)}, or a number from 0 to 1000",
    )
    return PRIORITIES["normal"]


def _one_of(service: Reader, key: str, written: str, known: type[E]) -> E | None:
    words = {each.value: each for each in known}
    if written and written not in words:
        service.error(f"{PATH}.{key}", f"{written[:40]!r} is not known; write {_words(written, words)}")
    return words.get(written)


def _words(written: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(written[:40], known, 1)
    return near[0] if near else " or ".join(known)
