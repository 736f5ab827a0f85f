"""The rules a node must meet to get a task. Each answers with "" or with one clause: what is missing, in numbers.

Every rule is asked about every node, also after another has refused it: an explanation shows all that is missing.
"""

from collections import Counter
from collections.abc import Callable

from pilothouse.errors import InvalidManifestError
from pilothouse.model.constraints import actual, normal_architecture, parse_constraint, satisfies
from pilothouse.model.counts import count
from pilothouse.model.objects import Availability, Node, Task
from pilothouse.model.states import TaskState

_MIB = 1024 * 1024
_CORE = 1_000_000_000


class Load:
    """One node and what the tasks on it have reserved."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cpu_nano = 0
        self.memory_bytes = 0
        self.pids = 0
        self.generic: Counter[str] = Counter()
        self._slots: dict[tuple[str, int, int], list[Task]] = {}
        self._services: Counter[str] = Counter()

    def add(self, task: Task) -> None:
        """Count a task that is placed here."""
        wanted = task.spec.reservations
        if not any(self._gives_way(other, task) for other in self._slots.get(_place(task), ())):
            self.cpu_nano += wanted.cpu_nano
            self.memory_bytes += wanted.memory_bytes
            self.pids += wanted.pids
            self.generic.update(wanted.generic)
        self._slots.setdefault(_place(task), []).append(task)
        if task.desired_state is not TaskState.SHUTDOWN and task.step < 0:
            self._services[task.service_id] += 1

    def count_of(self, task: Task) -> int:
        """Return how many tasks of *task*'s service are here, without those in its own slot."""
        same = [t for t in self._slots.get(_place(task), ()) if t.desired_state < TaskState.SHUTDOWN]
        return self._services[task.service_id] - len(same)

    def given_back(self, task: Task) -> Task | None:
        """Return the task here whose reservation *task* takes over, because it waits until that one has stopped."""
        others = self._slots.get(_place(task), ())
        return next((other for other in others if self._gives_way(other, task)), None)

    def used_share(self) -> float:
        """Return the larger of the reserved shares of CPU time and memory."""
        capacity = self.node.description.capacity
        return max(self.cpu_nano / (capacity.cpu_nano or _CORE), self.memory_bytes / (capacity.memory_bytes or _MIB))

    @staticmethod
    def _gives_way(other: Task, task: Task) -> bool:
        return other.id != task.id and TaskState.READY in {task.desired_state, other.desired_state}


def is_ready(task: Task, load: Load) -> str:
    """The node's agent is connected."""
    del task
    return "" if load.node.ready else f"is not ready ({load.node.message or 'its agent is not connected'})"


def is_available(task: Task, load: Load) -> str:
    """No person has paused or drained the node."""
    del task
    availability = load.node.spec.availability
    return "" if availability is Availability.ACTIVE else f"was set to {availability.value!r}, so it takes no new tasks"


def is_the_one(task: Task, load: Load) -> str:
    """A task of a global service belongs to one node."""
    return "" if task.node_id in {"", load.node.id} else f"the task is for {task.node_id}"


def meets_constraints(task: Task, load: Load) -> str:
    """Every placement constraint holds."""
    missing: list[str] = []
    for text in task.spec.placement.constraints:
        try:
            constraint = parse_constraint(text)
        except InvalidManifestError:
            missing.append(f"constraint {text!r} cannot be read")
            continue
        if not satisfies(constraint, load.node):
            has = actual(constraint.key, load.node)
            missing.append(f"constraint {text!r} is not met (it has {has!r})" if has else f"has no {constraint.key}")
    return " and ".join(missing)


def runs_platform(task: Task, load: Load) -> str:
    """The image's platform is the node's, if the manifest names one."""
    system, _, rest = task.spec.container.platform.partition("/")
    architecture = normal_architecture(rest.partition("/")[0])
    about = load.node.description
    wrong = (system and about.os and system.lower() != about.os.lower()) or (
        architecture and about.arch and architecture != normal_architecture(about.arch)
    )
    return f"is {about.os}/{about.arch}, and the service asks for {task.spec.container.platform}" if wrong else ""


def has_cpu(task: Task, load: Load) -> str:
    """The CPU time the task reserves is not reserved by others."""
    return _fits(
        "cores", task.spec.reservations.cpu_nano / _CORE, load.node.description.capacity.cpu_nano / _CORE,
        (load.cpu_nano - _returned(load, task, "cpu_nano")) / _CORE,
    )  # fmt: skip


def has_memory(task: Task, load: Load) -> str:
    """The memory the task reserves is not reserved by others."""
    return _fits(
        "MiB of memory", task.spec.reservations.memory_bytes / _MIB,
        load.node.description.capacity.memory_bytes / _MIB,
        (load.memory_bytes - _returned(load, task, "memory_bytes")) / _MIB,
    )  # fmt: skip


def has_pids(task: Task, load: Load) -> str:
    """The processes the task reserves are not reserved by others; a node that does not say has no end of them."""
    capacity = load.node.description.capacity.pids
    return _fits("processes", task.spec.reservations.pids, capacity, load.pids) if capacity else ""


def has_generic(task: Task, load: Load) -> str:
    """Every declared thing the task reserves is there and not reserved by others."""
    capacity = load.node.description.capacity.generic
    wanted = task.spec.reservations.generic
    return " and ".join(
        said
        for kind, count in wanted.items()
        if (said := _fits(f"of {kind}", count, capacity.get(kind, 0), load.generic[kind]))
    )


def has_room_for_service(task: Task, load: Load) -> str:
    """The service does not have `max_replicas_per_node` tasks there already."""
    most, here = task.spec.placement.max_replicas_per_node, load.count_of(task)
    if not most or here < most:
        return ""
    return f"has {count(here, 'task')} of {task.service} and max_replicas_per_node is {most}"


FILTERS: dict[str, Callable[[Task, Load], str]] = {
    "ready": is_ready,
    "availability": is_available,
    "pinned": is_the_one,
    "constraints": meets_constraints,
    "platform": runs_platform,
    "cpu": has_cpu,
    "memory": has_memory,
    "pids": has_pids,
    "generic": has_generic,
    "max-per-node": has_room_for_service,
}


def _place(task: Task) -> tuple[str, int, int]:
    """Return what two tasks share that take turns: a slot, or a step, which is in none."""
    return (task.service_id, task.slot, task.step)


def _returned(load: Load, task: Task, field: str) -> int:
    other = load.given_back(task)
    return int(getattr(other.spec.reservations, field)) if other else 0


def _fits(what: str, wanted: float, capacity: float, reserved: float) -> str:
    free = capacity - reserved
    if not wanted or wanted <= free + 1e-9:
        return ""
    return f"has {_number(max(0, free))} of {_number(capacity)} {what} free, and the task reserves {_number(wanted)}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
