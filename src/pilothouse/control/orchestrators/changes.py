"""What a decider decided, as data: each change carries the sentence that says why."""

from pilothouse.model.base import Value
from pilothouse.model.rollout import Rollout, StepRecord
from pilothouse.model.states import TaskState


class Create(Value, frozen=True, kw_only=True):
    """Make a task; fields as in `model.objects.Task`.

    Attributes:
        like: The id of a dead task to copy the spec from; "" takes the service's present spec.
        step: The index of the `pre_start` hook to run as a step, -1 for a task in a slot.
    """

    slot: int
    node_id: str = ""
    failures: int = 0
    not_before: float = 0.0
    reason: str
    replaces: str = ""
    desired_state: TaskState = TaskState.RUNNING
    desired_reason: str = ""
    like: str = ""
    step: int = -1


class Desire(Value, frozen=True, kw_only=True):
    """Want another state of a task, or the same one for another reason."""

    task_id: str
    state: TaskState
    reason: str


class Decision(Value, frozen=True, kw_only=True):
    """All that one look at a service calls for.

    Attributes:
        notice: What the service's notice should be; "" takes it away.
        rollout: What the service's rollout should be; None leaves it as it is.
        wake_at: When to look again even if nothing happens, or None.
        ended: Steps that ended and are not remembered yet.
    """

    changes: tuple[Create | Desire, ...] = ()
    notice: str = ""
    rollout: Rollout | None = None
    wake_at: float | None = None
    ended: tuple[StepRecord, ...] = ()
