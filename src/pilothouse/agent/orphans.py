"""What is on the node and should not be, as a pure function: what exists against what is assigned.

Only what is ours is ever named: containers by their name, networks and volumes by the assignment or the engine's label.
"""

from collections.abc import Collection

from pilothouse.agent.plan import hook_names
from pilothouse.agent.runtime.interface import ContainerState
from pilothouse.model.base import Value
from pilothouse.model.names import container_name
from pilothouse.model.objects import Network, Volume
from pilothouse.model.wire import Assignment


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
) -> Leftovers:
    """Return what has to go from the node.

    Args:
        assignment: What belongs on the node.
        containers: Every container of ours on the engine.
        network_names: Every network on the engine that carries our label.
        protected: Ids of tasks that will be assigned in a moment (they are being adopted).
    """
    wanted = {container_name(task) for task in assignment.tasks}
    wanted |= {name for task in assignment.tasks for name in hook_names(task)}
    foreign = [state.name for state in containers if state.name not in wanted and state.task_id not in protected]
    # A network goes after the last container on it; until then removing it would only be refused.
    busy = {name for state in containers for name in state.addresses}
    known = {network.spec.name for network in assignment.networks}
    return Leftovers(
        containers=tuple(sorted(foreign)),
        networks=tuple(n for n in assignment.networks if n.removing),
        volumes=tuple(v for v in assignment.volumes if v.removing),
        strays=tuple(sorted(name for name in network_names if name not in known and name not in busy)),
    )
