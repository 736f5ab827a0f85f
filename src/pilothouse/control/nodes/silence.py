"""For how long each node has been silent, as far as the detector was awake to hear it. Pure.

Time in which the detector itself did not look (the process was stopped, the machine slept or was too busy) is not held
against any node. What is counted is never more than the silence there was, so waiting for it is always safe.
"""

from collections.abc import Collection, Mapping

from pilothouse.control.nodes.presence import Heard
from pilothouse.control.nodes.timers import (
    BAD_LINE,
    LONGEST_WAIT_SECONDS,
    LOOK_SECONDS,
    LOST_SECONDS,
    REJOIN_SECONDS,
)
from pilothouse.model.base import Value

AWAKE_SECONDS = 1.2 * LOOK_SECONDS
"""Between two looks no more than this is counted.

A look that comes late says that whatever came from nodes meanwhile waits its turn as well, and so do the answers their
agents wait for, who may leave for that and have to come again. How long all that takes is counted in turns of the event
loop, so a late look counts as much as a punctual one, and no more.
"""


class Watch(Value, frozen=True, kw_only=True):
    """What the detector knows of silence between two looks.

    Attributes:
        looked: When it looked last, on the monotonic clock.
        awake: How long it has been awake in this term.
        heard: Of each node the last sign of life, and how long the detector had been awake then.
    """

    looked: float
    awake: float = 0.0
    heard: dict[str, tuple[float, float]] = {}

    def silence(self, node_id: str) -> float:
        """Return for how long nothing was heard of a node, in seconds; negative for one that still has grace."""
        known = self.heard.get(node_id)
        return self.awake - known[1] if known else 0.0


def listen(watch: Watch, nodes: Collection[str], heard: Mapping[str, Heard], now: float) -> Watch:
    """Return *watch* after a look at *now*; nodes of which nothing was heard yet count from the term's first look."""
    passed = min(max(0.0, now - watch.looked), AWAKE_SECONDS)
    awake = watch.awake + passed
    known: dict[str, tuple[float, float]] = {}
    for node_id in nodes:
        last = found.last if (found := heard.get(node_id)) is not None else None
        before = watch.heard.get(node_id)
        if last is None:
            known[node_id] = before or (0.0, awake + REJOIN_SECONDS * len(nodes))
        elif before is not None and before[0] == last:
            known[node_id] = before
        else:
            known[node_id] = (last, awake - min(max(0.0, now - last), passed))
    return Watch(looked=now, awake=awake, heard=known)


def lost_after(heard: Heard | None) -> float:
    """Return how long a node must be silent to be lost: longer on a line that loses beats but brings others."""
    lengths = sorted((seconds for _, seconds in heard.gaps), reverse=True) if heard else []
    # One gap may have been an accident; the same again is how the line is.
    usual = lengths[1] if len(lengths) > 1 else 0.0
    return min(LONGEST_WAIT_SECONDS, max(LOST_SECONDS, BAD_LINE * usual))
