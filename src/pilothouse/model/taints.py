"""Which taints of a node a service cannot live with, and how a taint is written. Pure."""

from collections.abc import Iterable

from pilothouse.model.placement import Placement, Taint, tolerates


def unbearable(placement: Placement, taints: Iterable[Taint]) -> tuple[Taint, ...]:
    """Return those of *taints* that a service with *placement* cannot live with."""
    return tuple(taint for taint in taints if not tolerates(placement, taint))


def taint_text(taint: Taint) -> str:
    """Return a taint as people write it: "KEY=VALUE" or "KEY"."""
    return f"{taint.key}={taint.value}" if taint.value else taint.key
