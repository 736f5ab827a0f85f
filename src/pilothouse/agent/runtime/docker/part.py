"""What every part of the driver has: the client, a clock, chance for its back-off, and a look at one container."""

from pilothouse.agent.runtime.docker.answers import ContainerAnswer, state_of
from pilothouse.agent.runtime.docker.client import Client
from pilothouse.agent.runtime.docker.failures import MissingError
from pilothouse.clock import Clock
from pilothouse.ids import Ids


class Part:
    """Base of the parts; `engine.DockerEngine` is all of them on one client."""

    def __init__(self, client: Client, clock: Clock, ids: Ids) -> None:
        self._client = client
        self._clock = clock
        self._ids = ids

    async def _look(self, name: str) -> ContainerAnswer | None:
        """Return one container, or None if there is none of that name."""
        what = f"inspect the container {name}"
        try:
            return await self._client.call("GET", f"/containers/{name}/json", what, ContainerAnswer)
        except MissingError:
            return None

    async def _runs(self, name: str) -> bool:
        """Return whether a container's process lives."""
        found = await self._look(name)
        return found is not None and state_of(found).phase in {"running", "paused"}
