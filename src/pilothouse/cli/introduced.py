"""What a machine adds to what its agent says of it: where others reach it. Keeps `agent.session.ManagerLink`."""

from collections.abc import AsyncIterator, Callable

from msgspec.structs import replace

from pilothouse.agent.session import ManagerLink
from pilothouse.model.node import NodeDescription
from pilothouse.model.wire import Assignment, ResourceReport, TaskReport, TrafficReport


class Introduced:
    """A link to the manager that knows this machine's address, and tells when a manager has heard of the node."""

    def __init__(self, link: ManagerLink, address: Callable[[], str], heard: Callable[[], None] = lambda: None) -> None:
        self._link = link
        self._address = address
        self._heard = heard

    def assignments(self) -> AsyncIterator[Assignment]:
        return self._link.assignments()

    async def report(self, tasks: tuple[TaskReport, ...], resources: tuple[ResourceReport, ...] = ()) -> None:
        await self._link.report(tasks, resources)

    async def describe(self, description: NodeDescription) -> None:
        await self._link.describe(replace(description, address=self._address()))
        self._heard()

    async def needed_images(self) -> tuple[str, ...]:
        return await self._link.needed_images()

    async def traffic(self, reports: tuple[TrafficReport, ...]) -> None:
        await self._link.traffic(reports)
