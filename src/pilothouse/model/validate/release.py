"""`x-pilothouse.release`: steps lead upwards, limits can be reached, tasks can stand side by side."""

from collections.abc import Iterator

from pilothouse.model.container import MountKind
from pilothouse.model.spec import Judge, Mode, ReleasePolicy, ServiceSpec, Strategy, UpdateOrder
from pilothouse.model.validate.grammar import Finding, within
from pilothouse.model.validate.networks import fixed_addresses

LONGEST_HOLD = 86400.0
MOST_STEPS = 20


def release(path: str, spec: ServiceSpec) -> Iterator[Finding]:
    """Yield what is wrong with how one service is released."""
    policy, place = spec.release, f"{path}.x-pilothouse.release"
    yield from _judge(f"{place}.judge", policy.judge)
    if policy.settle_seconds is not None:
        yield from within(f"{place}.settle", policy.settle_seconds, 0, LONGEST_HOLD)
    if policy.deadline_seconds is not None:
        yield from within(f"{place}.deadline", policy.deadline_seconds, 1, LONGEST_HOLD)
    yield from _steps(f"{place}.steps", policy)
    if policy.strategy is not Strategy.ROLLING:
        yield from _side_by_side(path, spec)


def _judge(path: str, judge: Judge) -> Iterator[Finding]:
    yield from within(f"{path}.error_rate", judge.error_rate, 0, 1)
    yield from within(f"{path}.p95", judge.p95_ratio, 1, 1000)
    yield from within(f"{path}.requests", judge.requests, 1, 1_000_000_000)


def _steps(path: str, policy: ReleasePolicy) -> Iterator[Finding]:
    steps = policy.steps
    if not steps:
        return
    if policy.strategy is Strategy.ROLLING:
        yield path, "belong to strategy: canary or blue_green; name one of them, or leave the steps out"
    if len(steps) > MOST_STEPS:
        yield path, f"are {len(steps)}; at most {MOST_STEPS} can be told apart"
    for at, step in enumerate(steps):
        yield from within(f"{path}[{at}].weight", step.weight, 1, 100)
        yield from within(f"{path}[{at}].for", step.hold_seconds, 1, LONGEST_HOLD)
        if at and step.weight <= steps[at - 1].weight:
            yield (
                f"{path}[{at}].weight",
                f"is {step.weight} after {steps[at - 1].weight}; each step must have a larger share",
            )
    if policy.strategy is Strategy.BLUE_GREEN and (len(steps) > 1 or steps[0].weight != 100):
        yield path, "of blue_green can be one only, of weight 100: the whole traffic moves at once; or write canary"


def _side_by_side(path: str, spec: ServiceSpec) -> Iterator[Finding]:
    """Yield what keeps a new task from standing beside the old one of its slot."""
    body, strategy = spec.task.container, spec.release.strategy.value
    place = f"{path}.x-pilothouse.release.strategy"
    if spec.mode is not Mode.REPLICATED:
        yield place, f"{strategy} needs mode: replicated, and the service is {spec.mode.value}; leave it out"
        return
    if spec.update.order is UpdateOrder.STOP_FIRST:
        yield place, f"{strategy} runs old and new tasks side by side, but update_config.order is stop-first; keep one"
    in_the_way = [
        *fixed_addresses(body),
        *(["container_name"] if body.container_name else []),
        *(["network_mode: host"] if body.network_mode == "host" else []),
        *(["a port that the engine publishes"] if any(not port.ingress for port in body.ports) else []),
    ]
    for what in in_the_way:
        yield place, f"{strategy} runs old and new tasks side by side, which {what} does not allow; leave one out"
    shared = {MountKind.VOLUME, MountKind.BIND}
    writes = [mount.source for mount in body.mounts if mount.kind in shared and mount.source and not mount.read_only]
    if writes and spec.update.order is not UpdateOrder.START_FIRST:
        yield (
            place,
            f"{strategy} runs old and new tasks side by side, and both would write to {writes[0]}; if they can, say so "
            "with deploy.update_config.order: start-first",
        )
