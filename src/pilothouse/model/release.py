"""A release: an immutable, numbered revision of an app, and what became of it."""

import enum

from pilothouse.model.base import Object, Value
from pilothouse.model.objects import FieldChange, ResolvedImage
from pilothouse.model.rollout import Evidence, Golden, Stage
from pilothouse.model.spec import AppSpec


class ReleaseKind(enum.Enum):
    """What asked for it."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    RESTART = "restart"


class ReleaseState(enum.Enum):
    """What became of a release. ROLLING and ROLLING_BACK go on; the others are its end, but STABLE may be superseded.

    ROLLING: its tasks are being made.
    STABLE: every service was as it says, and stayed so for its monitor window.
    FAILED: it stopped; what runs of the release before runs on.
    ROLLING_BACK: it failed, and the release it is based on is being restored.
    ROLLED_BACK: it failed, and another release restored what was before.
    SUPERSEDED: a newer release came before it was stable.
    """

    ROLLING = "rolling"
    STABLE = "stable"
    FAILED = "failed"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    SUPERSEDED = "superseded"

    @property
    def over(self) -> bool:
        """Whether the platform does nothing more for it."""
        return self not in {ReleaseState.ROLLING, ReleaseState.ROLLING_BACK}


class Verdict(Value, frozen=True, kw_only=True):
    """What the judge said of one stage of one service, with its numbers.

    Attributes:
        outcome: "promote", "roll-back" or "wait" (not enough was seen).
        sentence: Why, with the numbers in words.
        old, new: What was counted of either set.
        error_p: The probability of so many errors, or more, if the new tasks were as good as the old ones.
        old_p95_ms, new_p95_ms: 95th percentile of the latency, or None if it is not known.
    """

    service: str
    step: int
    at: float
    outcome: str
    sentence: str
    old: Golden = Golden()
    new: Golden = Golden()
    error_p: float | None = None
    latency_p: float | None = None
    old_p95_ms: float | None = None
    new_p95_ms: float | None = None


class Release(Object, frozen=True, kw_only=True):
    """One revision of an app; its id is "APP/NUMBER" with the number in six digits, so that ids sort.

    Everything but the fields from *state* on is written once, in the transaction that made the app so.

    Attributes:
        number: From 1; `App.revision` is the number of the newest one.
        images: What each service's image reference resolved to, by service.
        step_images: What the images of its once-per-release steps resolved to, by service and reference.
        secret_versions, config_versions: The version of each file's content, by key.
        restarts: For each service, the number of the release that last asked for its tasks to be replaced as they are
            (`Service.restarts_requested`).
        base: The number of the stable release to go back to if this one fails; 0 if there is none.
        copies: The number of the release whose content this one repeats (a rollback), or 0.
        undoes: The number of the release that failed and is rolled back by this one, or 0.
        message: What the person who made it said about it.
        changes: What differs from the release before it, at most 200 fields.
        stages: For each service with a canary or blue/green strategy, how far it may go now.
        verdicts: What the judge said, oldest first; the last of each step.
        evidence: What shows that it failed.
    """

    app: str
    number: int
    kind: ReleaseKind = ReleaseKind.DEPLOY
    spec: AppSpec
    images: dict[str, ResolvedImage] = {}
    step_images: dict[str, dict[str, ResolvedImage]] = {}
    secret_versions: dict[str, str] = {}
    config_versions: dict[str, str] = {}
    restarts: dict[str, int] = {}
    base: int = 0
    copies: int = 0
    undoes: int = 0
    created_at: float = 0.0
    created_by: str = ""
    message: str = ""
    changes: tuple[FieldChange, ...] = ()
    state: ReleaseState = ReleaseState.ROLLING
    sentence: str = ""
    since: float = 0.0
    stages: dict[str, Stage] = {}
    verdicts: tuple[Verdict, ...] = ()
    evidence: Evidence | None = None


class FileVersion(Object, frozen=True, kw_only=True):
    """A content that a secret or config had before its newest one, kept while a release or a live task needs it.

    Its id is "KIND/APP/KEY/VERSION"; *kind* is "secret" (*stored* is sealed, as in `Secret`) or "config".
    """

    app: str
    kind: str
    key: str
    content_version: str
    stored: bytes


class Traffic(Object, frozen=True, kw_only=True):
    """What one node's proxy measured of a service whose release is being judged; its id is "APP/SERVICE/NODE".

    Attributes:
        fingerprint: Of the new tasks.
        measured_from, measured_at: Wall-clock seconds; the counts are of what came between.
    """

    app: str
    service: str
    node_id: str
    fingerprint: str
    measured_from: float = 0.0
    measured_at: float = 0.0
    old: Golden = Golden()
    new: Golden = Golden()


def release_id(app: str, number: int) -> str:
    """Return the id of release *number* of *app*."""
    return f"{app}/{number:06d}"


def file_version_id(kind: str, app: str, key: str, version: str) -> str:
    """Return the id of the file version of that content."""
    return f"{kind}/{app}/{key}/{version}"
