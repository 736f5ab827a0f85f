"""What a decider sees of one service: itself, its tasks, and as much of its neighbours as it needs. Frozen values."""

from collections.abc import Collection

import msgspec

from pilothouse.model.cluster import Disruption
from pilothouse.model.node import Node
from pilothouse.model.objects import App, Health, Service, Task
from pilothouse.model.release import Release
from pilothouse.model.rollout import Stage
from pilothouse.model.spec import Mode
from pilothouse.model.states import TaskState

Key = tuple[int, str]
"""A slot: its number and "" in replicated modes, 0 and the node in global ones."""


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A service this one depends on; *service* is None if the app has none of that name.

    Attributes:
        wanted: The slots it should have.
    """

    service: Service | None
    fingerprint: str = ""
    tasks: tuple[Task, ...] = ()
    wanted: tuple[Key, ...] = ()


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """One service and its surroundings at one revision.

    Attributes:
        app: None if it is gone, which makes the service leave.
        release: The newest one of the app; None if it was deployed before there were any.
        in_stages: That release lets the service have new tasks only stage by stage.
        leaving: The service or its whole app is being removed.
        asked_by: Who wanted it so, as a clause: "deployed by alice (revision 3)".
        tasks: All of the service that are or were in a slot, dead ones included.
        step_tasks: Those that run a step, dead ones included; they are in no slot.
        live_dependents: Names of the services that depend on this one, are leaving too and still have live tasks.
        nodes: The nodes a task of a global service may be on; empty in other modes.
        disruptions: Requests that a task be replaced although it is as it should be, by its id.
        finite: Its tasks are meant to end: it is a job, or a dependent waits for its completion.
    """

    service: Service
    fingerprint: str
    app: App | None = None
    release: Release | None = None
    in_stages: bool = False
    leaving: bool = False
    asked_by: str = ""
    tasks: tuple[Task, ...] = ()
    step_tasks: tuple[Task, ...] = ()
    secret_versions: dict[str, str] = {}
    config_versions: dict[str, str] = {}
    dependencies: dict[str, Neighbour] = {}
    live_dependents: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    disruptions: dict[str, Disruption] = {}
    finite: bool = False

    @property
    def stage(self) -> Stage | None:
        """How far the newest release may go with the service, if it goes in stages."""
        return self.release.stages.get(self.service.name) if self.release else None


class Slot(msgspec.Struct, kw_only=True):
    """The tasks of one slot, sorted by what they are.

    Attributes:
        current: Live, meant to live, made from the present spec.
        outdated: Live, meant to live, made from an older spec.
        stopping: Live, told to stop.
        extra: Live, meant to live, made from the present spec, and one too many.
        leaving: Those of `current` and `outdated` that somebody asked to be replaced where they are.
        successors: Live, meant to live, each made to take the place of one that leaves; until that one was told to
            stop they are nothing else, so that a move is seen by nobody who decides about anything else.
        latest: The newest task, dead or alive: the one no other replaces.
        completed: A task made from the present spec ended well.
    """

    key: Key
    current: Task | None = None
    outdated: list[Task] = []
    stopping: list[Task] = []
    extra: list[Task] = []
    leaving: list[Task] = []
    successors: list[Task] = []
    latest: Task | None = None
    completed: bool = False

    @property
    def vacant(self) -> bool:
        """Whether nothing lives in the slot."""
        return self.current is None and not self.outdated and not self.stopping

    @property
    def live(self) -> list[Task]:
        """Every task of the slot that is not dead."""
        current = [self.current] if self.current else []
        return [*current, *self.extra, *self.outdated, *self.stopping, *self.successors]

    def successor(self, task: Task) -> Task | None:
        """Return the one that is to take the place of *task*, which leaves."""
        return next((each for each in self.successors if each.fingerprint == task.fingerprint), None)


def key_of(task: Task) -> Key:
    """Return the slot *task* is in."""
    return (task.slot, "" if task.slot else task.node_id)


def slots(tasks: tuple[Task, ...], fingerprint: str, disrupted: Collection[str] = ()) -> dict[Key, Slot]:
    """Return every slot that has or had a task, by its key; *disrupted* are the ids of tasks to be replaced."""
    found: dict[Key, Slot] = {}
    dead: dict[Key, list[Task]] = {}
    for task in tasks:
        key = (task.slot, "" if task.slot else task.node_id)
        slot = found.get(key)
        if slot is None:
            slot = found[key] = Slot(key=key)
        if task.state > TaskState.RUNNING:
            dead.setdefault(key, []).append(task)
            if task.state is TaskState.COMPLETE and task.fingerprint == fingerprint:
                slot.completed = True
        else:
            _add_live(slot, task, fingerprint)
    for key, slot in found.items():
        if disrupted:
            _set_apart(slot, disrupted, dead.get(key, []))
        slot.latest = _latest(slot, dead.get(key, []))
    return found


def _add_live(slot: Slot, task: Task, fingerprint: str) -> None:
    if task.desired_state is TaskState.SHUTDOWN:
        slot.stopping.append(task)
    elif task.fingerprint != fingerprint:
        slot.outdated.append(task)
    elif slot.current is None:
        slot.current = task
    else:
        _add_extra(slot, task)


def _add_extra(slot: Slot, task: Task) -> None:
    """Keep the task that is furthest, then the older one, so that the choice never changes by itself."""
    first = slot.current
    if first is not None and (-task.state, task.created_at, task.id) < (-first.state, first.created_at, first.id):
        slot.current, task = task, first
    slot.extra.append(task)


def _set_apart(slot: Slot, disrupted: Collection[str], dead: list[Task]) -> None:
    """Find the tasks that are to leave, and those that were made to take their places."""
    current = [*([slot.current] if slot.current else []), *slot.extra]
    leaving = [task for task in current if task.id in disrupted]
    if leaving:
        slot.current, slot.extra = leaving[0], leaving[1:]
        successor, others = _split(slot.current, [task for task in current if task.id not in disrupted], dead)
        slot.successors = successor
        for task in others:
            _add_extra(slot, task)
        slot.leaving = [slot.current] if slot.current.id in disrupted else []
    for old in [task for task in slot.outdated if task.id in disrupted]:
        successor, _ = _split(old, [task for task in slot.outdated if task.id not in disrupted], dead)
        slot.leaving = [*slot.leaving, old]
        slot.successors = [*slot.successors, *successor]
        slot.outdated = [task for task in slot.outdated if task not in successor]


def _split(leaving: Task, others: list[Task], dead: list[Task]) -> tuple[list[Task], list[Task]]:
    """Return the one of *others* that was made after *leaving* of the same, if any, and the rest.

    What follows what is told by the tasks themselves: a clock that was set back must not turn it around.
    """
    by_id = {task.id: task for task in (*others, *dead)}
    before, at = set[str](), by_id.get(leaving.replaces)
    while at is not None and at.id not in before:
        before.add(at.id)
        at = by_id.get(at.replaces)
    later = [each for each in others if each.fingerprint == leaving.fingerprint and each.id not in before]
    best = sorted(later, key=lambda task: (-task.state, task.created_at, task.id))[:1]
    return best, [each for each in others if each not in best]


def _latest(slot: Slot, dead: list[Task]) -> Task | None:
    alone = not (slot.extra or slot.outdated or slot.stopping or slot.successors)
    if slot.current is not None and alone:
        return slot.current
    every = [*dead, *slot.live]
    replaced = {task.replaces for task in every}
    ends = [task for task in every if task.id not in replaced]
    return max(ends or every, key=lambda task: (task.created_at, task.id), default=None)


def is_ready(task: Task) -> bool:
    """Whether *task* runs, may get traffic and fails no check."""
    if task.state is not TaskState.RUNNING or not task.status.ready:
        return False
    # Asked of every task in every look, and a set of enum members costs four times as much.
    health = task.status.health
    return health is Health.NONE or health is Health.HEALTHY


def place_name(service: Service, key: Key) -> str:
    """Return what people call a slot of *service*: "web.2", or "web on node1" in global modes."""
    if service.spec.mode in {Mode.GLOBAL, Mode.GLOBAL_JOB}:
        return f"{service.name} on {key[1]}"
    return f"{service.name}.{key[0]}"
