"""The record of how a container ended."""

import signal

from pilothouse.agent.runtime.interface import ExitStatus
from pilothouse.model.objects import Ending

LOG_TAIL_LINES = 50
LOG_TAIL_CHARACTERS = 1000


def ending_of(exit: ExitStatus | None, log_tail: tuple[str, ...]) -> Ending:
    """Return the record of an exit; every line of *log_tail* is cut to what is kept."""
    tail = tuple(line[:LOG_TAIL_CHARACTERS] for line in log_tail[-LOG_TAIL_LINES:])
    if exit is None:
        return Ending(log_tail=tail)
    return Ending(exit_code=exit.code, signal=signal_name(exit.code), oom=exit.oom, log_tail=tail)


def signal_name(code: int) -> str:
    """Return the name of the signal that an exit code above 128 stands for, or ""."""
    try:
        return signal.Signals(code - 128).name if code > 128 else ""
    except ValueError:
        return ""
