"""How a machine that was a manager becomes an agent again: its share of the state goes, its tasks run on."""

import contextlib
import pathlib
from collections.abc import Mapping

from msgspec.structs import replace

from pilothouse.cli import membership, share
from pilothouse.clock import Clock
from pilothouse.errors import NotClusteredError
from pilothouse.link.credentials import Credentials
from pilothouse.log import event
from pilothouse.model.addresses import split_address
from pilothouse.model.cluster import Role
from pilothouse.model.identity import identity_of
from pilothouse.store.directory import KEY
from pilothouse.store.etcd.member import Member, find_binary


def was_demoted(data: pathlib.Path) -> bool:
    """Whether this machine has an agent's certificate already and a manager's share still: it ended in between."""
    known = membership.load(data)
    if known is None or known.role is not Role.MANAGER or not share.complete(data):
        return False
    with contextlib.suppress(NotClusteredError):
        identity = identity_of(Credentials(data).held().names)
        return identity is not None and identity.role is Role.AGENT
    return False


async def step_down(
    data: pathlib.Path, environment: Mapping[str, str], clock: Clock, managers: tuple[str, ...] = ()
) -> None:
    """Give up this machine's share of the state; repeating it is fine.

    Args:
        data: The data directory.
        environment: Names etcd's program.
        clock: For deadlines.
        managers: "HOST:PORT" of the managers' listeners for agents, as far as they are known.
    """
    known = membership.load(data)
    if known is not None:
        host = split_address(known.advertise)[0] if known.advertise else ""
        kept = replace(known, role=Role.AGENT, advertise=host, managers=managers or known.managers)
        membership.save(data, kept)
    (data / KEY).unlink(missing_ok=True)
    # Last: as long as it is there, the next start of the agent does all of this again.
    await Member(data / share.MEMBER, find_binary(environment), clock).remove()
    event("info", "manager.stepped_down")
