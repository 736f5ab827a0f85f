"""What is on the node and should not be, as a pure function: what exists against what is assigned.

Only what this installation made is ever named, by the label it wrote when it made it; and a container without such a
label, which was adopted, if its task is known to have been ours.
"""

from collections.abc import Collection
from typing import TypeVar

from pilothouse.agent.plan import hook_names
from pilothouse.agent.runtime.interface import ContainerState
from pilothouse.model.base import Value
from pilothouse.model.names import container_name
from pilothouse.model.objects import Network, Volume
from pilothouse.model.wire import Assignment

T = TypeVar("T", Network, Volume)


class Leftovers(Value, frozen=True, kw_only=True):
    """What has to go.

    Attributes:
        containers: Names of containers that belong to no task of the node.
        networks, volumes: Those the manager wants to hear are gone; external ones are forgotten, not removed.
        strays: Engine names of networks of ours that no assignment knows any more.
    """

    containers: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()
    strays: tuple[str, ...] = ()


def leftovers(
    assignment: Assignment,
    containers: Collection[ContainerState],
    network_names: Collection[str],
    protected: Collection[str] = (),
    *,
    installation: str,
    known: Collection[str] = (),
) -> Leftovers:
    """Return what has to go from the node.

    Args:
        assignment: What belongs on the node.
        containers: Every container on the engine whose name is one of ours, of other installations too.
        network_names: Every network on the engine that this installation made.
        protected: Ids of tasks that will be assigned in a moment (they are being adopted).
        installation: The id of this one.
        known: Ids of tasks that were assigned to this agent before.
    """
    wanted = {container_name(task) for task in assignment.tasks}
    wanted |= {name for task in assignment.tasks if not task.state.terminal for name in hook_names(task)}
    ours = {task.id for task in assignment.tasks} | set(known)
    foreign = [
        state.name
        for state in containers
        if state.name not in wanted
        and state.task_id not in protected
        and (state.installation == installation if state.installation else state.task_id in ours)
    ]
    # A network goes after the last container on it; until then removing it would only be refused.
    busy = {name for state in containers for name in state.addresses}
    known = {network.spec.name for network in assignment.networks}
    return Leftovers(
        containers=tuple(sorted(foreign)),
        networks=_removing(assignment.networks),
        volumes=_removing(assignment.volumes),
        strays=tuple(sorted(name for name in network_names if name not in known and name not in busy)),
    )


def _removing(places: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(place for place in places if place.removing)
