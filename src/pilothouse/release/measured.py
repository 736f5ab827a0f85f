"""What the proxies measured of one service for one release, taken from the reports as they came. Pure."""

from collections.abc import Iterable, Sequence

from pilothouse.model.objects import Service
from pilothouse.model.release import Release, Traffic
from pilothouse.model.rollout import Counted
from pilothouse.release.counts import since, total


def reports(release: Release, service: Service, traffic: Iterable[Traffic]) -> tuple[Traffic, ...]:
    """Return what was measured of *service* for *release*; what is older, or of other new tasks, is of another."""
    mine = [each for each in traffic if each.service == service.name and each.measured_at >= release.created_at]
    newest = max(mine, key=lambda each: each.measured_at, default=None)
    return tuple(each for each in mine if newest is not None and each.fingerprint == newest.fingerprint)


def counted(found: Sequence[Traffic]) -> Counted:
    """Return everything the proxies have counted, together."""
    return Counted(
        fingerprint=found[0].fingerprint if found else "",
        old=total(each.old for each in found),
        new=total(each.new for each in found),
    )


def after(found: Sequence[Traffic], before: Counted, at: float) -> Counted:
    """Return what was counted after *before*, which was taken at time *at* or later.

    A proxy that began anew after *at*, or with other tasks, does not count what was before, so nothing is taken away.
    """
    now = counted(found)
    if now.fingerprint != before.fingerprint or all(each.measured_from > at for each in found):
        return now
    return Counted(
        fingerprint=now.fingerprint, old=since(now.old, before.old), new=since(now.new, before.new)
    )  # fmt: skip


def reported_until(found: Sequence[Traffic]) -> float:
    """Return until when every proxy has reported; 0 if none has."""
    return min((each.measured_at for each in found), default=0.0)
