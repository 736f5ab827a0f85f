"""Which nodes are connected, and how to ask each of them something."""

from collections.abc import Callable

from pilothouse.errors import NodeUnavailableError
from pilothouse.server.sessions.interface import NodeServices
from pilothouse.server.sessions.relay import Asked, Through
from pilothouse.server.sessions.stub import NodeStub


class Nodes:
    """The connected nodes by id; sessions enter and leave."""

    def __init__(self) -> None:
        self._services: dict[str, NodeServices] = {}
        self._leader: Asked | None = None
        self._ready: Callable[[], tuple[str, ...]] = lambda: ()
        self._leads = False

    def ask_through(self, leader: Asked, ready: Callable[[], tuple[str, ...]]) -> None:
        """Have the manager that leads ask the nodes, as long as this one does not lead.

        Args:
            leader: How it is asked.
            ready: The ids of the nodes that can be asked, as far as the store knows.
        """
        self._leader, self._ready = leader, ready

    def lead(self) -> None:
        """Ask only the nodes that have a session here, from now on."""
        self._leads = True

    def follow(self) -> None:
        """Do not lead any more."""
        self._leads = False

    def connect(self, node_id: str, services: NodeServices) -> None:
        """Let *services* answer for the node from now on."""
        self._services[node_id] = services

    def disconnect(self, node_id: str) -> None:
        """Forget the node's services; unknown ids are fine."""
        self._services.pop(node_id, None)

    @property
    def connected(self) -> tuple[str, ...]:
        """The ids of the connected nodes, sorted."""
        return tuple(sorted({*self._services, *(self._ready() if self._elsewhere() is not None else ())}))

    def of(self, node_id: str) -> NodeServices:
        """Return the services of one node.

        Raises:
            NodeUnavailableError: It is not connected.
        """
        found = self._services.get(node_id)
        if found is None and node_id and (leader := self._elsewhere()) is not None:
            return NodeStub(node_id, Through(node_id, leader))
        if found is None:
            raise NodeUnavailableError(f"the node {node_id or '(none)'} is not connected; try again in a few seconds")
        return found

    def any(self) -> tuple[str, NodeServices]:
        """Return the first connected node; on one host it is the only one.

        Raises:
            NodeUnavailableError: No node is connected.
        """
        for node_id in self.connected:
            return node_id, self.of(node_id)
        raise NodeUnavailableError("no node is connected, so no image can be looked for; try again in a few seconds")

    def _elsewhere(self) -> Asked | None:
        return None if self._leads else self._leader
