"""How one assignment becomes another: what has to be sent, and what becomes of it at the other end. Pure.

An agent's own reports come back to it in the tasks it is assigned. That echo is no difference: a task is sent anew only
if something changed that others decided.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from pilothouse.errors import SessionLostError
from pilothouse.model.objects import Task, TaskStatus
from pilothouse.model.session import Changes
from pilothouse.model.states import TaskState
from pilothouse.model.wire import Assignment, FileContent

_NO_STATUS = TaskStatus()
V = TypeVar("V")


def task_essence(task: Task) -> Task:
    """Return *task* without what only echoes the agent's own reports."""
    state = task.state if task.state is TaskState.ORPHANED else TaskState.ASSIGNED
    return replace(task, version=0, status=_NO_STATUS, state=state)


def essence(assignment: Assignment) -> Assignment:
    """Return *assignment* without what only echoes the agent's own reports."""
    return replace(assignment, revision=0, tasks=tuple(map(task_essence, assignment.tasks)))


def stripped(assignment: Assignment) -> Assignment:
    """Return *assignment* without the contents of its files, as the sender remembers what it sent."""
    return replace(assignment, secrets=_named_only(assignment.secrets), configs=_named_only(assignment.configs))


def whole(assignment: Assignment, number: int = 1) -> Changes:
    """Return an assignment as changes to nothing."""
    return Changes(
        base=0,
        number=number,
        revision=assignment.revision,
        tasks=assignment.tasks,
        networks=assignment.networks,
        volumes=assignment.volumes,
        secrets=assignment.secrets,
        configs=assignment.configs,
        splits=assignment.splits,
        cut_offs=assignment.cut_offs,
    )


def delta(before: Assignment, after: Assignment, base: int) -> Changes | None:
    """Return what makes *after* of *before*, which was number *base*; None if in essence they are equal.

    The contents of files that *before* names are not repeated, whether or not *before* and *after* hold them.
    """
    known = {task.id: task for task in before.tasks}
    tasks = tuple(task for task in after.tasks if not _same(known.pop(task.id, None), task))
    networks, volumes = _if_new(before.networks, after.networks), _if_new(before.volumes, after.volumes)
    secrets, configs = _files(before.secrets, after.secrets), _files(before.configs, after.configs)
    splits, cut_offs = _if_new(before.splits, after.splits), _if_new(before.cut_offs, after.cut_offs)
    rest = (networks, volumes, secrets, configs, splits, cut_offs)
    if not tasks and not known and all(each is None for each in rest):
        return None
    return Changes(
        base=base,
        number=base + 1,
        revision=after.revision,
        tasks=tasks,
        gone=tuple(sorted(known)),
        networks=networks,
        volumes=volumes,
        secrets=secrets,
        configs=configs,
        splits=splits,
        cut_offs=cut_offs,
    )


def patch(before: Assignment, number: int, changes: Changes) -> Assignment:
    """Return what *changes* make of *before*, which was *number* (0 if nothing came yet).

    Raises:
        SessionLostError: They are changes to another assignment than *before*, so only a new session can help.
    """
    if changes.base == 0:
        before = Assignment(revision=0)
    elif changes.base != number:
        raise SessionLostError(
            f"changes to assignment {changes.base} came while this node has {number}; the session begins anew"
        )
    tasks = {task.id: task for task in before.tasks}
    for task_id in changes.gone:
        tasks.pop(task_id, None)
    tasks.update({task.id: task for task in changes.tasks})
    return Assignment(
        revision=changes.revision,
        tasks=tuple(tasks[task_id] for task_id in sorted(tasks)),
        networks=_or(changes.networks, before.networks),
        volumes=_or(changes.volumes, before.volumes),
        secrets=_with_contents(changes.secrets, before.secrets),
        configs=_with_contents(changes.configs, before.configs),
        splits=_or(changes.splits, before.splits),
        cut_offs=_or(changes.cut_offs, before.cut_offs),
    )


def _same(before: Task | None, after: Task) -> bool:
    return before is after or (before is not None and task_essence(before) == task_essence(after))


def _if_new(before: V, after: V) -> V | None:
    return None if before == after else after


def _or(new: V | None, old: V) -> V:
    return old if new is None else new


def _key(file: FileContent) -> tuple[str, str]:
    return file.id, file.version


def _named_only(files: Iterable[FileContent]) -> tuple[FileContent, ...]:
    return tuple(replace(file, content=b"") for file in files)


def _files(before: Sequence[FileContent], after: Sequence[FileContent]) -> tuple[FileContent, ...] | None:
    known = [_key(file) for file in before]
    if known == [_key(file) for file in after]:
        return None
    given = set(known)
    return tuple(replace(file, content=b"") if _key(file) in given else file for file in after)


def _with_contents(new: tuple[FileContent, ...] | None, old: tuple[FileContent, ...]) -> tuple[FileContent, ...]:
    if new is None:
        return old
    held = {_key(file): file for file in old}
    return tuple(held.get(_key(file), file) for file in new)
