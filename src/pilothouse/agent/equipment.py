"""What the workers of one agent share: the engine and the keepers of what is on the node."""

import asyncio
import os
import pathlib
from collections.abc import Callable

from pilothouse.agent.fence import Fence
from pilothouse.agent.hooks import Hooks
from pilothouse.agent.installation import installation_id
from pilothouse.agent.logs.archive import LogArchive
from pilothouse.agent.network.driver import EngineNetworks, NetworkDriver
from pilothouse.agent.proxy.interface import Ingress
from pilothouse.agent.refusal import host_paths, refuse
from pilothouse.agent.reports import Reports
from pilothouse.agent.runtime.interface import ContainerPlan, Engine
from pilothouse.agent.session import ManagerLink
from pilothouse.agent.volumes.files import MemoryFiles
from pilothouse.agent.volumes.named import NamedVolumes
from pilothouse.clock import Clock
from pilothouse.ids import Ids
from pilothouse.model.objects import Task
from pilothouse.model.sealed import SEALED_PATHS
from pilothouse.model.wire import Assignment


class Equipment:
    """One of each, and the newest assignment.

    Attributes:
        ingress: The published ports that the proxy serves.
        fence: What the node may run without a manager in reach.
        installation: Whose things on the engine are ours.
        gate: Bounds how many commands run in containers at once.
        neighbours: Says which container stands for each service a task refers to.
        places: Host paths that are the engine's own on this node.
    """

    def __init__(
        self,
        link: ManagerLink,
        engine: Engine,
        ingress: Ingress,
        clock: Clock,
        ids: Ids,
        data_directory: pathlib.Path,
        run_directory: pathlib.Path,
        fence: Fence,
    ) -> None:
        self.engine = engine
        self.ingress = ingress
        self.fence = fence
        self.clock = clock
        self.ids = ids
        self.installation = installation_id(data_directory, ids)
        self.networks: NetworkDriver = EngineNetworks(engine, self.installation)
        self.volumes = NamedVolumes(engine, self.installation)
        self.files = MemoryFiles(run_directory / "files")
        self.archive = LogArchive(data_directory / "logs")
        self.hooks = Hooks(engine, self.installation, self.check, fence.enter_hook)
        self.reports = Reports(link, clock, ids)
        self.gate = asyncio.Semaphore(max(2, os.cpu_count() or 1))
        self.assignment = Assignment(revision=-1)
        self.hostname = ""
        self.neighbours: Callable[[Task], dict[str, str]] = lambda _: {}
        self.places: tuple[str, ...] = ()
        self._own = (str(data_directory.absolute()), str(run_directory.absolute()))

    async def check(self, plan: ContainerPlan) -> None:
        """Accept a container to make; the last look at it, on the node, whatever the server allowed.

        Raises:
            PermanentError: It would reach what no container may have.
        """
        found = host_paths(plan, self.assignment.volumes, f"{self._own[1]}/files")
        if found:
            places = (*self.places, *self._own)
            paths = {*(path for _, path in found), *SEALED_PATHS, *places}
            refuse(found, places, await asyncio.to_thread(lambda: {path: os.path.realpath(path) for path in paths}))
