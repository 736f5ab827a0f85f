"""Small makers of tasks, assignments and containers for the agent's tests."""

import msgspec

from pilothouse.agent.runtime.interface import ContainerState, ExitStatus
from pilothouse.model.container import ContainerSpec, NetworkAttachment
from pilothouse.model.names import container_name
from pilothouse.model.objects import Network, ResolvedImage, Task, Volume
from pilothouse.model.spec import NetworkSpec, TaskSpec, VolumeSpec
from pilothouse.model.states import TaskState
from pilothouse.model.wire import Assignment

IMAGE = "web:1"
PRINT = "0123456789abcdef"
INSTALLATION = "i00000000001"


def make_task(number=1, *, service="web", slot=1, container=None, spec=None, **changes):
    """Return an assigned task of the app "shop"; *container* and *spec* change those parts of it."""
    inner = ContainerSpec(image=IMAGE, stop_grace_seconds=1.0, networks=(NetworkAttachment(network="default"),))
    inner = msgspec.structs.replace(inner, **(container or {}))
    task = Task(
        id=f"t{number:011d}",
        app="shop",
        service=service,
        slot=slot,
        spec=msgspec.structs.replace(TaskSpec(container=inner), **(spec or {})),
        image=ResolvedImage(ref=inner.image),
        fingerprint=PRINT,
        state=TaskState.ASSIGNED,
        node_id="n1",
    )
    return msgspec.structs.replace(task, **changes)


def make_network(key="default", **changes):
    """Return a network of the app "shop"."""
    return Network(id=f"shop/{key}", app="shop", spec=NetworkSpec(key=key, name=f"shop_{key}"), **changes)


def make_volume(key="data", **changes):
    """Return a volume of the app "shop"."""
    return Volume(id=f"shop/{key}", app="shop", spec=VolumeSpec(key=key, name=f"shop_{key}"), **changes)


def make_assignment(*tasks, revision=1, networks=None, volumes=(), **changes):
    """Return an assignment of *tasks*, with the default network unless *networks* says otherwise."""
    given = (make_network(),) if networks is None else networks
    return Assignment(revision=revision, tasks=tasks, networks=given, volumes=volumes, **changes)


def make_state(task, phase="running", *, code=0, **changes):
    """Return the state of the task's container, made by INSTALLATION unless *changes* say otherwise."""
    ended = ExitStatus(code=code, started_at=1.0, finished_at=2.0) if phase == "exited" else None
    name = container_name(task)
    state = ContainerState(
        name=name,
        task_id=task.id,
        id="c1",
        image_id="sha256:1",
        phase=phase,
        exit=ended,
        installation=INSTALLATION,
    )
    return msgspec.structs.replace(state, **changes)
