"""A task that waits for a place is closed at once when its service changes or goes."""

from pilothouse.model.container import ContainerSpec
from pilothouse.model.objects import Task
from pilothouse.model.spec import Resources, TaskSpec
from pilothouse.model.states import TaskState
from tests.control.world import World, spec

CORE = 1_000_000_000


def web(cores, image="web:1", **fields):
    task = TaskSpec(container=ContainerSpec(image=image), reservations=Resources(cpu_nano=cores * CORE))
    return spec(task=task, **fields)


def states(world):
    return sorted((task.state.name, task.node_id) for task in world.find(Task))


def test_waiting_tasks_of_an_older_spec_close_as_soon_as_there_is_a_newer_one():
    world = World(web(9, replicas=3)).rest()
    assert states(world) == [("PENDING", "")] * 3
    assert all("9" in task.placement_message for task in world.tasks())
    world.deploy(web(1, replicas=3))
    world.rest()
    assert [task for task in world.find(Task) if task.state is TaskState.PENDING] == []
    assert len(world.running()) == 3


def test_waiting_tasks_close_when_the_service_shrinks_or_goes():
    world = World(web(9, replicas=3)).rest()
    world.deploy(web(9, replicas=1))
    world.rest()
    assert len([task for task in world.find(Task) if task.state is TaskState.PENDING]) == 1
    world.down()
    world.rest()
    assert [task for task in world.find(Task) if not task.state.terminal] == []
