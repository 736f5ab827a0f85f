"""What the answers to probes mean, as pure functions: of one probe over time, and of all checks of a task together."""

from collections.abc import Mapping

import msgspec

from pilothouse.agent.machine import Checks
from pilothouse.model.base import Value
from pilothouse.model.container import Healthcheck
from pilothouse.model.objects import Health
from pilothouse.model.spec import Probe, ProbeKind, Probes

EARLY_SECONDS = 0.05
ENGINE_INTERVAL_SECONDS = 30.0
ENGINE_TIMEOUT_SECONDS = 30.0


class Answers(Value, frozen=True, kw_only=True):
    """What came of one probe so far.

    Attributes:
        passing: None until it passed or failed often enough for the first time.
        streak: The length of the present run of equal answers: positive passed, negative failed.
        asked: How often it was asked.
        message: What the last failure was.
    """

    passing: bool | None = None
    streak: int = 0
    asked: int = 0
    message: str = ""


def answered(probe: Probe, before: Answers, message: str) -> Answers:
    """Return *before* with one more answer: *message* says what failed, "" that it passed."""
    streak = min(before.streak, 0) - 1 if message else max(before.streak, 0) + 1
    passing = before.passing
    if streak >= probe.successes:
        passing = True
    elif -streak >= probe.failures:
        passing = False
    return Answers(
        passing=passing,
        streak=streak,
        asked=before.asked + 1,
        message=message or (before.message if not passing else ""),
    )


def wait_seconds(probe: Probe, answers: Answers, *, eager: bool) -> float:
    """Return the wait before the next question; an *eager* one begins at 50 ms and backs off to its interval."""
    if not eager or answers.passing:
        return probe.interval_seconds
    return min(probe.interval_seconds, EARLY_SECONDS * 2.0 ** min(answers.asked, 30))


def early_check(check: Healthcheck | None) -> Probe | None:
    """Return the probe that asks a Compose `healthcheck` before the engine does, or None if there is nothing to ask."""
    if check is None or len(check.test) < 2 or check.test[0] not in {"CMD", "CMD-SHELL"}:
        return None
    command = check.test[1:] if check.test[0] == "CMD" else ("/bin/sh", "-c", check.test[1])
    return Probe(
        kind=ProbeKind.EXEC,
        command=command,
        interval_seconds=check.start_interval_seconds or check.interval_seconds or ENGINE_INTERVAL_SECONDS,
        timeout_seconds=check.timeout_seconds or ENGINE_TIMEOUT_SECONDS,
    )


def combine(probes: Probes, answers: Mapping[str, Answers], engine: str) -> Checks:
    """Return what all checks of a running task say together.

    Args:
        probes: Those of its spec.
        answers: What came of them, by "startup", "live", "ready" and "check" (a `healthcheck` asked by the agent).
        engine: What the engine's own check says: "none", "starting", "healthy" or "unhealthy".
    """
    failing = _failing(probes, answers, engine)
    started = probes.startup is None or _passing(answers, "startup") is True
    open_to_traffic = probes.ready is None or _passing(answers, "ready") is True
    health = _health(probes, answers, engine, started=started, failing=bool(failing))
    ready = started and open_to_traffic and health in {Health.NONE, Health.HEALTHY}
    return Checks(health=health, ready=ready, failing=failing)


def settled(was_ready: bool, health: Health) -> dict[str, Answers]:
    """Return the answers to begin with when a task was taken up that ran before: what was known of it holds."""
    passed = Answers(passing=True, streak=1, asked=1)
    kept = {"startup": passed, "ready": passed} if was_ready else {}
    return kept | ({"check": passed} if health is Health.HEALTHY else {})


def _failing(probes: Probes, answers: Mapping[str, Answers], engine: str) -> str:
    if engine == "unhealthy":
        return "its health check failed as often as its retries allow"
    if probes.live is not None and _passing(answers, "live") is False:
        live = answers["live"]
        return f"its live probe failed {-live.streak} times in a row: {live.message}"
    return ""


def _health(probes: Probes, answers: Mapping[str, Answers], engine: str, *, started: bool, failing: bool) -> Health:
    if failing:
        return Health.UNHEALTHY
    if engine == "none" and probes == Probes():
        return Health.NONE
    checked = engine != "starting" or _passing(answers, "check") is True
    seen_ready = probes.ready is None or _passing(answers, "ready") is not None
    return Health.HEALTHY if checked and started and seen_ready else Health.STARTING


def _passing(answers: Mapping[str, Answers], name: str) -> bool | None:
    return answers.get(name, Answers()).passing


def forgiving(probe: Probe) -> Probe:
    """Return *probe* such that failing never becomes a verdict: until it passes, it is only not passing yet."""
    return msgspec.structs.replace(probe, failures=1 << 62)
