"""Which agents were heard of, and when: what sessions tell the detector, in the memory of the manager that leads.

Times are the monotonic clock's, taken when a beat arrives. Leaving is not being lost: only missing beats count.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping

from msgspec.structs import replace

from pilothouse.clock import Clock
from pilothouse.control.nodes.timers import LOST_SECONDS
from pilothouse.model.base import Value

IN_A_ROW_SECONDS = 3.5
"""Beats further apart are not in a row: one of them was missing."""

GAPS_SECONDS = 300.0
"""So long a gap between two beats is remembered, to tell a bad line from a lost node."""


class Heard(Value, frozen=True, kw_only=True):
    """What was heard of one node in this term.

    Attributes:
        local: Its agent is in this process and needs no beats.
        connected: It has a session.
        last: When the last sign of life came.
        in_a_row: Beats since the last gap, and since its session began.
        gaps: The gaps that ended of late, as (when, seconds).
        pressure: Why it should get no more work, by kind.
        doubts_manager: Its clock and the manager's are apart, and it is the manager's that is wrong (`clocks`).
    """

    local: bool = False
    connected: bool = False
    last: float = 0.0
    in_a_row: int = 0
    gaps: tuple[tuple[float, float], ...] = ()
    pressure: dict[str, str] = {}
    doubts_manager: bool = False


class Presence:
    """The nodes that were heard of.

    Attributes:
        changed: Set whenever something is worth a look before the next one is due.
        leads: Whether this manager can still show that it leads; the composition root says how to know.
    """

    def __init__(self, clock: Clock) -> None:
        """Know nobody yet."""
        self.changed = asyncio.Event()
        self._clock = clock
        self.leads: Callable[[], bool] = lambda: True
        self._heard: dict[str, Heard] = {}
        self._unanswered: set[str] = set()
        self._beaten: set[str] = set()
        self._writing: frozenset[str] = frozenset()
        self._written = asyncio.Event()

    def arrive(self, node_id: str, *, local: bool = False) -> None:
        """Note that the agent of a node has a session now; *local* if it is in this process.

        An agent that comes again and again without a beat in between is not alive by that.
        """
        known = self._heard.get(node_id)
        counts = known is None or node_id in self._beaten
        last = self._clock.monotonic() if known is None or counts else known.last
        self._heard[node_id] = replace(known or Heard(), local=local, connected=True, last=last, in_a_row=0)
        self._unanswered.discard(node_id)
        self._beaten.discard(node_id)
        self.changed.set()

    def beat(self, node_id: str) -> bool:
        """Note a beat, and return whether it may be answered, which renews the node's lease.

        It may not once the node's tasks were given to others in the middle of a session, or while this manager cannot
        show that it leads: the session is to be ended then, so that the agent comes again and hears the news first.
        """
        now = self._clock.monotonic()
        known = self._heard.get(node_id) or Heard(connected=True, last=now)
        gap = now - known.last
        # Longer ones were losses, and are dealt with as such.
        gaps = tuple(each for each in known.gaps if now - each[0] < GAPS_SECONDS)
        if IN_A_ROW_SECONDS < gap <= LOST_SECONDS and node_id in self._beaten:
            gaps = (*gaps, (now, gap))
        in_a_row = known.in_a_row + 1 if gap <= IN_A_ROW_SECONDS else 1
        self._heard[node_id] = replace(known, last=now, in_a_row=in_a_row, gaps=gaps)
        self._beaten.add(node_id)
        return node_id not in self._unanswered and self.leads()

    def leave(self, node_id: str) -> None:
        """Note that the session of a node ended; unknown ids are fine."""
        known = self._heard.get(node_id)
        if known is not None:
            self._heard[node_id] = replace(known, connected=False)
            self.changed.set()

    def pressure(self, node_id: str, found: Mapping[str, str]) -> None:
        """Note why a node should get no more work, by kind; all of it, so {} takes everything back."""
        known = self._heard.get(node_id)
        if known is not None and known.pressure != found:
            self._heard[node_id] = replace(known, pressure=dict(found))
            self.changed.set()

    def forget(self, node_id: str) -> None:
        """Forget a node that was removed; unknown ids are fine."""
        self._heard.pop(node_id, None)
        self._unanswered.discard(node_id)
        self._beaten.discard(node_id)

    def heard(self) -> Mapping[str, Heard]:
        """Return what was heard of each node so far."""
        return dict(self._heard)

    def give_up(self, node_ids: Collection[str]) -> None:
        """Begin to give the tasks of these nodes to others; `given_up` ends it.

        From now on, without anything in between, none of their beats is answered until their agents come again.
        """
        self._unanswered |= set(node_ids)
        self._writing = frozenset(node_ids)
        self._written.clear()

    def given_up(self) -> None:
        """Note that what `give_up` began is in the store, or certainly not."""
        self._writing = frozenset()
        self._written.set()

    async def quiet(self, node_id: str) -> None:
        """Return once no task of the node is being given to others; what is in the store then is what holds."""
        while node_id in self._writing:
            await self._written.wait()

    def __contains__(self, node_id: str) -> bool:
        known = self._heard.get(node_id)
        return known is not None and known.connected
