"""Arithmetic of what the proxy counts: add, take away, quantiles. Pure; judges nothing."""

from collections.abc import Iterable, Mapping

from pilothouse.model.rollout import Golden


def total(parts: Iterable[Golden]) -> Golden:
    """Return the counts of several proxies together."""
    every = list(parts)
    bounds = sorted({bound for each in every for bound, _ in each.buckets})
    return Golden(
        requests=sum(each.requests for each in every),
        errors=sum(each.errors for each in every),
        buckets=tuple((bound, sum(not_slower(each, bound) for each in every)) for bound in bounds),
    )


def since(now: Golden, before: Golden) -> Golden:
    """Return what was counted between *before* and *now*; never less than nothing, whoever began anew meanwhile."""
    old = dict(before.buckets)
    return Golden(
        requests=max(0, now.requests - before.requests),
        errors=max(0, now.errors - before.errors),
        buckets=_ascending({bound: max(0, count - old.get(bound, 0)) for bound, count in now.buckets}),
    )


def timed(counts: Golden) -> int:
    """Return of how many requests the latency is known."""
    return counts.buckets[-1][1] if counts.buckets else 0


def not_slower(counts: Golden, bound: float) -> int:
    """Return how many requests are known to have taken *bound* milliseconds at most."""
    return max((count for at, count in counts.buckets if at <= bound), default=0)


def quantile_ms(counts: Golden, share: float) -> float | None:
    """Return the latency that *share* of the requests did not exceed, or None if none is known.

    Within a bucket latencies are taken to be spread evenly.
    """
    wanted = share * timed(counts)
    below_bound, below = 0.0, 0
    for bound, count in counts.buckets:
        if count >= wanted and count > below:
            return below_bound + (bound - below_bound) * (wanted - below) / (count - below)
        below_bound, below = bound, count
    return None


def _ascending(counts: Mapping[float, int]) -> tuple[tuple[float, int], ...]:
    """Return cumulative counts that never fall, as cumulative counts must."""
    found, most = [], 0
    for bound in sorted(counts):
        most = max(most, counts[bound])
        found.append((bound, most))
    return tuple(found)
