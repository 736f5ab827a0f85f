"""One line for each service of an app that is being watched: pure functions of a view and, for clocks, of the time."""

from pilothouse.cli.times import short
from pilothouse.model.api import AppView, ServiceView
from pilothouse.model.counts import count
from pilothouse.model.release_api import ReleaseView, RolloutView
from pilothouse.model.rollout import RolloutState

Row = tuple[str, str, str, str]
"""A service's name, how far it is, why, and its mark: "done", "failed" or ""."""


def rows(view: AppView, now: float | None) -> dict[str, Row]:
    """Return a row for each service of *view*; with *now* they have running clocks and counters."""
    rollouts = {each.service: each for each in rolling(view.release)}
    return {
        service.name: rollout_row(rollouts[service.name], now)
        if service.name in rollouts and not service.removing
        else (*service_row(service), mark(service))
        for service in view.services
    }


def service_row(service: ServiceView) -> tuple[str, str, str]:
    """Return (name, how far, what it waits for or why it failed)."""
    if service.removing:
        return service.name, "", service.sentence
    if service.mode.endswith("job") or service.completed > service.running:
        far = f"{service.completed}/{service.wanted} completed"
    elif service.running == service.healthy:
        far = f"{service.healthy}/{service.wanted} healthy"
    else:
        far = f"{service.healthy}/{service.wanted} healthy, {service.running} running"
    if service.outdated:
        far += f", {service.outdated} to replace"
    return service.name, far, service.sentence


def mark(service: ServiceView) -> str:
    """Return "done", "failed" or "" for a service."""
    if service.failed:
        return "failed"
    return "done" if service.converged else ""


def rollout_row(rollout: RolloutView, now: float | None) -> Row:
    """Return the row of a service whose tasks are being replaced: "rolling  3/8 new, 5 old, 1 starting"."""
    counts = [f"{rollout.updated}/{rollout.wanted} new"]
    counts += [f"{rollout.old} old"] if rollout.old else []
    counts += [f"{rollout.starting} starting"] if rollout.starting else []
    far = f"{rollout.state.value} {', '.join(counts)}"
    failed = rollout.state is RolloutState.FAILED
    why = "; ".join(filter(None, (_stage(rollout), rollout.waits_for if failed else _waits(rollout, now))))
    return rollout.service, far, why, "failed" if failed else ""


def rolling(release: ReleaseView | None) -> list[RolloutView]:
    """Return the services whose tasks a release replaces, or has yet to; a first one only makes them."""
    if release is None or release.state.over:
        return []
    return [
        each
        for each in release.services
        if each.state is not RolloutState.DONE and (release.base or each.old or each.state is RolloutState.PAUSED)
    ]


def _stage(rollout: RolloutView) -> str:
    if not rollout.step:
        return ""
    share = f", {rollout.weight} % of traffic" if rollout.weight is not None else ""
    return f"step {rollout.step} of {rollout.steps}{share}"


def _waits(rollout: RolloutView, now: float | None) -> str:
    if not rollout.waits_for:
        return ""
    ends = rollout.until is not None and now is not None and rollout.until > now
    if rollout.state is RolloutState.HELD and now is not None:
        counted = _counted(rollout)
        when = (
            f"judged in {short(rollout.until - now)}" if ends and rollout.until is not None else "waits for the judge"
        )
        return f"{when}{f' ({counted})' if counted else ''}"
    return f"waits for {rollout.waits_for}{_clock(rollout, now)}"


def _clock(rollout: RolloutView, now: float | None) -> str:
    """Return how long it waits already, or how long it has yet to: " (12 s)", " (18 s left)"."""
    if now is None:
        return ""
    if rollout.until is not None and rollout.state in {RolloutState.MONITORING, RolloutState.HELD}:
        return f" ({short(max(0.0, rollout.until - now))} left)"
    return f" ({short(now - rollout.since)})" if rollout.since and now >= rollout.since else ""


def _counted(rollout: RolloutView) -> str:
    if rollout.requests is None:
        return ""
    return f"{count(rollout.requests, 'request')}, {count(rollout.errors or 0, 'error')}"
