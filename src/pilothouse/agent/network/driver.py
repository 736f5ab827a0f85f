"""How the networks of an app come to be on a node. One driver so far: the engine's own networks.

A driver knows engine names and nothing of tasks; which networks a task is on is `agent.plan`.
"""

from typing import Protocol

from pilothouse.agent.once import Once
from pilothouse.agent.runtime.interface import NetworkPlan, Networks
from pilothouse.model.objects import Network


class NetworkDriver(Protocol):
    """Networks on this node."""

    async def ensure(self, network: Network) -> None:
        """Make the network exist; cheap when it is known to."""
        ...

    async def remove(self, name: str) -> bool:
        """Remove a network we made by its engine name if nothing uses it; return False if that has to wait."""
        ...

    async def refresh(self) -> tuple[str, ...]:
        """Look at what exists instead of trusting what was known, and return the engine names of those of ours."""
        ...

    def distrust(self, network: Network) -> None:
        """Look again before the network is used next time."""
        ...


class EngineNetworks:
    """One engine network for each Compose network."""

    def __init__(self, engine: Networks, installation: str) -> None:
        self._engine = engine
        self._installation = installation
        self._once = Once()

    async def ensure(self, network: Network) -> None:
        name = network.spec.name
        plan = NetworkPlan(app=network.app, installation=self._installation, spec=network.spec)
        await self._once.ensure(name, lambda: self._engine.ensure_network(name, plan))

    async def remove(self, name: str) -> bool:
        async with self._once.alone(name):
            self._once.forget(name)
            return await self._engine.remove_network(name, self._installation)

    async def refresh(self) -> tuple[str, ...]:
        names = await self._engine.list_networks(self._installation)
        self._once.keep(names)
        return names

    def distrust(self, network: Network) -> None:
        self._once.forget(network.spec.name)
