"""Opens this machine's store however long that takes; meanwhile the API says why. Part of the composition root.

A manager that starts while most members of the store are away is no reason for its process to end: it waits, says so
to whoever asks, and goes on by itself.
"""

import os
import pathlib
from collections.abc import Callable

from pilothouse.cli import membership
from pilothouse.cli.backend import Backend, open_backend
from pilothouse.cli.places import Places
from pilothouse.clock import Clock
from pilothouse.errors import QuorumLostError
from pilothouse.ids import Ids
from pilothouse.log import event
from pilothouse.server.waiting import Waiting

_AGAIN_SECONDS = 0.5


async def open_patiently(places: Places, clock: Clock, ids: Ids, waits: Callable[[], None]) -> Backend:
    """Return the store once it can be opened; until then every request is refused with the reason.

    Args:
        places: Where things are.
        clock: The time.
        ids: Names and chance.
        waits: Called once the API refuses.

    Raises:
        PilothouseError: It cannot be opened for another reason than that most members do not answer.
    """
    data = pathlib.Path(places.data)
    waiting, waited = Waiting(pathlib.Path(places.socket), clock, ids), False
    try:
        while True:
            try:
                backend = await open_backend(data, clock, ids, os.environ)
            except QuorumLostError as error:
                known = membership.load(data)
                await waiting.refuse(error, data, "" if known is None else known.advertise)
                if not waited:
                    waited = True
                    event("error", "store.awaited", error=str(error))
                    waits()
                await clock.sleep(_AGAIN_SECONDS)
            else:
                if waited:
                    event("info", "store.opened")
                return backend
    finally:
        await waiting.close()
