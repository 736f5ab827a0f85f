"""Follows how a machine that was approved becomes a manager, and says each step once."""

import select
from collections.abc import Callable

from pilothouse.cli.client import Client
from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError
from pilothouse.model.api import StoreStatus

MOST_SECONDS = 120.0
MOVE = (
    "the state is in a file of this host, which one manager alone can use: `pilothouse store migrate --to etcd` here "
    "moves it and restarts the server; containers run on. The node becomes a manager by itself then"
)
_LOOK_SECONDS = 0.5


def stage(status: StoreStatus, node_id: str) -> str:
    """Return how far a machine that was approved is, in a few words; "" once it is a manager."""
    own = next((each for each in status.members if each.name == node_id), None)
    if own is not None and not own.learner:
        return ""
    if own is not None:
        return "its member follows the others, and gets its vote once it has caught up"
    if any(not each.name for each in status.members):
        return "its member of the store was added, and starts"
    return "its agent fetches a manager's certificate"


def follow(client: Client, node_id: str, say: Callable[[str], None], clock: Clock) -> bool:
    """Return True once *node_id* is a manager, or is one as soon as the state is where several can share it.

    False after two minutes: it goes on by itself all the same.
    """
    end, said = clock.monotonic() + MOST_SECONDS, ""
    while clock.monotonic() < end:
        try:
            status = client.store()
        except PilothouseError as error:
            # While a member comes in the others may have to choose their leader anew.
            now = str(error)
        else:
            if status.kind != "etcd":
                say(MOVE)
                return True
            now = status.message or stage(status, node_id)
            if not now:
                say(f"{node_id} is a manager: its member of the store has its vote")
                return True
        if now != said:
            say(now)
            said = now
        select.select([], [], [], _LOOK_SECONDS)
    say(f"it is not one yet, and goes on by itself; on {node_id}, `pilothouse agent status` says what it waits for")
    return False
