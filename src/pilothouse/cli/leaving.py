"""How a manager leaves its cluster: it is made an agent first, so that the others are not left without a majority."""

import asyncio
import os
import pathlib
import select
from collections.abc import Callable

from pilothouse.cli import agent_process, lifecycle, membership, share
from pilothouse.cli.cluster_client import ClusterClient
from pilothouse.cli.places import Places
from pilothouse.cli.transport import Transport
from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import ConflictError, ServerUnavailableError
from pilothouse.model.cluster import Role
from pilothouse.store.directory import FILE, KEY

LEFT = "etcd.left"
"""What a manager had of the state that left by force."""

DEMOTE_SECONDS = 60.0
_TICK_SECONDS = 0.1


def give_up(places: Places, node_id: str, say: Callable[[str], None], *, force: bool) -> None:
    """Have this machine, a manager or one that is to be, run neither server nor agent nor a member of the store.

    Raises:
        ConflictError: It is the only manager, or the others could not go on without it, and *force* is False.
        ServerUnavailableError: Its server does not answer, or it is not an agent after a minute.
    """
    if not force:
        _check_may(places, node_id)
    if not force and share.complete(places.data):
        ClusterClient(Transport(places.socket)).demote_node(node_id)
        say(f"{node_id} is no manager any more")
        _wait_agent(places, SystemClock())
    lifecycle.stop(places)
    asyncio.run(_end_member(pathlib.Path(places.data), kept=force))


def _check_may(places: Places, node_id: str) -> None:
    if pathlib.Path(places.data, FILE).exists():
        raise ConflictError(
            f"this machine is the manager {node_id}, and the state of the cluster is in its file: without it there is "
            "no cluster. `pilothouse leave --force` leaves all the same, and keeps the file"
        )
    if share.complete(places.data) and not lifecycle.answers(places):
        raise ServerUnavailableError(
            f"this machine is the manager {node_id} and its server does not run: start it (pilothouse server start) so "
            "that it can be made an agent; or remove it on another manager (pilothouse node remove "
            f"{node_id}), then `pilothouse leave --force` here"
        )


def _wait_agent(places: Places, clock: Clock) -> None:
    """Return once the server has become an agent, and nothing of it is under way any more."""
    end = clock.monotonic() + DEMOTE_SECONDS
    while clock.monotonic() < end:
        known = membership.load(places.data)
        if known is not None and known.role is Role.AGENT and agent_process.ready(places):
            return
        select.select([], [], [], _TICK_SECONDS)
    raise ServerUnavailableError(
        f"the server has not become an agent in {DEMOTE_SECONDS:g} s; repeat the command. Its log ends with:\n"
        f"{lifecycle.log_tail(places)}"
    )


async def _end_member(data: pathlib.Path, *, kept: bool) -> None:
    """End the member that runs here, if there is one; what it had stays under another name if it may be needed."""
    if not share.configured(data):
        return
    from pilothouse.store.etcd.member import Member, find_binary  # noqa: PLC0415 - only where there was one

    member = Member(data / share.MEMBER, find_binary(os.environ), SystemClock())
    await member.stop()
    if kept:
        member.directory.rename(data / LEFT)
    else:
        await member.remove()
        (data / KEY).unlink(missing_ok=True)
