"""Task states, and who may move a task along which arrow.

A task state only ever grows, so of two observations the greater is the newer. The values leave gaps so that a state
can be added between two others without renumbering stored tasks.
"""

import enum
import itertools

from pilothouse.errors import InvalidTransitionError


class TaskState(enum.IntEnum):
    """Where a task is in its one-way life."""

    NEW = 0
    PENDING = 64
    ASSIGNED = 192
    ACCEPTED = 256
    PREPARING = 320
    READY = 384
    STARTING = 448
    RUNNING = 512
    COMPLETE = 576
    SHUTDOWN = 640
    FAILED = 704
    REJECTED = 768
    ORPHANED = 832

    @property
    def terminal(self) -> bool:
        """Whether a task in this state will never run again."""
        return self > TaskState.RUNNING


class Writer(enum.Enum):
    """The component that performs a write; each field of each kind has exactly one."""

    API = "api"
    ORCHESTRATOR = "orchestrator"
    RESOURCES = "resources"
    SCHEDULER = "scheduler"
    AGENT = "agent"
    NODES = "nodes"
    REAPER = "reaper"
    GOVERNANCE = "governance"
    RELEASER = "releaser"


_S = TaskState
_AGENT_CHAIN = (_S.ASSIGNED, _S.ACCEPTED, _S.PREPARING, _S.READY, _S.STARTING, _S.RUNNING)
_BEFORE_ASSIGNMENT = (_S.NEW, _S.PENDING)

TRANSITIONS: dict[Writer, frozenset[tuple[TaskState | None, TaskState]]] = {
    # A task that never reached a node can be called off by whoever asked for it; nobody else knows of it.
    Writer.ORCHESTRATOR: frozenset({(None, _S.NEW), *((s, _S.SHUTDOWN) for s in _BEFORE_ASSIGNMENT)}),
    Writer.RESOURCES: frozenset({(_S.NEW, _S.PENDING)}),
    Writer.SCHEDULER: frozenset({(_S.PENDING, _S.ASSIGNED)}),
    # An agent reports what it sees, and reports are batched, so it may skip states but never go back.
    Writer.AGENT: frozenset(
        {
            *itertools.combinations(_AGENT_CHAIN, 2),
            *((s, _S.REJECTED) for s in _AGENT_CHAIN[:-2]),
            *((s, _S.SHUTDOWN) for s in _AGENT_CHAIN),
            *((s, _S.FAILED) for s in _AGENT_CHAIN),
            *((s, _S.COMPLETE) for s in _AGENT_CHAIN),
        }
    ),
    Writer.NODES: frozenset((s, _S.ORPHANED) for s in _AGENT_CHAIN),
}


def check_transition(writer: Writer, before: TaskState | None, after: TaskState) -> None:
    """Accept an arrow that *writer* owns.

    Raises:
        InvalidTransitionError: The arrow does not exist or belongs to another writer.
    """
    if (before, after) not in TRANSITIONS.get(writer, frozenset()):
        came_from = "nothing" if before is None else before.name
        raise InvalidTransitionError(f"{writer.value} may not move a task from {came_from} to {after.name}")
