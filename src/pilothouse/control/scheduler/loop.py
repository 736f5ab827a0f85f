"""The scheduler's shell: tasks that are PENDING get a node, or the reason why none suits."""

from msgspec.structs import replace

from pilothouse.control.scheduler.table import Table
from pilothouse.model.objects import Node, Task
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.interface import Change, Commit, ReadTx, Store, WriteTx


class Scheduler:
    """The tasks that are PENDING, as far as is known; everything that frees room has them looked at again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: set[str] = set()

    def survey(self, tx: ReadTx) -> None:
        self._pending.update(task.id for task in tx.find(Task, state=TaskState.PENDING))

    def note(self, commit: Commit) -> bool:
        # Every change is looked at: each may add to what is pending.
        matters = [self._matters(change) for change in commit.changes]
        return any(matters) and bool(self._pending)

    def _matters(self, change: Change) -> bool:
        before, after = change.before, change.after
        if isinstance(after, Task) and after.state is TaskState.PENDING:
            self._pending.add(after.id)
            return before is None or (isinstance(before, Task) and before.state is not TaskState.PENDING)
        if isinstance(before, Task) and not before.state.terminal:
            return not isinstance(after, Task) or after.state.terminal
        return isinstance(change.object, Node)

    async def act(self) -> float | None:
        """Place every task that can be placed; the others keep what every node said of them."""
        if self._pending:
            pending = sorted(self._pending)
            self._pending = await self._store.update(Writer.SCHEDULER, lambda tx: place(tx, pending)) | (
                self._pending - set(pending)
            )
        return None


def place(tx: WriteTx, task_ids: list[str]) -> set[str]:
    """Give PENDING tasks a node, oldest first; return those that no node suits."""
    found = [task for key in task_ids if (task := tx.get(Task, key)) is not None and task.state is TaskState.PENDING]
    nodes = tx.find(Node)
    table = Table(
        nodes, [task for node in nodes for task in tx.find(Task, node_id=node.id) if task.state > TaskState.PENDING]
    )
    left: set[str] = set()
    for task in sorted(found, key=lambda task: (task.created_at, task.slot, task.id)):
        placement = table.place(task)
        if placement.node_id:
            tx.put(
                replace(task, node_id=placement.node_id, placement_message=placement.message, state=TaskState.ASSIGNED)
            )
        else:
            left.add(task.id)
            tx.put(replace(task, placement_message=placement.message))
    return left
