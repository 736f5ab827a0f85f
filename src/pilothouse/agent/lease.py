"""How long this node may run what must not run twice: until so long after the sending of its last answered beat.

Counted on a clock that goes on while the machine sleeps. A lease that ended once is not simply taken up again: what was
fenced is dead or dying by then, and the manager may have given it to others. So only a new session renews it, and
nothing fenced starts before that session's first assignment said what belongs here now.
"""

import math
from collections.abc import Callable

from pilothouse.clock import Clock
from pilothouse.model.base import Value

START_MARGIN_SECONDS = 4.0
"""What must be left of a lease to start something under it: an engine takes time, and the guard kills at the end."""


class Term(Value, frozen=True, kw_only=True):
    """One unbroken lease.

    Attributes:
        number: Grows with each that follows one that ended.
        until: When it ends, on the clock that goes on while the machine sleeps.
    """

    number: int = 0
    until: float = 0.0


class Lease:
    """The lease of this node.

    Attributes:
        term: The present or the last one.
        changed: Called after each change, with the term; the guard's copy is written by it.
    """

    def __init__(self, clock: Clock, term: Term | None = None, *, endless: bool = False) -> None:
        """Take up *term*, which an agent before this one had; *endless* is for a node whose manager is in it."""
        self._clock = clock
        self._fresh = True
        self._told = endless
        self.term = Term(until=math.inf) if endless else term or Term()
        self.changed: Callable[[Term], None] = lambda _: None

    @property
    def endless(self) -> bool:
        """Whether it never ends, because there is no way to be cut off."""
        return math.isinf(self.term.until)

    def begin(self) -> None:
        """Note that a new session was opened: nothing an older one said will be handed over any more."""
        self._fresh = True
        self._told = self.endless

    def confirm(self) -> None:
        """Note that the session's assignment was taken over, so it is known what belongs on the node."""
        self._told = True

    def acknowledged(self, sent_at: float, seconds: float) -> bool:
        """Note that a beat was answered, and return False if the session must be ended and another begun.

        Args:
            sent_at: When that beat was sent, on `Clock.boottime`.
            seconds: How long after it the lease lasts, as the manager says.
        """
        if self.endless:
            return True
        until = sent_at + seconds
        if until <= self._clock.boottime():
            # An answer that old renews nothing.
            return self.live
        if self.live:
            self._change(Term(number=self.term.number, until=max(until, self.term.until)))
        elif not self._fresh:
            return False
        else:
            self._change(Term(number=self.term.number + 1, until=until))
        self._fresh = False
        return True

    def remaining(self, now: float | None = None) -> float:
        """Return how many seconds are left, 0 at least; *now* is on `Clock.boottime`."""
        return max(0.0, self.term.until - (self._clock.boottime() if now is None else now))

    @property
    def live(self) -> bool:
        """Whether what is fenced may go on running."""
        return self.remaining() > 0.0

    @property
    def may_start(self) -> bool:
        """Whether something fenced may be started."""
        return self._told and self.remaining() >= START_MARGIN_SECONDS

    def _change(self, term: Term) -> None:
        if term != self.term:
            self.term = term
            self.changed(term)
