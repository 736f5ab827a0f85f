"""Says to the manager what this node is: at the start, and again when something about it changed."""

from collections.abc import Callable

from msgspec.structs import replace

from pilothouse import log
from pilothouse.agent.equipment import Equipment
from pilothouse.agent.runtime.interface import ContainerState, Housed
from pilothouse.agent.session import ManagerLink
from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError
from pilothouse.model.images import Reclaimed
from pilothouse.model.node import NodeDescription

LOOK_SECONDS = 2.0


class Introduction:
    """What the manager was told of this node."""

    def __init__(
        self,
        link: ManagerLink,
        kit: Equipment,
        clock: Clock,
        warnings: Callable[[], tuple[str, ...]],
        reclaimed: Callable[[], Reclaimed | None],
    ) -> None:
        """Tell *warnings* and what was *reclaimed* last beside what the engine says."""
        self._link = link
        self._kit = kit
        self._clock = clock
        self._warnings = warnings
        self._reclaimed = reclaimed
        self._engine = NodeDescription()
        self._told = NodeDescription()

    async def begin(self) -> dict[str, ContainerState]:
        """Tell what the node is, and return the containers that are there.

        Raises:
            PilothouseError: The engine or the manager does not answer.
        """
        kit = self._kit
        self._engine = await kit.engine.describe()
        if isinstance(kit.engine, Housed):
            kit.places = await kit.engine.places()
        found = {state.name: state for state in await kit.engine.status()}
        await self._tell(self._description())
        kit.hostname = self._engine.hostname
        log.event("info", "agent.started", engine=self._engine.engine, containers=len(found))
        return found

    async def run(self) -> None:
        """Tell what changed, until cancelled; a manager that does not answer is told later."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            now = self._description()
            if now == self._told:
                continue
            try:
                await self._tell(now)
            except PilothouseError as error:
                log.event("warning", "description.untold", error=str(error))

    async def _tell(self, description: NodeDescription) -> None:
        await self._link.describe(description)
        self._told = description

    def _description(self) -> NodeDescription:
        warnings = (*self._engine.warnings, *self._kit.ingress.warnings(), *self._warnings())
        return replace(self._engine, warnings=warnings, reclaimed=self._reclaimed())
