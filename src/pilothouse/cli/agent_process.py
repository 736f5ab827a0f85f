"""The agent of a machine that joined: started and stopped as the server is, by the same lock and the same log.

A machine runs either a server or an agent, so they share the pid file. The agent answers on no socket: that a manager
has heard of it is written to a file in the run directory.
"""

import pathlib
import select
from collections.abc import Callable

from pilothouse.cli import lifecycle, share
from pilothouse.cli.places import Places
from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import ServerUnavailableError

READY_SECONDS = 60.0
_TICK_SECONDS = 0.1


def ready_file(places: Places) -> pathlib.Path:
    """The file an agent writes its process id to once a manager has heard what its node is."""
    return pathlib.Path(places.run, "agent.ready")


def ready(places: Places) -> bool:
    """Whether the agent that runs here has been heard by a manager."""
    pid = lifecycle.running_pid(places)
    try:
        return pid is not None and ready_file(places).read_text().strip() == str(pid)
    except OSError:
        return False


def start(places: Places) -> str:
    """Start the agent, wait until a manager has heard of it, and return one line that says how it was started.

    Raises:
        ServerUnavailableError: It ended; the message has the end of its log.
    """
    if lifecycle.has_systemd(places):
        lifecycle.start_unit(lifecycle.AGENT_UNIT)
        if _wait(places, lambda: lifecycle.running_pid(places) is not None):
            return f"started the agent (systemd unit {lifecycle.AGENT_UNIT})"
    else:
        process = lifecycle.spawn(places, "agent", "run")
        if _wait(places, lambda: process.poll() is None):
            return f"started the agent (process {process.pid}, log {places.log_file})"
    raise ServerUnavailableError(f"the agent did not start; its log ends with:\n{lifecycle.log_tail(places)}")


def _serves(places: Places) -> bool:
    """Whether the agent has become the server of a manager meanwhile."""
    return share.complete(places.data) and lifecycle.answers(places)


def _wait(places: Places, alive: Callable[[], bool], clock: Clock | None = None) -> bool:
    """Wait until a manager has heard of the agent, or it has become one; False once the agent has ended.

    Raises:
        ServerUnavailableError: It runs, and no manager has heard of it in a minute; it goes on trying.
    """
    clock = clock or SystemClock()
    end = clock.monotonic() + READY_SECONDS
    while clock.monotonic() < end:
        if ready(places) or _serves(places):
            return True
        if not alive():
            return False
        select.select([], [], [], _TICK_SECONDS)
    raise ServerUnavailableError(
        f"the agent runs, but no manager has heard of this node in {READY_SECONDS:g} s; it goes on trying. Its log "
        f"ends with:\n{lifecycle.log_tail(places)}"
    )
