"""The lease of a node whose manager is in the same process, where another manager could lead instead of it.

It lasts as long as the manager can show that it leads, and 8 s more: the next leader counts from the beginning of its
own term, as it does for every other node.
"""

from collections.abc import Callable

from pilothouse.agent.lease import Lease
from pilothouse.clock import Clock
from pilothouse.errors import TermOverError
from pilothouse.model.session import BeatAnswer

RENEW_SECONDS = 1.0
LEASE_SECONDS = BeatAnswer(sequence=0, epoch=0).lease_seconds


async def renew_locally(lease: Lease, clock: Clock, shown: Callable[[], bool]) -> None:
    """Renew *lease* until cancelled.

    Raises:
        TermOverError: It could not be shown that the manager leads, or the lease has ended meanwhile.
    """
    lease.begin()
    while True:
        at = clock.boottime()
        if not shown():
            raise TermOverError("this manager cannot show that it leads, so its own node has no lease from it either")
        if not lease.acknowledged(at, LEASE_SECONDS):
            raise TermOverError("the lease of the manager's own node ended before it was renewed; a new term begins")
        await clock.sleep(RENEW_SECONDS)
