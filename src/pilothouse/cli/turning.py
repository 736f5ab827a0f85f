"""A process that goes on as the other thing a machine can run: the agent of a new manager, the server of a former one.

The process keeps its number, so whoever supervises it sees no end; containers, proxy, guard and member do not notice.
"""

import os
import sys
from typing import NoReturn

from pilothouse.cli.places import Places
from pilothouse.log import event


def turn_into(places: Places, what: str) -> NoReturn:
    """Go on as `pilothouse WHAT run`; call it with nothing held."""
    event("info", "process.turns", into=what, pid=os.getpid())
    words = [sys.executable, "-m", "pilothouse", "--socket", places.socket, what, "run"]
    os.execv(sys.executable, [*words, "--data", places.data, "--run", places.run])  # noqa: S606 - no shell
