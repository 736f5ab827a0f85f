"""What a scenario needs of a cluster, simulated or real: one text, two runners.

Times are seconds of the cluster's own time. Whoever waits gives a limit, and fails with what was seen instead.
"""

from typing import Protocol

from pilothouse.model.cluster import Disruption
from pilothouse.model.node import Node
from pilothouse.model.objects import Task
from pilothouse.model.spec import AppSpec


class Seen(Protocol):
    """The cluster at one moment.

    Attributes:
        tasks: All there are, dead ones included.
        copies: What really lives, by app, service and slot ("shop/web.1", "shop/agent" in global modes): the machines.
    """

    tasks: tuple[Task, ...]
    nodes: dict[str, Node]
    requests: tuple[Disruption, ...]
    copies: dict[str, tuple[str, ...]]


class Cluster(Protocol):
    """Machines that are one cluster.

    Attributes:
        nodes: The ids of all machines.
    """

    nodes: tuple[str, ...]

    async def up(self, spec: AppSpec) -> None:
        """Deploy, as `pilothouse up --detach` does."""
        ...

    async def down(self, app: str) -> None:
        """Take an app down."""
        ...

    async def drain(self, node_id: str, *, until: float | None = None, deadline: float | None = None) -> None:
        """Have a node emptied; times are seconds from now."""
        ...

    async def activate(self, node_id: str) -> None:
        """Have a node take work again."""
        ...

    async def kill_host(self, node_id: str) -> None:
        """Pull a machine's plug."""
        ...

    async def start_host(self, node_id: str) -> None:
        """Plug it in again."""
        ...

    async def kill_agent(self, node_id: str) -> None:
        """Kill an agent's process; its service manager starts it again."""
        ...

    async def kill_leader(self) -> None:
        """Kill the manager that leads; another one takes over, or it comes back."""
        ...

    async def cut(self, node_id: str, *, up: bool = True, down: bool = True) -> None:
        """Cut a node off from the managers: what it sends (*up*), what is sent to it (*down*), or both."""
        ...

    async def heal(self, node_id: str) -> None:
        """Mend what was cut."""
        ...

    async def look(self) -> Seen:
        """Return what there is now."""
        ...

    async def passes(self, seconds: float) -> None:
        """Let so much time go by."""
        ...
