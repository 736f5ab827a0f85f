"""Keeps this machine's member of the store told which certificates open it no more, although they have not ended."""

from collections.abc import Callable

from pilothouse.clock import Clock
from pilothouse.log import event
from pilothouse.model.cluster import CLUSTER_ID, Cluster, Revocation
from pilothouse.store.interface import Commit, ReadTx, Store

_AGAIN_SECONDS = 30.0

Tell = Callable[[tuple[str, ...]], bool]
"""Given serial numbers in hexadecimal, keeps them where the member looks; says whether that was new."""


def revoked(known: tuple[Revocation, ...], now: float) -> tuple[tuple[str, ...], float | None]:
    """Return the serial numbers that count now, sorted, and when that changes next."""
    valid = [each for each in known if each.until > now]
    times = [each.since if each.since > now else each.until for each in valid]
    return tuple(sorted(each.serial for each in valid if each.since <= now)), min(times, default=None)


class Revoked:
    """Keeps `pulse.Reconciler`."""

    def __init__(self, store: Store, clock: Clock, tell: Tell) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell

    def survey(self, tx: ReadTx) -> None:
        """Nothing to note: every pass looks."""

    def note(self, commit: Commit) -> bool:
        return any(isinstance(change.object, Cluster) for change in commit.changes)

    async def act(self) -> float | None:
        """Tell the member what counts now."""
        cluster = await self._store.view(lambda tx: tx.get(Cluster, CLUSTER_ID))
        serials, again = revoked(() if cluster is None else cluster.revoked, self._clock.now())
        try:
            if self._tell(serials):
                event("info", "certificates.revoked", serials=len(serials))
        except OSError as error:
            event("warning", "certificates.not_revoked", reason=str(error), again_seconds=_AGAIN_SECONDS)
            return self._clock.now() + _AGAIN_SECONDS
        return again
