"""What crosses between a client and the API about plans and releases; see `model.api` for everything else."""

import enum

from pilothouse.model.base import Value
from pilothouse.model.objects import FieldChange
from pilothouse.model.placement_api import Planned
from pilothouse.model.refusal import Refusal
from pilothouse.model.release import ReleaseKind, ReleaseState, Verdict
from pilothouse.model.rollout import Evidence, RolloutState
from pilothouse.model.spec import Strategy


class RolloutView(Value, frozen=True, kw_only=True):
    """One service of a release as people watch it.

    Attributes:
        wanted: How many tasks the service should have.
        updated: New tasks that are ready and have settled.
        starting: New tasks that are to run and are not ready yet, or have not settled; not what is only prepared.
        old: Live tasks of an older release.
        step, steps: Of a canary or blue/green, from 1; 0 of 0 otherwise.
        weight: Percent of the traffic that goes to the new tasks while both are there, or None.
        waits_for: What it waits for, in words; "" if nothing.
        since: Since when it waits for that (or is in its state).
        until: When the wait ends at the latest if it is for a time, or None.
        requests, errors: What the proxies counted of the new tasks in this step, or None if nothing is measured.
    """

    service: str
    state: RolloutState
    strategy: Strategy = Strategy.ROLLING
    wanted: int = 0
    updated: int = 0
    starting: int = 0
    old: int = 0
    step: int = 0
    steps: int = 0
    weight: int | None = None
    waits_for: str = ""
    since: float = 0.0
    until: float | None = None
    requests: int | None = None
    errors: int | None = None


class ReleaseView(Value, frozen=True, kw_only=True):
    """One release as `releases ls`, `up` and the app's watch show it; fields as in `model.release.Release`.

    Attributes:
        paused: A person paused it.
        rolled_back_by: The number of the release that restored what was before it, or 0.
        services: Only of the app's newest release: how far each service is.
    """

    app: str
    number: int
    kind: ReleaseKind
    state: ReleaseState
    sentence: str = ""
    since: float = 0.0
    paused: bool = False
    base: int = 0
    copies: int = 0
    undoes: int = 0
    rolled_back_by: int = 0
    created_at: float = 0.0
    created_by: str = ""
    message: str = ""
    changes: tuple[FieldChange, ...] = ()
    images: dict[str, str] = {}
    evidence: Evidence | None = None
    verdicts: tuple[Verdict, ...] = ()
    services: tuple[RolloutView, ...] = ()


class ReleaseDiff(Value, frozen=True, kw_only=True):
    """What differs between two releases of an app, field by field; contents of secrets never appear."""

    app: str
    before: int
    after: int
    changes: tuple[FieldChange, ...] = ()


class RollbackRequest(Value, frozen=True, kw_only=True):
    """Make an earlier release what runs; as a new release that repeats it.

    Attributes:
        release: Its number; 0 is the newest stable one before the present one.
        expect: Refuse unless the app's newest release has this number; None does not care.
    """

    release: int = 0
    expect: int | None = None
    message: str = ""


class RestartRequest(Value, frozen=True, kw_only=True):
    """Have the tasks of services replaced as they are, as a new release; () is every service."""

    services: tuple[str, ...] = ()
    message: str = ""


class PlannedAction(enum.Enum):
    """What a plan would do to a service."""

    CREATE = "create"
    REPLACE = "replace"
    SCALE = "scale"
    ADJUST = "adjust"
    REMOVE = "remove"
    KEEP = "keep"


class PlannedService(Value, frozen=True, kw_only=True):
    """What a plan would do to one service.

    Attributes:
        changes: Field by field, what differs.
        tasks: How many tasks it has and would have.
        rollout: One sentence: strategy, order, how many at once, how long each must settle, what a failure leads to.
        waits_for: What must be before its first new task starts, each a sentence.
        steps: The once-per-release steps that would be run before, in order, each as its command line.
        risks: What may be noticed or go wrong, each a sentence that says what would avoid it.
        image: The engine's content id of its image, or "" if the image is not on the node yet.
        stops: The ids of the live tasks that would be stopped: replaced, or not wanted any more.
        nodes: How many of its new tasks would go to each node, by the node's name; {} where there is one node only.
        places: Where its new tasks would go, those that would wait or take the room of others first; at most 100.
    """

    name: str
    action: PlannedAction
    changes: tuple[FieldChange, ...] = ()
    tasks: tuple[int, int] = (0, 0)
    rollout: str = ""
    waits_for: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    image: str = ""
    stops: tuple[str, ...] = ()
    nodes: dict[str, int] = {}
    places: tuple[Planned, ...] = ()


class PlanView(Value, frozen=True, kw_only=True):
    """What deploying a manifest would do now; nothing was changed.

    Attributes:
        base: The app's newest release when the plan was made (0: there is none); what `DeployRequest.expect` takes.
        release: The number the new release would have; equal to *base* if nothing would change.
        changes: Of the app beside its services: networks, volumes, secrets, configs, ownership.
        services: In the order in which they would be rolled out; those that nothing waits for first.
        refusals, errors: What would be refused, and why; with any of them the deployment would not be done.
        supersedes: The sentence that says which rollout is still going on and would be superseded, or "".
        digest: The same if and only if the same spec, contents and options are asked for; tells nothing about contents.
    """

    app: str
    base: int
    release: int
    changes: tuple[FieldChange, ...] = ()
    services: tuple[PlannedService, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    supersedes: str = ""
    digest: str = ""
