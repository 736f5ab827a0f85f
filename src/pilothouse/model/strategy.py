"""What a release policy comes to: its steps, and how many slots take part in each. Pure; whoever shows it asks here."""

import math

from pilothouse.model.release import Release, ReleaseKind
from pilothouse.model.spec import ReleasePolicy, ReleaseStep, ServiceSpec, Strategy

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


def goes_in_stages(release: Release, base: Release | None, name: str) -> bool:
    """Whether *release* lets the service *name* have new tasks only stage by stage; else it is rolled out at once.

    It does where the service asks for it and its tasks differ from those of *base*, the stable release before it. What
    is rolled back to has been judged already.

    Args:
        release: The newest one of its app.
        base: The release of the number `release.base`; None if it is not kept any more.
        name: Of the service.
    """
    service = _service(release, name)
    if service is None or service.release.strategy is Strategy.ROLLING or service.mode.job:
        return False
    if not release.base or release.kind is ReleaseKind.ROLLBACK:
        return False
    return base is None or differs(release, base, name)


def differs(one: Release, other: Release, name: str) -> bool:
    """Whether the tasks of the service *name* differ between two releases of an app."""
    first, second = _service(one, name), _service(other, name)
    if first is None or second is None:
        return True
    container = first.task.container
    files = [grant.source for grant in (*container.secrets, *container.configs)]
    return (
        first.task != second.task
        or one.images.get(name) != other.images.get(name)
        or one.restarts.get(name, 0) != other.restarts.get(name, 0)
        or any(one.secret_versions.get(key) != other.secret_versions.get(key) for key in files)
        or any(one.config_versions.get(key) != other.config_versions.get(key) for key in files)
        or any(edge.restart and differs(one, other, edge.service) for edge in first.depends_on)
    )


def _service(release: Release, name: str) -> ServiceSpec | None:
    return next((service for service in release.spec.services if service.name == name), None)
