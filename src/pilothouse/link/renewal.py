"""Keeps this machine's certificate young: a new key and a new certificate at about half of the old one's life.

Who gives the certificate is handed in: over the session for an agent, from the store for a manager.
"""

import asyncio
from collections.abc import Awaitable, Callable

from pilothouse.backoff import delay_seconds
from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError
from pilothouse.ids import Ids
from pilothouse.link.credentials import Credentials, new_request
from pilothouse.log import event

EARLIEST, LATEST = 0.45, 0.55
"""Of a certificate's life; the jitter keeps a thousand nodes apart that joined together."""
RETRY_FIRST_SECONDS = 1.0
RETRY_CAP_SECONDS = 300.0

Ask = Callable[[str], Awaitable[tuple[str, str]]]
"""Given a signing request as PEM, returns the certificate and the authorities to trust, as PEM."""


def renewal_at(not_before: float, not_after: float, fraction: float) -> float:
    """Return when a certificate should be replaced.

    Args:
        not_before: Its beginning.
        not_after: Its end.
        fraction: Chance, in [0, 1), drawn once for each certificate.
    """
    return not_before + (not_after - not_before) * (EARLIEST + (LATEST - EARLIEST) * fraction)


class Renewal:
    """Renews one machine's certificate.

    Attributes:
        now: Set it to have the certificate replaced without waiting.
    """

    def __init__(
        self, credentials: Credentials, ask: Ask, clock: Clock, ids: Ids, now: asyncio.Event | None = None
    ) -> None:
        self.now = now or asyncio.Event()
        self._credentials = credentials
        self._ask = ask
        self._clock = clock
        self._ids = ids

    async def run(self) -> None:
        """Renew for ever; what fails is tried again, until it works or the certificate has ended and after that too."""
        failures = 0
        while True:
            if not failures:
                held = self._credentials.held()
                await self._until(renewal_at(held.not_before, held.not_after, self._ids.fraction()))
            self.now.clear()
            try:
                await self.renew()
                failures = 0
            except (PilothouseError, OSError) as error:
                # A full disk is no reason to stop serving: what is held counts for hours yet.
                failures += 1
                wait = delay_seconds(
                    failures, fraction=self._ids.fraction(), first=RETRY_FIRST_SECONDS, cap=RETRY_CAP_SECONDS
                )
                event("warning", "certificate.kept", reason=str(error), again_seconds=round(wait, 1))
                await self._clock.sleep(wait)

    async def renew(self) -> None:
        """Get a certificate for a new key and keep it; what was held stays until the new one is whole on the disk."""
        request = new_request()
        certificate, authorities = await self._ask(request.text)
        self._credentials.keep(authorities, certificate, request.key)
        held = self._credentials.held()
        event("info", "certificate.renewed", serial=held.serial, not_after=held.not_after)

    async def _until(self, at: float) -> None:
        """Return at wall-clock time *at*, or once a renewal is asked for."""
        async with asyncio.TaskGroup() as group:
            racers = {
                group.create_task(self._clock.sleep(at - self._clock.now())),
                group.create_task(self.now.wait()),
            }
            await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
            for racer in racers:
                racer.cancel()
