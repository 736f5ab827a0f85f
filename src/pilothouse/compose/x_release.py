"""`x-pilothouse.release` as a ReleasePolicy: what its words and numbers mean; their sense is judged elsewhere."""

import re

from pilothouse.compose.quantities import seconds
from pilothouse.compose.reader import Reader
from pilothouse.compose.x_pilothouse import KEY, JudgeBlock, ReleaseBlock, StepBlock, service_block
from pilothouse.model.spec import Judge, ReleasePolicy, ReleaseStep, Strategy

PATH = f"{KEY}.release"
_STRATEGIES = {strategy.value: strategy for strategy in Strategy}
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,12})?")


def release(service: Reader) -> ReleasePolicy:
    """Return how new tasks of *service* take over from old ones."""
    block = service_block(service).release
    if block is None:
        return ReleasePolicy()
    if block.strategy not in _STRATEGIES:
        service.error(f"{PATH}.strategy", f"{block.strategy[:40]!r} is not known; write {' or '.join(_STRATEGIES)}")
    return ReleasePolicy(
        strategy=_STRATEGIES.get(block.strategy, Strategy.ROLLING),
        steps=tuple(_step(service, f"{PATH}.steps[{at}]", step) for at, step in enumerate(block.steps)),
        judge=_judge(service, block.judge),
        settle_seconds=_wait(service, block, "settle"),
        deadline_seconds=_wait(service, block, "deadline"),
    )


def _step(service: Reader, path: str, step: StepBlock) -> ReleaseStep:
    return ReleaseStep(weight=step.weight, hold_seconds=_seconds(service, f"{path}.for", step.hold))


def _judge(service: Reader, block: JudgeBlock | None) -> Judge:
    if block is None:
        return Judge()
    plain = Judge()
    rate = _number(service, f"{PATH}.judge.error_rate", block.error_rate, "%", 'a share such as 0.01 or "1%"')
    ratio = _number(service, f"{PATH}.judge.p95", block.p95, "x", 'a ratio such as 1.5 or "1.5x"')
    percent = isinstance(block.error_rate, str) and block.error_rate.strip().endswith("%")
    return Judge(
        error_rate=plain.error_rate if rate is None else rate / (100 if percent else 1),
        p95_ratio=plain.p95_ratio if ratio is None else ratio,
        requests=block.requests,
    )


def _number(service: Reader, path: str, value: float | str, unit: str, wanted: str) -> float | None:
    """Return a number that may be written with its unit, or None after a finding was noted."""
    text = str(value).strip().removesuffix(unit).rstrip()
    if isinstance(value, str) and not _NUMBER.fullmatch(text):
        service.error(path, f"{str(value)[:40]!r} is no number; write {wanted}")
        return None
    return float(text)


def _wait(service: Reader, block: ReleaseBlock, key: str) -> float | None:
    written: str = getattr(block, key)
    return _seconds(service, f"{PATH}.{key}", written) if written else None


def _seconds(service: Reader, path: str, value: str) -> float:
    try:
        return seconds(value)
    except ValueError as problem:
        service.error(path, str(problem))
        return 1.0
