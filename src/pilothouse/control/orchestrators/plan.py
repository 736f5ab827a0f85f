"""A decision while it is being made: changes, notices and the next time to look, without what is so already."""

from pilothouse.control.orchestrators.changes import Create, Decision, Desire
from pilothouse.control.orchestrators.scene import Slot
from pilothouse.model.objects import Task
from pilothouse.model.rollout import Rollout, StepRecord
from pilothouse.model.states import TaskState


class Plan:
    """What one look at one service calls for, so far."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._changes: list[Create | Desire] = []
        self._notices: list[str] = []
        self._ended: list[StepRecord] = []
        self._wake_at: float | None = None
        self._rollout: Rollout | None = None

    def create(self, create: Create) -> None:
        """Have a task made; one that waits for a time is looked at again then."""
        self._changes.append(create)
        if create.not_before > self.now:
            self.look_again(create.not_before)

    def want(self, task: Task, state: TaskState, reason: str) -> None:
        """Want *task* in *state*; nothing if it is wanted so for that reason already."""
        if task.desired_state is not state or task.desired_reason != reason:
            self._desire(Desire(task_id=task.id, state=state, reason=reason))

    def stop(self, task: Task, reason: str) -> None:
        """Want *task* stopped; the first reason stays."""
        if task.desired_state is not TaskState.SHUTDOWN and not task.state.terminal:
            self._desire(Desire(task_id=task.id, state=TaskState.SHUTDOWN, reason=reason))

    def _desire(self, desire: Desire) -> None:
        """Add what is wanted of a task; of two the later one counts, but what is to stop stops for the first reason."""
        before = next(
            (each for each in self._changes if isinstance(each, Desire) and each.task_id == desire.task_id), None
        )
        if before is None:
            self._changes.append(desire)
        elif before.state is not TaskState.SHUTDOWN:
            self._changes[self._changes.index(before)] = desire

    def withdraw(self, slot: Slot, task: Task, reason: str) -> None:
        """Want *task* stopped and take it out of its *slot*, as it will be seen afterwards.

        A task that no node knows of is dead by that alone; any other is in the slot until it has stopped.
        """
        self.stop(task, reason)
        slot.outdated = [other for other in slot.outdated if other is not task]
        slot.extra = [other for other in slot.extra if other is not task]
        if task.state >= TaskState.ASSIGNED:
            slot.stopping = [*slot.stopping, task]

    def remember(self, record: StepRecord) -> None:
        """Have it remembered that a step ended."""
        self._ended.append(record)

    def notice(self, sentence: str) -> None:
        """Say something that somebody should read."""
        if sentence not in self._notices:
            self._notices.append(sentence)

    def report(self, rollout: Rollout) -> None:
        """Say how far the newest release has come here."""
        self._rollout = rollout

    def look_again(self, at: float) -> None:
        """Ask for another look at a time, if it is yet to come."""
        if at > self.now and (self._wake_at is None or at < self._wake_at):
            self._wake_at = at

    def decision(self) -> Decision:
        """Return what was collected."""
        return Decision(
            changes=tuple(self._changes),
            notice="; ".join(self._notices),
            rollout=self._rollout,
            wake_at=self._wake_at,
            ended=tuple(self._ended),
        )
