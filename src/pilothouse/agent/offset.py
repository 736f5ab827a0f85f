"""How far this node's clock and the manager's are apart, from what answered beats tell. Pure.

A round trip bounds it: the manager read its clock somewhere between the sending and the receipt. Of several, the
shortest says most. What is kept is the manager's clock against one that never jumps, so that a jump of this node's own
clock is seen at once, and one of the manager's with the next answer.
"""

from pilothouse.model.base import Value

KEPT = 8
"""So many answers are looked at."""

WARNS, WARNS_NO_MORE = 2.0, 1.0
"""Seconds apart from which on a person is told, and below which no more."""

HINDERS, HINDERS_NO_MORE = 10.0, 5.0
"""Seconds apart from which on the node gets no new tasks, and below which it does again."""

STEP_SECONDS = 0.5
"""Clocks that drift do not come so far apart within a few beats; one was set."""

CURE = "have NTP set both (`chronyc makestep`, or `timedatectl set-ntp true`)"
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


class Answer(Value, frozen=True, kw_only=True):
    """What one answered beat tells.

    Attributes:
        lead: The manager's wall clock minus this node's clock since boot, in the middle of the round trip.
        slack: By so much it can be wrong: half the round trip.
    """

    lead: float
    slack: float


def answer(sent: float, received: float, manager: float) -> Answer:
    """Return what a beat tells that was sent and answered then (since boot) and found the manager's clock at that."""
    slack = max(0.0, received - sent) / 2
    return Answer(lead=manager - (sent + slack), slack=slack)


def kept(known: tuple[Answer, ...], new: Answer) -> tuple[Answer, ...]:
    """Return the answers to keep with a *new* one: the last ones, without those from before a clock was set."""
    agreeing = tuple(old for old in known if abs(old.lead - new.lead) <= old.slack + new.slack + STEP_SECONDS)
    return (*agreeing, new)[-KEPT:]


def ahead(known: tuple[Answer, ...], wall: float, boottime: float) -> float:
    """Return by how many seconds this node's clock is certainly ahead of the manager's, negative if behind.

    0.0 while nothing is known, or as long as the time the answers took explains the difference.
    """
    if not known:
        return 0.0
    best = min(known, key=lambda each: each.slack)
    apart = wall - (best.lead + boottime)
    certain = max(0.0, abs(apart) - best.slack)
    return certain if apart > 0 else -certain


def hinders(seconds: float, *, before: bool) -> bool:
    """Whether a clock so far ahead or behind keeps new tasks away; *before* is whether it did a moment ago."""
    return abs(seconds) >= (HINDERS_NO_MORE if before else HINDERS)


def worth_saying(seconds: float, *, before: bool) -> bool:
    """Whether a person is to be told of it; *before* is whether one was a moment ago."""
    return abs(seconds) >= (WARNS_NO_MORE if before else WARNS)


def sentence(seconds: float) -> str:
    """Return what a person reads about a clock so far ahead of the manager's, or behind."""
    return f"its clock is {_about(abs(seconds))} {'ahead of' if seconds > 0 else 'behind'} the manager's: {CURE}"


def _about(seconds: float) -> str:
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit or (unit < _DAY and 0.95 * unit <= seconds < 1.05 * unit):
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s" if seconds >= HINDERS else f"{seconds:.1f} s"
