"""Drives one task: asks the machine what to do, does it, reports. One asyncio task for each Pilothouse task.

Level-triggered: an assignment, an event of the engine or a timer only wakes it; what it does depends on what it then
sees. It reads nothing from the store and knows no other task.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from pilothouse import log
from pilothouse.agent import steps
from pilothouse.agent.doors import PATIENCE, Doors, handed_over
from pilothouse.agent.equipment import Equipment
from pilothouse.agent.machine import Cut, Do, Life, Outcome, Seen, after, begin, decide, report
from pilothouse.agent.probes.prober import Prober
from pilothouse.agent.runtime.interface import ContainerState
from pilothouse.errors import PermanentError, PilothouseError, TemporaryError
from pilothouse.model.names import container_name
from pilothouse.model.objects import Task
from pilothouse.model.states import TaskState
from pilothouse.model.wire import TaskReport

LOOK_AGAIN_SECONDS = 1.0
GIVEN_UP = "it was given up while its node was lost, and another may run in its place"
# What may go on for long, and must end when the task is stopped or its container dies meanwhile.
_INTERRUPTIBLE = frozenset({Do.PRE_START, Do.POST_START, Do.DRAIN})


class Worker:
    """One task on this node.

    Attributes:
        task: As it was last assigned.
        container: As it was last seen, or None.
        began: Set once the container ran, or never will.
    """

    def __init__(self, task: Task, container: ContainerState | None, kit: Equipment, *, look_first: bool) -> None:
        self.task = task
        self.container = container
        self.name = container_name(task)
        self.began = asyncio.Event()
        self._kit = kit
        self._life: Life = begin(task, container)
        self._prober = Prober(task, self.name, kit.clock, kit.engine, kit.gate)
        self._doors = Doors(kit.ingress, task, unsure=look_first or container is not None)
        self._wake = asyncio.Event()
        self._stale = look_first
        self._told: TaskReport | None = None
        self._stopping_since: float | None = None
        self._term = kit.fence.entered(task) if container is not None else None

    @property
    def ended(self) -> bool:
        """Whether the task ended; something of it may be left on the node."""
        return self._life.state.terminal

    @property
    def over(self) -> bool:
        """Whether the task ended and nothing of it is left on the node."""
        life = self._life
        return life.state.terminal and (life.cleaned or not life.touched)

    def assign(self, task: Task) -> None:
        """Take over what is wanted of the task now."""
        if task.state.terminal and not self._life.state.terminal:
            # The manager gave the task up (it thought the node lost); whoever was given up must not run.
            task = msgspec.structs.replace(task, desired_state=TaskState.SHUTDOWN)
            self._life = msgspec.structs.replace(self._life, cut=Cut(reason=GIVEN_UP, at_once=True))
        before, self.task = self.task, task
        if (before.desired_state, before.not_before) != (task.desired_state, task.not_before):
            # What could not be done a while ago may be possible now, or not wanted any more.
            self._life = msgspec.structs.replace(self._life, retry_at=0.0)
            self._wake.set()

    def look(self) -> None:
        """Look at the container again: something may have happened to it."""
        self._stale = True
        self._wake.set()

    def wake(self) -> None:
        """Think again: what may be started or must end has changed on the node."""
        self._wake.set()

    @property
    def running(self) -> bool:
        """Whether the container ran when it was last seen."""
        return self._seen.phase == "running"

    def abandon(self) -> None:
        """Have the proxy forget the task, which nobody wants any more."""
        self._doors.shut()

    def repeat(self) -> None:
        """Tell the manager again what it may have missed."""
        if self._told is not None:
            self._kit.reports.add(self._told, urgent=False)

    async def run(self) -> None:
        """Drive the task until nothing is left to do for it, then return."""
        if self.over:
            self._doors.shut()
        async with asyncio.TaskGroup() as group:
            probing: asyncio.Task[None] | None = None
            while not self.over:
                self._wake.clear()
                if self._stale and not await self._look():
                    await self._rest(self._kit.clock.now() + LOOK_AGAIN_SECONDS)
                    continue
                do, wake_at = self._decide()
                probing = self._probe(group, probing)
                await (self._rest(wake_at) if do is Do.NOTHING else self._carry_out(do))

    def _probe(self, group: asyncio.TaskGroup, probing: asyncio.Task[None] | None) -> asyncio.Task[None] | None:
        """Have the probes asked while the task runs, and not longer."""
        running = self._life.state is TaskState.RUNNING and not self._life.failing
        if probing is None and running and self._prober.needed:
            return group.create_task(self._prober.run(self._address, self._wake.set))
        if probing is not None and not running:
            probing.cancel()
        return probing

    def _decide(self) -> tuple[Do, float | None]:
        seen = self._seen_now()
        step = decide(self.task, self._life, seen, self._kit.clock.now())
        self._life = step.life
        if self._life.state.terminal or seen.phase != "running":
            self._kit.fence.cleared(self.task.id)
        # First the proxy, so that nobody is told "ready" of a task that gets no traffic, nor "stopped" while it does.
        self._doors.show(self.task, self._life, seen, self._address())
        self._publish()
        return step.do, step.wake_at

    @property
    def _seen(self) -> Seen:
        if self.container is not None:
            self._prober.engine_health = self.container.health
        return Seen(container=self.container, checks=self._prober.checks)

    def _seen_now(self) -> Seen:
        """Return what was seen, and what the node's lease means for it."""
        seen, fence, task = self._seen, self._kit.fence, self.task
        if self._life.state.terminal:
            return seen
        if seen.phase == "running":
            if self._term is None and fence.fenced(task) and self.container is not None:
                self._term = fence.runs(task, self.container, None)
            return msgspec.structs.replace(seen, cut=fence.cut(task, self._term))
        if seen.phase == "ended":
            return msgspec.structs.replace(seen, cut=fence.killed(task))
        return msgspec.structs.replace(seen, held=fence.held(task))

    def _publish(self) -> None:
        life = self._life
        if life.state.terminal or (self.container is not None and self.container.phase != "created"):
            self.began.set()
        if self._told is None and life.state.terminal and self.task.state.terminal:
            return
        keys = {n.spec.name: n.spec.key for n in self._kit.assignment.networks if n.app == self.task.app}
        said = report(self.task, life, self._seen, keys)
        if said == self._told:
            return
        urgent = life.state >= TaskState.RUNNING
        if self._told is None or self._told.state is not said.state:
            log.event("info", "task.moved", task=self.task.id, name=self.name, state=said.state.name, why=life.message)
        self._told = said
        self._kit.reports.add(said, urgent=urgent)

    async def _rest(self, until: float | None) -> None:
        if until is None:
            await self._wake.wait()
            return
        async with asyncio.TaskGroup() as group:
            waits = {
                group.create_task(self._wake.wait()),
                group.create_task(self._kit.clock.sleep(until - self._kit.clock.now())),
            }
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for waiting in waits:
                waiting.cancel()

    async def _look(self) -> bool:
        """See the container as it is now; return False if the engine does not answer."""
        self._stale = False
        try:
            self.container = await self._kit.engine.inspect(self.name)
        except PilothouseError as error:
            self._stale = True
            log.event("warning", "task.unseen", task=self.task.id, error=str(error))
            return False
        return True

    async def _carry_out(self, do: Do) -> None:
        outcome: Outcome | None = None
        if do not in _INTERRUPTIBLE:
            outcome = await self._attempt(do)
        else:
            async with asyncio.TaskGroup() as group:
                job = group.create_task(self._attempt(do))
                await self._until_done_or_pointless(job, do, group)
                if job.done():
                    outcome = job.result()
                else:
                    job.cancel()
        if outcome is not None:
            self._life = after(self.task, self._life, do, outcome, self._kit.clock.now())
            if outcome.error:
                log.event("warning", "task.hindered", task=self.task.id, doing=do.value, error=outcome.error)

    async def _until_done_or_pointless(self, job: asyncio.Task[Outcome], do: Do, group: asyncio.TaskGroup) -> None:
        while not job.done():
            self._wake.clear()
            waking = group.create_task(self._wake.wait())
            await asyncio.wait({job, waking}, return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
            if job.done() or (self._stale and not await self._look()):
                continue
            if decide(self.task, self._life, self._seen, self._kit.clock.now()).do is not do:
                return

    async def _attempt(self, do: Do) -> Outcome:
        try:
            return await self._do(do)
        except TemporaryError as error:
            fraction = self._kit.ids.fraction()
            return Outcome(error=str(error), retryable=True, delay_seconds=error.delay_seconds, fraction=fraction)
        except PilothouseError as error:
            return Outcome(error=str(error), retryable=error.retryable, fraction=self._kit.ids.fraction())
        except OSError as error:
            return Outcome(error=f"the node could not do it: {error}", retryable=True)
        except Exception as error:  # noqa: BLE001 - a bug must fail its task and not take down all others on the node
            log.event("error", "task.bug", task=self.task.id, doing=do.value, error=repr(error))
            return Outcome(error=f"an error inside Pilothouse: {error!r}")

    async def _do(self, do: Do) -> Outcome:
        kit, task = self._kit, self.task
        doing: dict[Do, Callable[[], Awaitable[Outcome | None]]] = {
            Do.PREPARE: self._prepare,
            Do.PRE_START: self._pre_start,
            Do.START: self._start,
            Do.POST_START: lambda: kit.hooks.post_start(task),
            Do.DRAIN: self._drain,
            Do.PRE_STOP: self._pre_stop,
            Do.STOP: self._stop,
            Do.COLLECT: self._collect,
            Do.CLEAN: self._clean,
        }
        return await doing[do]() or Outcome()

    async def _prepare(self) -> None:
        # A port that nobody can have is found before anything is replaced.
        if not handed_over(self.task, self._kit.assignment.tasks):
            await self._doors.claim(self.task, PATIENCE)
        self.container = await steps.prepare(self.task, self._kit)
        # Its own creation is no news.
        self._stale = False

    async def _pre_start(self) -> Outcome | None:
        failure = await steps.pre_start(self.task, self._kit)
        return Outcome(error=failure.message, ending=failure.ending) if failure else None

    async def _collect(self) -> Outcome | None:
        return Outcome(ending=await steps.collect(self.task, self.container, self._kit)) if self.container else None

    async def _clean(self) -> None:
        # The container is the only witness of the task's end until the manager knows it.
        await self._kit.reports.delivered(self.task.id)
        await steps.clean(self.task, self.container, self._kit)
        self._kit.fence.leave(self.task.id)
        self.container = None

    async def _start(self) -> None:
        await self._doors.claim(self.task, self._life.attempts)
        if self.task.step >= 0:
            # A step is started at most once, also if somebody removes its container while the agent is away: that it
            # was to start is durable before it does, and a task that was and has no container any more has failed.
            await self._kit.reports.delivered(self.task.id)
            if self.task.desired_state >= TaskState.SHUTDOWN:
                return
        fence, fenced = self._kit.fence, self._kit.fence.fenced(self.task)
        if fenced and self.container is not None:
            self._term = fence.enter(self.task, self.container.id)
        await self._kit.engine.start(self.name)
        self._stale = False
        self.container = await self._kit.engine.inspect(self.name)
        if fenced and self.container is not None and self.container.pid:
            self._term = fence.runs(self.task, self.container, self._term)
        if self.container is None:
            raise PermanentError("its container is gone: something else removed it while it started")

    async def _drain(self) -> None:
        await self._doors.drain(self._life)

    async def _pre_stop(self) -> None:
        self._stopping_since = self._kit.clock.monotonic()
        for index in range(len(self.task.spec.pre_stop)):
            await self._kit.hooks.pre_stop(self.task, index, self._grace())

    async def _stop(self) -> None:
        # The container carries its stop signal, so the engine sends it.
        killed = self._life.cut is not None and self._life.cut.at_once
        await self._kit.engine.stop(self.name, self._grace(), "KILL" if killed else "")
        self._stale = False
        self.container = await self._kit.engine.inspect(self.name)

    def _grace(self) -> float:
        """Return what is left of the grace; hooks before the stop take their time out of it."""
        if self._life.cut and self._life.cut.at_once:
            return 0.0
        grace = self.task.spec.container.stop_grace_seconds
        if self._stopping_since is None:
            return grace
        return max(0.0, grace - (self._kit.clock.monotonic() - self._stopping_since))

    def _address(self) -> str:
        """Return where the container answers, or ""."""
        mode = self.task.spec.container.network_mode
        if mode == "host":
            return "127.0.0.1"
        return next(iter(self.container.addresses.values()), "") if self.container else ""
