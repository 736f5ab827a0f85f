"""Which nodes are connected, and how to ask each of them something."""

from pilothouse.errors import NodeUnavailableError
from pilothouse.server.sessions.interface import NodeServices


class Nodes:
    """The connected nodes by id; sessions enter and leave."""

    def __init__(self) -> None:
        self._services: dict[str, NodeServices] = {}

    def connect(self, node_id: str, services: NodeServices) -> None:
        """Let *services* answer for the node from now on."""
        self._services[node_id] = services

    def disconnect(self, node_id: str) -> None:
        """Forget the node's services; unknown ids are fine."""
        self._services.pop(node_id, None)

    @property
    def connected(self) -> tuple[str, ...]:
        """The ids of the connected nodes, sorted."""
        return tuple(sorted(self._services))

    def of(self, node_id: str) -> NodeServices:
        """Return the services of one node.

        Raises:
            NodeUnavailableError: It is not connected.
        """
        found = self._services.get(node_id)
        if found is None:
            raise NodeUnavailableError(f"the node {node_id or '(none)'} is not connected; try again in a few seconds")
        return found

    def any(self) -> tuple[str, NodeServices]:
        """Return the first connected node; on one host it is the only one.

        Raises:
            NodeUnavailableError: No node is connected.
        """
        for node_id in self.connected:
            return node_id, self._services[node_id]
        raise NodeUnavailableError("no node is connected, so no image can be looked for; try again in a few seconds")
