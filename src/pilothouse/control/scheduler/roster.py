"""Who is placed where: tasks by service, slot and node, the host ports they hold, the volumes they use. No amounts."""

import dataclasses

import msgspec

from pilothouse.control.scheduler.shape import Need, Shape
from pilothouse.model.objects import PortBinding, Task
from pilothouse.model.ports import overlap
from pilothouse.model.states import TaskState

Turn = int | tuple[int, str]
"""What two tasks of a service share that take turns: a slot; in global modes the node; or a step, which is in none."""


class Entry(msgspec.Struct, gc=False, eq=False):
    """A task that is placed; *taken* is what it reserves there."""

    task: Task
    shape: Shape
    at: int
    taken: Need

    @property
    def waits(self) -> bool:
        """Whether it lets others of its slot go before it."""
        return self.task.desired_state is TaskState.READY

    @property
    def stays(self) -> bool:
        """Whether it counts as one of its service's tasks."""
        return self.shape.counted and self.task.desired_state < TaskState.SHUTDOWN


class Muster(msgspec.Struct, gc=False, eq=False):
    """The placed tasks of one service.

    Attributes:
        counts: How many that are meant to stay are on each node, by place.
        turns: Them all, by what takes turns.
    """

    shape: Shape
    counts: dict[int, int] = {}
    turns: dict[Turn, tuple[Entry, ...]] = {}


@dataclasses.dataclass(slots=True, eq=False)
class _Holder:
    binding: PortBinding
    task_id: str
    service_id: str


class Roster:
    """Every task that is placed.

    Attributes:
        entries: By the task's id.
        services: Those that have any, by id.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.services: dict[str, Muster] = {}
        self._ports: dict[tuple[str, int], dict[int, list[_Holder]]] = {}
        self._volumes: dict[str, dict[int, int]] = {}
        self._bound_to: dict[str, dict[str, Shape]] = {}
        self._sharing: dict[str, dict[str, Shape]] = {}

    def add(self, entry: Entry) -> None:
        """Take in a task that was not there."""
        task, shape = entry.task, entry.shape
        self.entries[task.id] = entry
        muster = self._muster(shape)
        turn = turn_of(task)
        muster.turns[turn] = (*muster.turns.get(turn, ()), entry)
        if entry.stays:
            muster.counts[entry.at] = muster.counts.get(entry.at, 0) + 1
        for port in task.ports:
            holders = self._ports.setdefault((port.protocol, port.host_port), {}).setdefault(entry.at, [])
            holders.append(_Holder(port, task.id, shape.service_id))
        for volume in shape.volumes:
            users = self._volumes.setdefault(volume, {})
            users[entry.at] = users.get(entry.at, 0) + 1

    def add_alike(self, tasks: list[Task], shape: Shape, places: list[int]) -> None:
        """Take in new tasks of one shape that take turns with nobody."""
        need = shape.need
        if shape.volumes or not shape.counted or tasks[0].ports:
            for task, at in zip(tasks, places, strict=True):
                self.add(Entry(task, shape, at, need))
            return
        muster = self._muster(shape)
        entries, turns, counts, stopped = self.entries, muster.turns, muster.counts, TaskState.SHUTDOWN
        for task, at in zip(tasks, places, strict=True):
            entries[task.id] = entry = Entry(task, shape, at, need)
            turns[task.slot or (-1, task.node_id)] = (entry,)
            if task.desired_state is not stopped:
                counts[at] = counts.get(at, 0) + 1

    def remove(self, entry: Entry) -> None:
        """Take out a task that is there, exactly as it was taken in."""
        task, shape = entry.task, entry.shape
        del self.entries[task.id]
        muster = self.services[shape.service_id]
        turn = turn_of(task)
        others = tuple(other for other in muster.turns[turn] if other is not entry)
        if others:
            muster.turns[turn] = others
        else:
            del muster.turns[turn]
        if entry.stays:
            _less(muster.counts, entry.at)
        if not muster.turns:
            del self.services[shape.service_id]
            self._unbind(muster.shape)
        for port in task.ports:
            at = self._ports[port.protocol, port.host_port]
            at[entry.at] = [holder for holder in at[entry.at] if holder.task_id != task.id]
            if not at[entry.at]:
                del at[entry.at]
                if not at:
                    del self._ports[port.protocol, port.host_port]
        for volume in shape.volumes:
            _less(self._volumes[volume], entry.at)

    def turn(self, task: Task) -> list[Entry]:
        """Return those that take turns with *task*, itself left out."""
        muster = self.services.get(task.service_id)
        found = muster.turns.get(turn_of(task)) if muster else None
        if not found:
            return []
        return [entry for entry in found if entry.task.id != task.id]

    def counts(self, service_id: str) -> dict[int, int]:
        """Return how many tasks of a service that are meant to stay are at each place."""
        muster = self.services.get(service_id)
        return muster.counts if muster else {}

    def places_of_volume(self, volume_id: str) -> list[int]:
        """Return where tasks are that use a volume."""
        return sorted(self._volumes.get(volume_id, ()))

    def holders(self, port: PortBinding, service_id: str) -> dict[int, list[str]]:
        """Return by place who holds *port* so that a task of *service_id* cannot have it there, by task id."""
        found: dict[int, list[str]] = {}
        for at, holders in self._ports.get((port.protocol, port.host_port), {}).items():
            in_the_way = [
                holder.task_id
                for holder in holders
                if overlap(holder.binding.host_ip, port.host_ip)
                and not (port.ingress and holder.binding.ingress and holder.service_id == service_id)
            ]
            if in_the_way:
                found[at] = in_the_way
        return found

    def bound_to(self, service_id: str) -> list[Shape]:
        """Return the shapes of placed services that have an affinity with a service, themselves left out."""
        if service_id not in self._bound_to:
            return []
        return [shape for owner, shape in sorted(self._bound_to[service_id].items()) if owner != service_id]

    def sharing(self, service_id: str) -> list[Shape]:
        """Return the shapes of placed services that share a container of a service."""
        if service_id not in self._sharing:
            return []
        return [shape for _, shape in sorted(self._sharing[service_id].items())]

    def _muster(self, shape: Shape) -> Muster:
        """Return what is kept of a service that is about to get a task of *shape*."""
        muster = self.services.get(shape.service_id)
        if muster is None:
            muster = self.services[shape.service_id] = Muster(shape)
        if shape is not muster.shape or not muster.turns:
            self._bind(shape)
            muster.shape = shape
        return muster

    def _bind(self, shape: Shape) -> None:
        for bond in shape.bonds:
            self._bound_to.setdefault(bond.service_id, {})[shape.service_id] = shape
        for name in shape.partners:
            self._sharing.setdefault(f"{shape.app}/{name}", {})[shape.service_id] = shape

    def _unbind(self, shape: Shape) -> None:
        for owners in (*self._bound_to.values(), *self._sharing.values()):
            owners.pop(shape.service_id, None)


def turn_of(task: Task) -> Turn:
    """Return what *task* takes turns about."""
    if task.step >= 0:
        return (task.step, "")
    return task.slot or (-1, task.node_id)


def _less(counts: dict[int, int], key: int) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
