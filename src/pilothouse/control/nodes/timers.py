"""How long a node may be silent before what happens; all in seconds, and why they fit together.

An agent counts its lease from the sending of its last answered beat, the manager counts silence from the receipt of
the last beat: a receipt is never before its sending, so with FENCED_SECONDS > LEASE_SECONDS + KILL_SECONDS whatever
was fenced is dead before it is made anew, without any two clocks agreeing on more than the length of a second.
"""

BEAT_SECONDS = 2.0
"""Between two beats of an agent."""

BEAT_JITTER = 0.1
"""A beat comes so much earlier or later, as a share of `BEAT_SECONDS`."""

SUSPECT_SECONDS = 6.0
"""A node that was silent so long gets no new work."""

LEASE_SECONDS = 8.0
"""Fenced tasks may run so long after the sending of the last answered beat."""

KILL_SECONDS = 4.0
"""The guard takes at most so long to kill them after that."""

LOST_SECONDS = 10.0
"""A node that was silent so long is down; tasks that need not be fenced are made anew elsewhere (T1)."""

FENCED_SECONDS = 14.0
"""After so long, fenced tasks are made anew as well (T2); the 2 s more than lease and kill are a margin."""

REMOVED_SECONDS = 20.0
"""So long after a node was removed its tasks are given up: its session ends within 5 s, then the same time as T2."""

LOOK_SECONDS = 0.5
"""How often the detector looks."""

MOST_BEATS = 100.0
"""So many beats in a second, of all nodes together, are enough; with more nodes each is asked to beat less often."""

SLOWEST_BEAT_SECONDS = 2.5
"""A beat asked for is never slower: two that are missed must still not cost a lease."""


def beat_seconds(nodes: int) -> float:
    """Return how often each of so many nodes is to send a beat."""
    return min(SLOWEST_BEAT_SECONDS, max(BEAT_SECONDS, nodes / MOST_BEATS))


IN_A_ROW = 3
"""So many beats without a gap let a node that was suspect or down be believed again."""

HOLD_SECONDS = 60.0
MOST_HOLD_SECONDS = 600.0
"""A node that was lost and came back gets no new work for so long, twice as long with each loss in an hour."""

MEMORY_SECONDS = 3600.0
"""Losses older than this are forgiven."""

STORM_SECONDS = 60.0
STORM_NODES = 3
STORM_SHARE = 3
"""More than one node in `STORM_SHARE`, and at least `STORM_NODES`, lost within `STORM_SECONDS`: nothing is moved."""

REJOIN_SECONDS = 0.02
"""What a new leader gives every node more for each node there is: they come one after the other."""

BAD_LINE = 4.0
LONGEST_WAIT_SECONDS = 30.0
"""Where beats have been lost of late but others came through, a node is lost only after so many times that gap."""


def hold_seconds(losses: int) -> float:
    """Return how long a node is held that was lost so many times within `MEMORY_SECONDS`, this time included."""
    return float(min(MOST_HOLD_SECONDS, HOLD_SECONDS * 2 ** (max(1, losses) - 1)))
