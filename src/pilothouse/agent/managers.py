"""The managers this agent knows, in which order and how soon it tries them. Pure but for chance, which is handed in.

All agents of a cluster lose their session at once when its leader dies, so none of them comes back at a fixed time.
"""

from collections.abc import Callable, Sequence

FIRST_SECONDS = 0.1
CAP_SECONDS = 5.0
LEASE_SHARE = 0.25
"""No wait takes more of what is left of the node's lease, so that there are several attempts before it ends."""

HELLO_SECONDS = 15.0
"""How long a manager may take for its first answer: a new leader has every agent of the cluster to greet."""
LEAST_HELLO_SECONDS = 1.0
HELLO_SHARE = 0.5


def patience_seconds(managers: int, lease_seconds: float) -> float:
    """Return how long to wait for a manager's first answer.

    One that was stopped takes connections and says nothing. Where there are others, a node that still has a lease asks
    one of them before the lease ends; without a lease nothing is lost by waiting, and a busy leader is spared.

    Args:
        managers: How many are known.
        lease_seconds: What is left of the node's lease, 0 if it has none.
    """
    if managers < 2 or lease_seconds <= 0:
        return HELLO_SECONDS
    return min(HELLO_SECONDS, max(LEAST_HELLO_SECONDS, HELLO_SHARE * lease_seconds))


def wait_seconds(failures: int, fraction: float, lease_seconds: float) -> float:
    """Return how long to wait before the next attempt: anything up to a bound that doubles with each failure.

    What may not run twice is killed when the lease ends, so a node that still has one comes more often towards its end,
    however many sessions in a row were short or none.

    Args:
        failures: Attempts in a row that failed, 0 right after a session.
        fraction: Chance, in [0, 1).
        lease_seconds: What is left of the node's lease, 0 if it has none.
    """
    # 2**16 is far past the cap; bounding the exponent keeps the number small.
    bound = min(CAP_SECONDS, FIRST_SECONDS * 2.0 ** min(failures, 16))
    if lease_seconds > 0:
        bound = min(bound, max(FIRST_SECONDS, LEASE_SHARE * lease_seconds))
    return float(fraction * bound)


class Managers:
    """Addresses of managers, "HOST:PORT" of their listeners for agents.

    Args:
        known: Those from the last time; at least one.
        remember: Keeps them for the next time; called when they change.
    """

    def __init__(self, known: Sequence[str], remember: Callable[[tuple[str, ...]], None]) -> None:
        self._known = tuple(known)
        self._remember = remember
        self._leader = ""
        self._turn = 0

    @property
    def known(self) -> tuple[str, ...]:
        """Every address that is known."""
        return self._known

    def next(self, fraction: float) -> str:
        """Return whom to try next: who was said to lead, once; else one after the other from a place chance chose."""
        if self._leader:
            leader, self._leader = self._leader, ""
            return leader
        if self._turn == 0:
            self._turn = 1 + int(fraction * len(self._known))
        else:
            self._turn += 1
        return self._known[(self._turn - 1) % len(self._known)]

    def lead(self, address: str) -> None:
        """Try *address* first the next time: it is said to lead, or it served until now."""
        self._leader = address

    def learn(self, addresses: Sequence[str]) -> None:
        """Know these from now on; an empty list tells nothing."""
        if addresses and tuple(addresses) != self._known:
            self._known = tuple(addresses)
            self._remember(self._known)
