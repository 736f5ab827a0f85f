"""Hands a container that is being adopted to the task that adopts it, before the agent hears of that task.

Whatever crashes in between: the task is stored first and the container's name tells whether this was done, so the
agent never makes a second container, and never takes an adopted one for an orphan.
"""

from collections.abc import Iterable

from pilothouse.log import event
from pilothouse.model.objects import Task
from pilothouse.model.states import TaskState
from pilothouse.server.sessions.interface import NodeServices


def adopting(tasks: Iterable[Task]) -> dict[str, Task]:
    """Return the tasks that wait for a container to be given to them, by that container's id."""
    return {task.adopts: task for task in tasks if task.adopts and task.state is TaskState.ASSIGNED}


async def take_over(waiting: dict[str, Task], node: NodeServices) -> None:
    """Give containers the names of the tasks in *waiting*, as far as the node still has them under others."""
    for found in await node.list_foreign():
        task = waiting.get(found.id)
        if task is not None:
            await node.adopt(found.id, task)
            event("info", "container.adopted", task=task.id, container=found.name)
