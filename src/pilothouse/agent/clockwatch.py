"""Watches how far this node's clock and the manager's are apart; says so, and what follows, until it is over."""

from pilothouse.agent import offset
from pilothouse.clock import Clock


class ClockWatch:
    """What answered beats told of the manager's clock, in this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: tuple[offset.Answer, ...] = ()
        self._warned = 0.0
        self._troubled = 0.0

    def told(self, sent: float, received: float, manager: float) -> None:
        """Note that a beat sent then was answered then, both since boot, and the manager's clock meanwhile."""
        self._answers = offset.kept(self._answers, offset.answer(sent, received, manager))

    def trouble(self) -> str:
        """Return why the clock keeps new tasks away, "" if it does not."""
        ahead = self._ahead()
        bad = offset.hinders(ahead, before=bool(self._troubled))
        self._troubled = _still(self._troubled, ahead) if bad else 0.0
        return offset.sentence(self._troubled) if bad else ""

    def warning(self) -> str:
        """Return what a person should know of a clock that is only a little wrong, "" if there is nothing."""
        ahead = self._ahead()
        odd = offset.worth_saying(ahead, before=bool(self._warned)) and not self.trouble()
        self._warned = _still(self._warned, ahead) if odd else 0.0
        return offset.sentence(self._warned) if odd else ""

    def _ahead(self) -> float:
        return offset.ahead(self._answers, self._clock.now(), self._clock.boottime())


def _still(said: float, ahead: float) -> float:
    """Return what to say now: the same as before, unless that is far from the truth by now."""
    return said if said * ahead > 0 and abs(said) / 2 <= abs(ahead) <= abs(said) * 2 else ahead
