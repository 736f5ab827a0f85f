"""Tells the manager what the proxy counts while releases are judged; between judgements nothing runs."""

import asyncio

from pilothouse import log
from pilothouse.agent.proxy.interface import Ingress
from pilothouse.agent.session import ManagerLink
from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError
from pilothouse.model.wire import Split

MEASURE_SECONDS = 2.0


class Measuring:
    """The splits of this node, for the proxy and for the manager."""

    def __init__(self, link: ManagerLink, ingress: Ingress, clock: Clock) -> None:
        self._link = link
        self._ingress = ingress
        self._clock = clock
        self._some = asyncio.Event()

    def divide(self, splits: tuple[Split, ...]) -> None:
        """Divide traffic so from now on."""
        self._ingress.divide(splits)
        if splits:
            self._some.set()
        else:
            self._some.clear()

    async def run(self) -> None:
        """Hand over what was counted, every MEASURE_SECONDS while there are splits, until cancelled."""
        while True:
            await self._some.wait()
            await self._clock.sleep(MEASURE_SECONDS)
            reports = self._ingress.measured()
            if not reports:
                continue
            try:
                await self._link.traffic(reports)
            except PilothouseError as error:
                # The counts only grow, so the next report holds what this one would have said.
                log.event("warning", "traffic.untold", error=str(error))
