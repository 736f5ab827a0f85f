"""The mass-failure brake: too many nodes lost at once are more likely one broken network than as many broken nodes.

While it holds, no task is made anew because of a lost node. It lets go once enough nodes came back, or once a person
said that they are really lost. Pure.
"""

from collections.abc import Collection

from pilothouse.control.nodes.timers import STORM_NODES, STORM_SECONDS, STORM_SHARE
from pilothouse.model.base import Value
from pilothouse.model.cluster import Cluster
from pilothouse.model.counts import count


class Brake(Value, frozen=True, kw_only=True):
    """Whether evictions are paused, and what for.

    Attributes:
        paused: They are.
        answer: `Cluster.evictions_confirmed_at` when they were paused: another value is a person's answer, whatever
            the clock says.
        confirmed: Nodes that a person said are lost; they do not count any more, until they come back.
    """

    paused: bool = False
    answer: float = 0.0
    confirmed: frozenset[str] = frozenset()


def taken_over(cluster: Cluster | None) -> Brake:
    """Return the brake as a new leader finds it."""
    if cluster is None or cluster.evictions_paused_since is None:
        return Brake(answer=cluster.evictions_confirmed_at if cluster else 0.0)
    answered = cluster.evictions_confirmed_at > cluster.evictions_paused_since
    return Brake(paused=True, answer=0.0 if answered else cluster.evictions_confirmed_at)


def brake(
    before: Brake,
    *,
    silent: Collection[str],
    overdue: Collection[str],
    lost: Collection[str],
    total: int,
    answer: float,
    settled: bool,
) -> Brake:
    """Return the brake as it should be now.

    Args:
        before: As it was.
        silent: Nodes that are suspect now, down for no longer than `STORM_SECONDS`.
        overdue: Those of them that would be given up now.
        lost: Nodes that were given up within `STORM_SECONDS`, also if they came back.
        total: How many nodes there are that were not lost before that.
        answer: `Cluster.evictions_confirmed_at`.
        settled: This leader has led long enough to know who is silent.
    """
    confirmed = before.confirmed & set(silent) if settled else before.confirmed
    if before.paused:
        if answer != before.answer:
            return Brake(answer=answer, confirmed=confirmed | set(silent))
        # What made it hold is what makes it let go: a node that was lost and came back counts for as long as before.
        waiting = (set(silent) | set(lost)) - confirmed
        if settled and not _storm(waiting, total - len(confirmed)):
            return Brake(answer=answer, confirmed=confirmed)
        return Brake(paused=True, answer=before.answer, confirmed=confirmed)
    involved = (set(silent) | set(lost)) - confirmed
    paused = bool(set(overdue) - confirmed) and _storm(involved, total - len(confirmed))
    return Brake(paused=paused, answer=answer, confirmed=confirmed)


def sentence(silent: int, total: int) -> str:
    """Return what a person should read while evictions are paused."""
    return (
        f"{silent} of {count(total, 'node')} fell silent within {STORM_SECONDS:g} s, so nothing that ran there is "
        "made anew: it goes on once enough of them are back, or after `pilothouse cluster confirm-evictions`"
    )


def _storm(nodes: Collection[str], total: int) -> bool:
    return len(nodes) >= STORM_NODES and len(nodes) * STORM_SHARE > total
