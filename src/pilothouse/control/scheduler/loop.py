"""The scheduler's shell: keeps the fleet in step with the commits, and has what is pending placed in batches.

A pass decides on what is known, then writes; what changed in between is refused by the transaction and decided anew
when the loop hears of it. A task that no node suits is looked at again by every event that could change that.
"""

import asyncio
from collections.abc import Iterator

from pilothouse.clock import Clock
from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.place import Outcome, place_requests
from pilothouse.control.scheduler.rebalance import rebalance
from pilothouse.control.scheduler.shape import Shape
from pilothouse.control.scheduler.units import Alike, Request, add_pending, requests_of
from pilothouse.control.scheduler.write import REQUESTER, Shapes, ask_to_move, place_now, read_fleet, withdraw, write
from pilothouse.model.cluster import Cluster, ClusterSpec, Disruption
from pilothouse.model.node import Node
from pilothouse.model.objects import Service, Task, Volume
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.interface import Change, Commit, ReadTx, Store

BATCH = 2_000
"""Tasks placed in one transaction: bounds how long one commit can grow."""
IN_FLIGHT = 3
"""Transactions that are decided before the first of them is known to be durable."""
HOUR = 3600.0

# Members of an enumeration are looked up slowly, and this is asked of every task of every commit.
_PENDING, _RUNNING = TaskState.PENDING, TaskState.RUNNING
_SCHEDULER = Writer.SCHEDULER

place = place_now


class Scheduler:
    """What is pending, and the fleet it is placed on."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._shapes = Shapes()
        self._fleet = Fleet()
        self._pending: dict[str, Task] = {}
        self._tied: set[str] = set()
        self._due: set[str] = set()
        self._freed: set[int] = set()
        self._everything = False
        self._asked: set[str] = set()
        self._untidy = False
        self._next_move: float | None = None

    def survey(self, tx: ReadTx) -> None:
        self._shapes = Shapes()
        self._fleet = read_fleet(tx, self._shapes)
        self._pending, self._tied = {}, set()
        for task in tx.find(Task, state=TaskState.PENDING):
            self._wait_for_place(task)
        self._asked = {request.id for request in tx.find(Disruption, requested_by=REQUESTER)}
        self._untidy = bool(self._asked)
        self._everything = True

    def note(self, commit: Commit) -> bool:
        for change in commit.changes:
            self._note(change, commit.writer)
        if self._tied and commit.writer is Writer.SCHEDULER:
            after = [change.after for change in commit.changes]
            placed = {each.service_id for each in after if isinstance(each, Task) and each.state is TaskState.ASSIGNED}
            self._due.update(self._tied_to(placed))
        return bool(self._pending and (self._due or self._freed or self._everything)) or self._untidy

    def _note(self, change: Change, writer: Writer) -> None:
        obj, after = change.object, change.after
        if isinstance(obj, Task):
            self._note_task(change, writer)
        elif isinstance(obj, Node):
            self._everything = True
            if isinstance(after, Node):
                self._fleet.put_node(after)
            else:
                self._fleet.drop_node(obj.id)
        elif isinstance(obj, Volume):
            self._everything = self._everything or writer is not Writer.SCHEDULER
            self._fleet.put_volume(after if isinstance(after, Volume) else None, obj.id)
        elif isinstance(obj, Service):
            self._shapes.learn(obj.id, after if isinstance(after, Service) else None)
        elif isinstance(obj, Disruption) and obj.requested_by == REQUESTER:
            (self._asked.discard if after is None else self._asked.add)(obj.id)
        elif isinstance(obj, Cluster):
            self._everything = True
            self._fleet.pools.spec = after.spec if isinstance(after, Cluster) else ClusterSpec()

    def _note_task(self, change: Change, writer: Writer) -> None:
        before, after = change.before, change.after
        task = change.object
        assert isinstance(task, Task)
        if isinstance(after, Task) and after.state is _PENDING:
            self._wait_for_place(after)
            if writer is not _SCHEDULER:
                self._due.add(after.id)
            return
        self._wait_no_longer(task.id)
        self._due.discard(task.id)
        if not isinstance(after, Task) or after.state > _RUNNING:
            self._let_go(task.id)
            self._untidy = self._untidy or task.id in self._asked
        if not isinstance(after, Task):
            self._free(task)
            self._fleet.drop_task(task.id)
        elif after.state > _PENDING:
            if after.state > _RUNNING or _wants_less(before, after):
                self._free(after)
            if not self._fleet.refresh(after):
                self._fleet.put_task(after, self._shapes.of(after) if after.state <= _RUNNING else None)

    def _let_go(self, task_id: str) -> None:
        """Give up the room that was kept for a task which does not need it any more."""
        if (claim := self._fleet.release(task_id)) is not None:
            self._freed.add(claim.at)
            self._untidy = True

    def _free(self, task: Task) -> None:
        entry = self._fleet.roster.entries.get(task.id)
        if entry is not None:
            self._freed.add(entry.at)

    def _wait_for_place(self, task: Task) -> None:
        self._pending[task.id] = task
        shape = self._shapes.of(task)
        if shape.bonds or shape.partners or shape.volumes:
            self._tied.add(task.id)

    def _wait_no_longer(self, task_id: str) -> None:
        if self._pending.pop(task_id, None) is not None:
            self._tied.discard(task_id)

    def _tied_to(self, placed: set[str]) -> Iterator[str]:
        """Yield the pending tasks that have to be near or beside tasks of services of which some were just placed."""
        for task_id in self._tied:
            shape = self._shapes.of(self._pending[task_id])
            partners = {f"{shape.app}/{name}" for name in shape.partners}
            if not placed.isdisjoint(partners.union(bond.service_id for bond in shape.bonds)):
                yield task_id

    async def act(self) -> float | None:
        """Place what can be placed, so many in each transaction; the others keep what every node said of them."""
        wanted = requests_of(self._fleet, await self._by_shape(self._take_due()))
        gate = asyncio.Semaphore(IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            for some in slices(wanted, BATCH):
                await gate.acquire()
                await _let_others_go_on()
                group.create_task(self._decide(some, gate), name="scheduler.batch")
        if self._untidy:
            self._untidy = False
            await self._store.update(Writer.SCHEDULER, withdraw)
        return await self._rebalance()

    async def _by_shape(self, due: list[Task]) -> Alike:
        every: Alike = {}
        for start in range(0, len(due), BATCH):
            add_pending(every, ((task, self._shapes.of(task)) for task in due[start : start + BATCH]))
            await _let_others_go_on()
        return every

    def _take_due(self) -> list[Task]:
        due = set(self._pending) if self._everything else self._due | self._could_profit()
        self._due, self._freed, self._everything = set(), set(), False
        due |= self._in_units_with(due)
        return [self._pending[key] for key in due if key in self._pending]

    def _in_units_with(self, due: set[str]) -> set[str]:
        """Return the pending tasks of apps in which some go together, so that no unit is decided in parts."""
        if not self._tied:
            return set()
        apps = {self._pending[key].app for key in due if key in self._pending}
        tied = apps & {self._pending[key].app for key in self._tied}
        return {task.id for task in self._pending.values() if task.app in tied} if tied else set()

    def _could_profit(self) -> set[str]:
        """Return the pending tasks that could use the room which became free."""
        if not self._freed:
            return set()
        if self._fleet.pools.limited:
            return set(self._pending)
        columns, fits = self._fleet.columns, dict[Shape, bool]()
        found = set(self._fleet.claims)
        for task in self._pending.values():
            shape = self._shapes.of(task)
            if shape not in fits:
                need = [(kind, amount) for kind, amount in shape.need if kind not in shape.devices]
                fits[shape] = any(
                    all(columns.free_of(kind)[at] >= amount for kind, amount in need) for at in self._freed
                )
            if fits[shape] or self._fleet.roster.turn(task):
                found.add(task.id)
        return found

    async def _decide(self, wanted: list[Request], gate: asyncio.Semaphore) -> None:
        """Decide on some requests and write it; the next are decided while this becomes durable."""
        still = [request for each in wanted if (request := self._still(each)) is not None]
        claims = len(self._fleet.claims)
        outcome = Outcome()
        place_requests(self._fleet, still, outcome)
        self._untidy = self._untidy or len(self._fleet.claims) < claims
        await _let_others_go_on()
        now = self._clock.now()
        written = await self._store.update(Writer.SCHEDULER, lambda tx: write(tx, outcome, now))
        for task_id in written.refused:
            # If the loop has heard of the change meanwhile it looks at the task again, else it will when it does.
            self._fleet.drop_task(task_id)
        for volume_id, volume in written.volumes.items():
            self._fleet.put_volume(volume, volume_id)
        for task in written.tasks:
            self._wait_no_longer(task.id)
            if not self._fleet.refresh(task) and task.id in self._fleet.roster.entries:
                self._fleet.put_task(task)
        gate.release()

    async def _rebalance(self) -> float | None:
        """Ask for one move if it is time for one, and return when the next may be asked for; None if none may."""
        budget, now = self._fleet.pools.spec.rebalance_budget, self._clock.now()
        if budget <= 0:
            self._next_move = None
        elif self._next_move is None or now >= self._next_move:
            # Also a scheduler that was just started waits its time: it does not know what was moved before.
            due, self._next_move = self._next_move is not None, now + HOUR / budget
            moves = rebalance(self._fleet, 1, self._asked) if due else []
            if moves:
                await self._store.update(Writer.SCHEDULER, lambda tx: ask_to_move(tx, moves, now))
        return self._next_move

    def _still(self, request: Request) -> Request | None:
        """Return what of a request is still to be decided: the transactions before took time."""
        pending = self._pending
        tasks = [pending[task.id] for task in request.tasks if task.id in pending]
        unit = tuple((pending[task.id], shape) for task, shape in request.unit if task.id in pending)
        return Request(request.shape, tasks, unit) if tasks or unit else None


async def _let_others_go_on() -> None:
    """Give up the event loop for one round, so that nobody waits for more than a part of a batch."""
    await asyncio.sleep(0)


def _wants_less(before: object, after: Task) -> bool:
    return isinstance(before, Task) and before.desired_state is not after.desired_state


def slices(wanted: list[Request], most: int) -> Iterator[list[Request]]:
    """Yield the requests in order, about *most* tasks at a time; a large one in several parts."""
    some: list[Request] = []
    size = 0
    for request in wanted:
        for start in range(0, max(1, len(request.tasks)), most):
            whole = len(request.tasks) <= most
            part = request if whole else request._replace(tasks=request.tasks[start : start + most])
            if some and size + part.size > most:
                yield some
                some, size = [], 0
            some.append(part)
            size += part.size
    if some:
        yield some
