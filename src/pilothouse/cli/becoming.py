"""How a machine that joined with a manager's token becomes one once it is approved: it gets a member of the store.

The agent has fetched a manager's certificate by then; that certificate is what opens the other managers' doors here.
"""

import asyncio
import os
import pathlib
from collections.abc import Mapping

import msgspec

from pilothouse.cli import membership, remote
from pilothouse.cli.backend import MEMBER, uses_members
from pilothouse.cli.moving import place_of, settings_of
from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import ConflictError, NotClusteredError, ServerUnavailableError
from pilothouse.link.credentials import Credentials
from pilothouse.link.tls import client_context
from pilothouse.model.addresses import api_address
from pilothouse.model.cluster import Role
from pilothouse.model.cluster_api import StoreAdmission
from pilothouse.model.identity import identity_of
from pilothouse.store.directory import KEY, private_file, sync_directory
from pilothouse.store.etcd.member import Member, find_binary

VOTE_SECONDS = 120.0
_LOOK_SECONDS = 0.5


def become_manager(data: pathlib.Path, environment: Mapping[str, str]) -> str:
    """Set this machine's member up, wait until it has its vote, and return the node's id; repeating it is fine.

    Raises:
        NotClusteredError: This machine joined no cluster as a manager.
        ConflictError: It is not approved yet, or has a store of its own.
        ServerUnavailableError: No manager answers.
        StoreUnavailableError: etcd is not installed, or does not start.
    """
    known = membership.load(data)
    if known is None or known.role is not Role.MANAGER:
        raise NotClusteredError(
            "this machine did not join as a manager: let it join with a token of "
            "`pilothouse token create --role manager`"
        )
    identity = identity_of(Credentials(data).held().names)
    if identity is None or identity.role is not Role.MANAGER:
        raise ConflictError(
            f"this machine has no manager's certificate yet: approve it on a manager (pilothouse node approve "
            f"{known.node_id}); its agent fetches the certificate then, within seconds"
        )
    if (data / "store.db").exists():
        raise ConflictError(f"{data} holds a state of its own; move it away if it is not needed")
    asyncio.run(_become(data, environment, known, SystemClock()))
    return known.node_id


async def _become(
    data: pathlib.Path, environment: Mapping[str, str], known: membership.Membership, clock: Clock
) -> None:
    answer = await asyncio.to_thread(_ask, data, known)
    _keep_key(data, answer.key)
    member = Member(data / MEMBER, find_binary(environment), clock)
    if not uses_members(data):
        settings = settings_of(place_of(data, ""), answer.cluster)
        others = tuple(url for url in answer.clients if url != settings.url(settings.client))
        member.configure(msgspec.structs.replace(settings, others=others))
    await member.ensure()
    end = clock.monotonic() + VOTE_SECONDS
    while not answer.promoted:
        if clock.monotonic() > end:
            raise ServerUnavailableError(
                f"this machine's member has not caught up in {VOTE_SECONDS:g} s; repeat the command. etcd's last "
                f"words: {member.last_words()}"
            )
        await clock.sleep(_LOOK_SECONDS)
        answer = await asyncio.to_thread(_ask, data, known)


def _ask(data: pathlib.Path, known: membership.Membership) -> StoreAdmission:
    """Ask one manager after the other."""
    context, said = client_context(Credentials(data)), "none is known"
    for sessions in known.managers:
        address = api_address(sessions)
        try:
            return remote.ask(address, context, "POST", "/v1/store/members", StoreAdmission)
        except ServerUnavailableError as error:
            said = str(error)
    raise ServerUnavailableError(f"no manager answers: {said}")


def _keep_key(data: pathlib.Path, key: bytes) -> None:
    part = private_file(data / f"{KEY}.part")
    descriptor = os.open(part, os.O_WRONLY)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.rename(data / KEY)
    sync_directory(data)
