"""What one node must have, as a pure function of a snapshot: no file contents, only which ones to attach."""

from pilothouse.control.orchestrators.reaper import used_networks, used_volumes
from pilothouse.model.base import Value
from pilothouse.model.objects import Network, Task, Volume
from pilothouse.model.states import TaskState
from pilothouse.model.wire import Assignment
from pilothouse.store.interface import ReadTx


class NodeNeeds(Value, frozen=True, kw_only=True):
    """An assignment yet without contents.

    Attributes:
        secrets, configs: Ids ("APP/KEY") of the files to attach, sorted: those a live task on the node was granted.
    """

    assignment: Assignment
    secrets: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()


def needs(tx: ReadTx, node_id: str) -> NodeNeeds:
    """Return what *node_id* must have at the revision of *tx*."""
    tasks = tx.find(Task, node_id=node_id)
    # A global task names its node before the scheduler agrees; until then the node must not know of it.
    placed = tuple(task for task in tasks if task.state >= TaskState.ASSIGNED)
    by_app: dict[str, list[Task]] = {}
    for task in placed:
        by_app.setdefault(task.app, []).append(task)
    live = [task for task in placed if not task.state.terminal]
    return NodeNeeds(
        assignment=Assignment(
            revision=tx.revision, tasks=placed, networks=_networks(tx, by_app), volumes=_volumes(tx, by_app)
        ),
        secrets=tuple(sorted({f"{t.app}/{grant.source}" for t in live for grant in t.spec.container.secrets})),
        configs=tuple(sorted({f"{t.app}/{grant.source}" for t in live for grant in t.spec.container.configs})),
    )


def _networks(tx: ReadTx, by_app: dict[str, list[Task]]) -> tuple[Network, ...]:
    used = {f"{app}/{key}" for app, tasks in by_app.items() for key in used_networks(tasks)}
    return tuple(obj for obj in tx.find(Network) if obj.removing or obj.id in used)


def _volumes(tx: ReadTx, by_app: dict[str, list[Task]]) -> tuple[Volume, ...]:
    used = {f"{app}/{key}" for app, tasks in by_app.items() for key in used_volumes(tasks)}
    return tuple(obj for obj in tx.find(Volume) if obj.removing or obj.id in used)
