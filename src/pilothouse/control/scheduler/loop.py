"""The scheduler's shell: keeps the fleet in step with the commits, and has what is pending placed in batches.

A pass decides on what is known, then writes; what changed in between is refused by the transaction and decided anew
when the loop hears of it. A task that no node suits is looked at again by every event that could change that.
"""

from collections.abc import Iterator

from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.place import Outcome, place_requests
from pilothouse.control.scheduler.shape import Shape
from pilothouse.control.scheduler.units import Request, requests
from pilothouse.control.scheduler.write import Shapes, place_now, read_fleet, write
from pilothouse.model.cluster import Cluster, ClusterSpec
from pilothouse.model.objects import Node, Service, Task, Volume
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.interface import Change, Commit, ReadTx, Store

BATCH = 2_000
"""Tasks placed in one transaction: bounds how long one commit can grow."""

place = place_now


class Scheduler:
    """What is pending, and the fleet it is placed on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shapes = Shapes()
        self._fleet = Fleet()
        self._pending: dict[str, Task] = {}
        self._due: set[str] = set()
        self._freed: set[int] = set()
        self._everything = False

    def survey(self, tx: ReadTx) -> None:
        self._shapes = Shapes()
        self._fleet = read_fleet(tx, self._shapes)
        self._pending = {task.id: task for task in tx.find(Task, state=TaskState.PENDING)}
        self._everything = True

    def note(self, commit: Commit) -> bool:
        for change in commit.changes:
            self._note(change, commit.writer)
        return bool(self._pending) and bool(self._due or self._freed or self._everything)

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
        elif isinstance(obj, Cluster):
            self._everything = True
            self._fleet.pools.spec = after.spec if isinstance(after, Cluster) else ClusterSpec()

    def _note_task(self, change: Change, writer: Writer) -> None:
        before, after = change.before, change.after
        task = change.object
        assert isinstance(task, Task)
        if isinstance(after, Task) and after.state is TaskState.PENDING:
            self._pending[after.id] = after
            if writer is not Writer.SCHEDULER:
                self._due.add(after.id)
            return
        self._pending.pop(task.id, None)
        self._due.discard(task.id)
        if not isinstance(after, Task):
            self._free(task)
            self._fleet.drop_task(task.id)
        elif after.state > TaskState.PENDING:
            if after.state.terminal or _wants_less(before, after):
                self._free(after)
            elif isinstance(before, Task) and before.state is TaskState.PENDING:
                self._due.update(self._tied_to(after))
            self._fleet.put_task(after, self._shapes.of(after) if after.state <= TaskState.RUNNING else None)

    def _free(self, task: Task) -> None:
        entry = self._fleet.roster.entries.get(task.id)
        if entry is not None:
            self._freed.add(entry.at)

    def _tied_to(self, placed: Task) -> Iterator[str]:
        """Yield the pending tasks that have to be near *placed*, or beside it."""
        for task in self._pending.values():
            shape = self._shapes.of(task)
            near = any(bond.service_id == placed.service_id for bond in shape.bonds)
            if near or (task.app == placed.app and placed.service in shape.partners):
                yield task.id

    async def act(self) -> float | None:
        """Place what can be placed, so many in each transaction; the others keep what every node said of them."""
        due = self._take_due()
        wanted = requests(self._fleet, [(task, self._shapes.of(task)) for task in due])
        for some in slices(wanted, BATCH):
            await self._decide(some)
        return None

    def _take_due(self) -> list[Task]:
        due = set(self._pending) if self._everything else self._due | self._could_profit()
        self._due, self._freed, self._everything = set(), set(), False
        return [self._pending[key] for key in sorted(due) if key in self._pending]

    def _could_profit(self) -> set[str]:
        """Return the pending tasks that could use the room which became free."""
        if not self._freed:
            return set()
        if self._fleet.pools.limited:
            return set(self._pending)
        columns, fits = self._fleet.columns, dict[Shape, bool]()
        found: set[str] = set()
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

    async def _decide(self, wanted: list[Request]) -> None:
        still = [request for each in wanted if (request := self._still(each)) is not None]
        outcome = Outcome()
        place_requests(self._fleet, still, outcome)
        written = await self._store.update(Writer.SCHEDULER, lambda tx: write(tx, outcome, self._fleet))
        for task_id in written.refused:
            # If the loop has heard of the change meanwhile it looks at the task again, else it will when it does.
            self._fleet.drop_task(task_id)
        for task in written.tasks:
            self._pending.pop(task.id, None)
            if task.id in self._fleet.roster.entries:
                self._fleet.put_task(task)

    def _still(self, request: Request) -> Request | None:
        """Return what of a request is still to be decided: the transactions before took time."""
        units = [
            [(self._pending[task.id], shape) for task, shape in unit if task.id in self._pending]
            for unit in request.units
        ]
        units = [unit for unit in units if unit]
        return Request(units) if units else None


def _wants_less(before: object, after: Task) -> bool:
    return isinstance(before, Task) and before.desired_state is not after.desired_state


def slices(wanted: list[Request], most: int) -> Iterator[list[Request]]:
    """Yield the requests in order, about *most* tasks at a time; a large one in several parts."""
    some: list[Request] = []
    size = 0
    for request in wanted:
        for start in range(0, len(request.units), most):
            part = Request(request.units[start : start + most])
            if some and size + part.size > most:
                yield some
                some, size = [], 0
            some.append(part)
            size += part.size
    if some:
        yield some
