"""What a node's message says: one plain sentence, the same as long as nothing changes. Pure."""

from collections.abc import Mapping

from pilothouse.control.nodes.presence import Heard
from pilothouse.control.nodes.timers import FENCED_SECONDS, IN_A_ROW, SUSPECT_SECONDS
from pilothouse.model.node import NodeState

MANAGERS_CLOCK = "its agent is connected; the manager's clock is wrong, by this node's and by most others'"


def about(
    state: NodeState,
    *,
    heard: Heard | None,
    pressure: Mapping[str, str],
    hold_seconds: float,
    losses: int,
    paused: bool,
) -> str:
    """Return the sentence about a node.

    Args:
        state: Its state.
        heard: What was heard of it in this term.
        pressure: Why it should get no more work.
        hold_seconds: For how long it is held back after a loss, 0 if it is not.
        losses: How often it was lost within the last hour.
        paused: Nothing is made anew for now, because too many nodes are silent.
    """
    match state:
        case NodeState.UNKNOWN:
            return "its agent has not come yet"
        case NodeState.READY:
            if heard is not None and heard.doubts_manager and not pressure and not hold_seconds:
                return MANAGERS_CLOCK
            return _ready(pressure, hold_seconds, losses)
        case NodeState.SUSPECT:
            return _silent(local=heard is not None and heard.local, paused=paused)
        case NodeState.DOWN:
            return _lost(back=heard is not None and heard.connected)


def _silent(*, local: bool, paused: bool) -> str:
    if local:
        return "its agent is not connected; tasks on it are left as they are"
    if paused:
        return "it is silent; nothing of it is made anew, because too many nodes fell silent at once"
    return (
        f"nothing was heard of it for {SUSPECT_SECONDS:g} s; it gets no new tasks, and those on it are left as they "
        "are for now"
    )


def _lost(*, back: bool) -> str:
    if back:
        return f"it is back; it is taken for well after {IN_A_ROW} beats in a row"
    return (
        "it is lost: nothing was heard of it for too long, so its tasks are made anew elsewhere, those that must be "
        f"single {FENCED_SECONDS:g} s after its last sign of life"
    )


def _ready(pressure: Mapping[str, str], hold_seconds: float, losses: int) -> str:
    if pressure:
        return f"it gets no new tasks: {'; '.join(pressure[kind] for kind in sorted(pressure))}"
    if hold_seconds:
        times = "once" if losses <= 1 else f"{losses} times"
        return f"it is back, but was lost {times} within an hour, so it gets no new tasks for {hold_seconds:g} s"
    return "its agent is connected"
