"""What a node without a lease may not do: start what must be single, run it on, and run on what is to be stopped.

Says of each task why it may not start and why it must end; who does it is the task's worker, and beside it the guard.
"""

import asyncio
import pathlib
from collections.abc import Callable

from pilothouse import log
from pilothouse.agent.guard.keeper import Keeper
from pilothouse.agent.guard.register import Register
from pilothouse.agent.lease import Lease
from pilothouse.agent.machine import Cut
from pilothouse.agent.runtime.interface import ContainerState
from pilothouse.clock import Clock
from pilothouse.errors import TemporaryError
from pilothouse.model.cut_off import KEEP
from pilothouse.model.objects import Task
from pilothouse.model.spec import CutOff, CutOffAction

CLEARING_SECONDS = 10.0
TROUBLE_SECONDS = 6.0
"""A guard that is away for less is being started."""

_NO_ANSWER = "its node had no answer from a manager for so long that another may be started"


def fence_of(run_directory: pathlib.Path, clock: Clock) -> "Fence":
    """Return the fence of a node that can be cut off, with the lease that an agent before this one may have had."""
    register = Register(run_directory / "guard")
    return Fence(Lease(clock, register.term), clock, register)


class Fence:
    """The node's lease, and what it means for each task.

    Attributes:
        lease: Renewed by the link to the manager.
        rules: By service, from the newest assignment.
    """

    def __init__(self, lease: Lease, clock: Clock, register: Register | None = None) -> None:
        """Guard by the files of *register*; without one nobody but the agent itself kills what is fenced."""
        self.lease = lease
        self.rules: dict[str, CutOff] = {}
        self._clock = clock
        self._register = register
        self._keeper = Keeper(register, clock) if register is not None else None
        self._needed = asyncio.Event()
        self._news = asyncio.Event()
        self._clearing: set[str] = set()
        self._clear_by = 0.0
        self._watched_at = clock.monotonic()
        lease.changed = self._renewed

    def _renewed(self, term: object) -> None:
        if self._register is not None:
            self._register.keep(self.lease.term)
        self._news.set()

    def rule(self, task: Task) -> CutOff:
        """Return what becomes of *task* here when no manager can be reached; a step of a release runs to its end."""
        return KEEP if task.step >= 0 or self.lease.endless else self.rules.get(task.service_id, KEEP)

    def fenced(self, task: Task) -> bool:
        """Whether *task* must not run without a lease."""
        return self.rule(task).action is CutOffAction.FENCE

    def assigned(self, rules: dict[str, CutOff]) -> None:
        """Take over the rules of a new assignment, and that the session has said what belongs on the node."""
        self.rules = rules
        self.lease.confirm()
        if any(rule.action is CutOffAction.FENCE for rule in rules.values()) and not self.lease.endless:
            self._needed.set()
        self._news.set()

    def clear_first(self, task_ids: set[str]) -> None:
        """Let nothing start before these tasks, which were given up, are dead; but not for ever."""
        self._clearing |= task_ids
        if task_ids:
            self._clear_by = self._clock.monotonic() + CLEARING_SECONDS

    def cleared(self, task_id: str) -> None:
        """Note that nothing of a task that was given up runs any more."""
        if task_id in self._clearing:
            self._clearing.discard(task_id)
            self._news.set()

    def held(self, task: Task) -> str:
        """Return why *task* may not be started now; "" if it may."""
        if self._clearing and self._clock.monotonic() < self._clear_by:
            return "waits until what was given up while the node was cut off is gone"
        if not self.fenced(task) or (self.lease.may_start and self._watched):
            return ""
        if self.lease.may_start:
            return "waits for the node's guard, because it must not run twice"
        return "waits until its node is in touch with a manager, because it must not run twice"

    @property
    def _watched(self) -> bool:
        return self._keeper is None or self._keeper.watching

    def cut(self, task: Task, term: int | None) -> Cut | None:
        """Return why a task that was started in the lease's *term* must end, None if it may run on.

        One that was not guarded before cannot have been given up either; it is guarded as soon as there is a lease.
        """
        rule = self.rule(task)
        if rule.action is CutOffAction.FENCE:
            if term is None or (term == self.lease.term.number and self.lease.live):
                return None
            return Cut(reason=f"{_NO_ANSWER}, so it was killed", at_once=True)
        if rule.action is CutOffAction.STOP and self._away() >= rule.after_seconds and not self.lease.live:
            return Cut(reason=f"no manager was in reach for {rule.after_seconds:g} s after the end of the node's lease")
        return None

    def killed(self, task: Task) -> Cut | None:
        """Return what the guard did to *task*, None if it did nothing."""
        found = self._register.killed(task.id) if self._register is not None else None
        if found is None:
            return None
        return Cut(
            reason=(
                f"{_NO_ANSWER}, so the node's guard killed it "
                f"({found.processes} processes, {found.late_seconds:.1f} s after the end of the lease)"
            ),
            at_once=True,
        )

    def enter(self, task: Task, container_id: str, hook: str = "") -> int:
        """Have the guard know of a fenced *task* before it is started, and return the term it runs in.

        Raises:
            TemporaryError: It may not start now.
        """
        if why := self.held(task):
            raise TemporaryError(why)
        term = self.lease.term.number
        if self._register is not None:
            self._register.enter(task.id, container_id, term, hook=hook)
        return term

    def enter_hook(self, task: Task, hook: str, container_id: str) -> None:
        """Have the guard know of a hook's container before it is started, if *task* is fenced.

        Raises:
            TemporaryError: It may not start now.
        """
        if self.fenced(task):
            self.enter(task, container_id, hook)

    def runs(self, task: Task, container: ContainerState, term: int | None) -> int | None:
        """Have the guard know of the first process of a fenced *task*, and return the term it runs in."""
        if term is None and not self.lease.live:
            return None
        term = self.lease.term.number if term is None else term
        if self._register is not None:
            self._register.enter(task.id, container.id, term, container.pid)
        return term

    def entered(self, task: Task) -> int | None:
        """Return the term in which an agent, this or an earlier one, started *task*; None if nobody wrote it down."""
        return self._register.entered(task.id) if self._register is not None else None

    def leave(self, task_id: str) -> None:
        """Note that nothing of a task is left on the node."""
        if self._register is not None:
            self._register.leave(task_id)

    def sweep(self, task_ids: set[str]) -> None:
        """Forget what was guarded, but for these tasks: those assigned, and those of which a container is left."""
        if self._register is not None:
            self._register.sweep(task_ids)

    def trouble(self) -> str:
        """Return why nothing fenced can be started here although the node has a lease, "" if it can."""
        now = self._clock.monotonic()
        if self._keeper is None or not self._needed.is_set() or self._keeper.watching:
            self._watched_at = now
            return ""
        if now - self._watched_at < TROUBLE_SECONDS:
            return ""
        why = f": {self._keeper.warning}" if self._keeper.warning else ""
        return f"its guard does not run, so nothing that must be single starts here{why}"

    def _away(self) -> float:
        return max(0.0, self._clock.boottime() - self.lease.term.until)

    async def run(self, wake: Callable[[], None]) -> None:
        """Keep the guard, and *wake* the workers whenever something may start or must end."""
        async with asyncio.TaskGroup() as group:
            if self._keeper is not None and not self.lease.endless:
                group.create_task(self._keeper.run(self._needed), name="guard")
            group.create_task(self._tell(wake), name="lease")

    async def _tell(self, wake: Callable[[], None]) -> None:
        known: object = None
        while True:
            self._news.clear()
            state = self._state()
            if state != known:
                live = self.lease.live
                if known is not None:
                    log.event("info" if live else "warning", "lease.changed", live=live, term=self.lease.term.number)
                known = state
                wake()
            try:
                async with asyncio.timeout(self._next()):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _state(self) -> object:
        """Return what decides about starting and ending, to tell whether it changed."""
        away = {after for after in self._stops() if self._away() >= after}
        watched = self._needed.is_set() and self._watched
        clearing = bool(self._clearing) and self._clock.monotonic() < self._clear_by
        return (self.lease.live, self.lease.may_start, self.lease.term.number, watched, clearing, frozenset(away))

    def _stops(self) -> set[float]:
        return {rule.after_seconds for rule in self.rules.values() if rule.action is CutOffAction.STOP}

    def _next(self) -> float | None:
        """Return in how many seconds something changes by itself, None if nothing does."""
        if self.lease.endless:
            return CLEARING_SECONDS if self._clearing else None
        times = [self.lease.remaining()] if self.lease.live else [after - self._away() for after in self._stops()]
        times = [seconds for seconds in times if seconds > 0]
        # What else could be due is looked at from time to time.
        return min([*times, 1.0]) + 0.001
