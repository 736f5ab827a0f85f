"""What a release policy comes to: its steps, and how many slots take part in each. Pure; whoever shows it asks here."""

import math

from pilothouse.model.spec import ReleasePolicy, ReleaseStep, Strategy

HOLD_SECONDS = 30.0
"""How long a step is watched at least, if it is not written."""

CANARY_STEPS = tuple(ReleaseStep(weight=weight, hold_seconds=HOLD_SECONDS) for weight in (5, 25, 50))
BLUE_GREEN_STEPS = (ReleaseStep(weight=100, hold_seconds=HOLD_SECONDS),)


def steps_of(policy: ReleasePolicy) -> tuple[ReleaseStep, ...]:
    """Return the steps of *policy*: as written, else the platform's; () for a rolling one."""
    match policy.strategy:
        case Strategy.CANARY:
            return policy.steps or CANARY_STEPS
        case Strategy.BLUE_GREEN:
            return policy.steps or BLUE_GREEN_STEPS
        case Strategy.ROLLING:
            return ()


def tasks_of(policy: ReleasePolicy, step: int, replicas: int) -> int:
    """Return how many of *replicas* slots have a new task beside the old one in *step* (from 0)."""
    if policy.strategy is Strategy.BLUE_GREEN:
        return replicas
    return min(replicas, max(1, math.ceil(steps_of(policy)[step].weight * replicas / 100)))
