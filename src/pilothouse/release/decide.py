"""What becomes of an app's releases, as a pure function of what the services report and the time.

The releaser makes no task and edits no spec. It says what a release has come to, in one sentence each, and whether the
one before must be restored; restoring is the API's part, and shows here as a newer release.
"""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from pilothouse.model.counts import count
from pilothouse.model.objects import Service
from pilothouse.model.release import Release, ReleaseKind, ReleaseState
from pilothouse.model.rollout import Evidence, RolloutState
from pilothouse.release.scene import Scene, rollout
from pilothouse.release.stages import Progress, progress, stopped


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at an app calls for.

    Attributes:
        changes: Releases as they should be written.
        wake_at: When to look again in any case, or None.
    """

    changes: tuple[Release, ...] = ()
    wake_at: float | None = None


class Restoration(msgspec.Struct, frozen=True, kw_only=True):
    """That release *failed* of *app* must be followed by one that repeats release *to*; *reason* is one sentence."""

    app: str
    failed: int
    to: int
    reason: str


def decide(seen: Scene, now: float) -> Decision:
    """Return the changes of the app's releases; deciding again after they were made gives none."""
    if seen.app.removing:
        return Decision()
    changes = [after for before in seen.releases if (after := _overtaken(seen, before, now)) is not None]
    newest, wake_at = seen.newest, None
    if newest is not None:
        after, wake_at = _newest(seen, newest, now)
        if after != newest:
            changes.append(after)
    return Decision(changes=tuple(changes), wake_at=wake_at)


def restoration(seen: Scene) -> Restoration | None:
    """Return what must be restored because the app's newest release failed, if anything must."""
    newest = seen.newest
    if newest is None or newest.state is not ReleaseState.ROLLING_BACK:
        return None
    reason = f"release {newest.number} failed: {_cause(newest)}"
    return Restoration(app=newest.app, failed=newest.number, to=newest.base, reason=reason)


def refused(release: Release, why: str, now: float) -> Release:
    """Return *release* after what was before it could not be restored."""
    sentence = f"{_cause(release)}; release {release.base} could not be restored: {why}"
    return _enter(release, ReleaseState.FAILED, sentence, now, release.evidence)


def _overtaken(seen: Scene, release: Release, now: float) -> Release | None:
    """Return an older release that was not over, as what it is now."""
    if release.number >= seen.app.revision or release.state.over:
        return None
    undone = next((each.number for each in seen.releases if each.undoes == release.number), 0)
    if release.state is ReleaseState.ROLLING_BACK and undone:
        sentence = f"{_cause(release)}; release {undone} restores release {release.base}"
        return _enter(release, ReleaseState.ROLLED_BACK, sentence, now, release.evidence)
    newer = min((each.number for each in seen.releases if each.number > release.number), default=seen.app.revision)
    if release.state is ReleaseState.ROLLING_BACK:
        sentence = f"{_cause(release)}; release {newer} came before release {release.base} was restored"
    else:
        sentence = f"release {newer} came before it was stable"
    return _enter(release, ReleaseState.SUPERSEDED, sentence, now, release.evidence)


def _newest(seen: Scene, release: Release, now: float) -> tuple[Release, float | None]:
    """Return the app's newest release as it should be, and when to look again."""
    if release.state is ReleaseState.FAILED:
        return _after_failure(seen, release, now), None
    if release.state is not ReleaseState.ROLLING:
        return release, None
    looks = {service.name: _look(seen, release, service, now) for service in seen.services if not service.removing}
    release = _noted(release, looks)
    failures = sorted(_failures(seen, release, looks), key=lambda found: not found[1])
    if failures:
        evidence, back = failures[0]
        return _failed(release, evidence, back=back, now=now), None
    if _complete(seen, release):
        return _enter(release, ReleaseState.STABLE, _as_it_says(release), now), None
    return release, min((look.wake_at for look in looks.values() if look.wake_at is not None), default=None)


def _look(seen: Scene, release: Release, service: Service, now: float) -> Progress:
    answer = rollout(seen, release, service)
    base = next((each for each in seen.releases if each.number == release.base), None)
    return progress(release, service, answer, seen.traffic, now, base=base, paused=seen.app.paused)


def _noted(release: Release, looks: Mapping[str, Progress]) -> Release:
    """Return *release* with the stages and verdicts that *looks* came to; of each step the last verdict is kept."""
    stages = {name: look.stage for name, look in looks.items() if look.stage is not None}
    said = [look.verdict for look in looks.values() if look.verdict is not None]
    again = {(verdict.service, verdict.step) for verdict in said}
    kept = [verdict for verdict in release.verdicts if (verdict.service, verdict.step) not in again]
    return replace(release, stages={**release.stages, **stages}, verdicts=(*kept, *said))


def _after_failure(seen: Scene, release: Release, now: float) -> Release:
    """Return a failed release that goes on: a person says so, or it has come right by itself."""
    if seen.app.resumed_at > release.since:
        return _enter(release, ReleaseState.ROLLING, "goes on, as a person asked", now)
    if _complete(seen, release):
        return _enter(release, ReleaseState.STABLE, f"{_as_it_says(release)}, though it had failed before", now)
    return release


def _failures(seen: Scene, release: Release, looks: Mapping[str, Progress]) -> Iterator[tuple[Evidence, bool]]:
    """Yield what shows that a service failed, and whether that service wants what was before restored."""
    for service in seen.services:
        found, look = rollout(seen, release, service), looks.get(service.name)
        if look is None or found is None:
            continue
        if found.state is RolloutState.FAILED:
            cause = found.sentence or f"the rollout of {service.name} failed"
            evidence = found.evidence or Evidence(service=service.name, cause=cause)
            yield evidence if evidence.cause else replace(evidence, cause=cause), goes_back(release, service)
        elif look.guilty:
            yield Evidence(service=service.name, cause=look.guilty), goes_back(release, service)


def goes_back(release: Release, service: Service) -> bool:
    """Whether *release* is rolled back if *service* fails in it: as its `failure_action` says, if there is a way."""
    if release.kind is ReleaseKind.ROLLBACK or not release.base:
        return False
    return service.spec.update.failure_action in {"", "rollback"}


def _failed(release: Release, evidence: Evidence, *, back: bool, now: float) -> Release:
    """Return *release* after a service failed in it."""
    if back:
        sentence = evidence.cause + _restoring(release)
        # The traffic goes back at once; the tasks follow when the other release is there.
        release = replace(release, stages={name: stopped(stage) for name, stage in release.stages.items()})
        return _enter(release, ReleaseState.ROLLING_BACK, sentence, now, evidence)
    return _enter(release, ReleaseState.FAILED, f"{evidence.cause}; {_why_it_stays(release)}", now, evidence)


def _why_it_stays(release: Release) -> str:
    if release.kind is ReleaseKind.ROLLBACK:
        return "a rollback is not rolled back itself"
    if not release.base:
        return "no release before it was stable, so there is nothing to go back to"
    return "its failure_action does not ask for what was before, so nothing more is replaced"


def _complete(seen: Scene, release: Release) -> bool:
    """Whether every service is as *release* says, and every one that left it is gone."""
    services = {service.name: service for service in seen.services}
    if any(service.removing for service in seen.services):
        return False
    return all(
        (service := services.get(spec.name)) is not None
        and (found := rollout(seen, release, service)) is not None
        and found.state is RolloutState.DONE
        for spec in release.spec.services
    )


def _as_it_says(release: Release) -> str:
    services = len(release.spec.services)
    return f"{count(services, 'service')} as it says" if services else "it has no services"


def _restoring(release: Release) -> str:
    return f"; release {release.base} is being restored"


def _cause(release: Release) -> str:
    """Return why a release failed, without what was done about it."""
    return release.sentence.removesuffix(_restoring(release))


def _enter(
    release: Release, state: ReleaseState, sentence: str, now: float, evidence: Evidence | None = None
) -> Release:
    return replace(release, state=state, sentence=sentence, since=now, evidence=evidence)


__all__ = ["Decision", "Restoration", "decide", "goes_back", "refused", "restoration"]
