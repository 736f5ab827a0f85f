"""How far a change of one service has come, and what a release lets it do next: values that loops tell each other.

The orchestrator writes a `Rollout`, the releaser a `Stage`; neither reads anything else of the other.
"""

import enum

from pilothouse.model.base import Value


class RolloutState(enum.Enum):
    """Where the rollout of a service stands.

    WAITING: none of its tasks is being replaced yet; the sentence says what for (a dependency, a step).
    ROLLING: tasks are being replaced, or the first ones made.
    HELD: as far as its stage lets it go; a canary or a green set is being judged.
    MONITORING: every slot has its new task and every old one was told to stop; the monitor window is not over.
    PAUSED: a person paused the app.
    FAILED: too many new tasks failed or the deadline passed; nothing more is replaced.
    DONE: as the release says.
    """

    WAITING = "waiting"
    ROLLING = "rolling"
    HELD = "held"
    MONITORING = "monitoring"
    PAUSED = "paused"
    FAILED = "failed"
    DONE = "done"


class Evidence(Value, frozen=True, kw_only=True):
    """What shows that a rollout failed.

    Attributes:
        task_id: Of the task that shows it, or "".
        task: Its name as people know it: "web.2".
        cause: One sentence.
        log_tail: The last lines it wrote.
    """

    service: str
    task_id: str = ""
    task: str = ""
    cause: str = ""
    log_tail: tuple[str, ...] = ()


class Rollout(Value, frozen=True, kw_only=True):
    """Where one service stands in a release; written when it changes, not at every look.

    Attributes:
        release: The number of the release it is about (`App.revision` when it was written); 0 is none.
        sentence: What it waits for or why it failed; "" if there is nothing to say.
        since: When *state* was entered, in seconds since the epoch.
        held: With HELD, for how many tasks of its stage that holds.
        evidence: Set with FAILED.
    """

    release: int = 0
    state: RolloutState = RolloutState.DONE
    sentence: str = ""
    since: float = 0.0
    held: int = 0
    evidence: Evidence | None = None


class Golden(Value, frozen=True, kw_only=True):
    """What the proxy counted of one set of tasks since the measurement began.

    Attributes:
        requests: Finished ones; for raw TCP, connections.
        errors: Of these, answered with a status of 500 or more, reset or timed out.
        buckets: Cumulative latency histogram: (upper bound in milliseconds, requests not slower), ascending.
    """

    requests: int = 0
    errors: int = 0
    buckets: tuple[tuple[float, int], ...] = ()


class Counted(Value, frozen=True, kw_only=True):
    """What had been counted of both sets at some moment; the judge looks at what came after.

    Attributes:
        fingerprint: Of the new tasks that were counted; "" if nothing was.
    """

    fingerprint: str = ""
    old: Golden = Golden()
    new: Golden = Golden()


class Stage(Value, frozen=True, kw_only=True):
    """How far a canary or blue/green release lets one service go; a rolling one needs no stage.

    Attributes:
        step: From 0; index into the steps of the service's release policy.
        tasks: So many slots may have a new task beside their old one; the old ones stay.
        weight: Percent of the traffic that goes to the new tasks; the rest goes to the old ones.
        promoted: The verdict is in its favour: every slot gets a new task, and the old ones go.
        since: When this stage began; once the new tasks have their weight of the traffic, when they got it.
        counted: At *since*, once the new tasks have their weight; None before.
        warmed: When the first requests of new tasks, which are slower than all others, were over; None before.
    """

    step: int = 0
    tasks: int = 0
    weight: int = 0
    promoted: bool = False
    since: float = 0.0
    counted: Counted | None = None
    warmed: Counted | None = None


class StepRecord(Value, frozen=True, kw_only=True):
    """That a once-per-release step ended; as long as it is kept the step is not run again for that fingerprint.

    Attributes:
        fingerprint: What the tasks that needed it were made from.
        index: Of the `pre_start` hook.
        done: It ended with exit code 0.
    """

    fingerprint: str
    index: int
    task_id: str
    done: bool
    ended_at: float = 0.0
    message: str = ""
