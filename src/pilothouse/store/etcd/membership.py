"""Who is a member of the replicated store, how each of them is, and what is to be said about it.

Adding and removing are single calls to the cluster, so they need a majority; losing the majority for good is what a
restored backup is for. `findings` is pure.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from pilothouse.errors import ConflictError, PilothouseError, QuorumLostError, StoreUnavailableError
from pilothouse.model.api import Finding, StoreMember
from pilothouse.store.etcd import rpc_pb2 as rpc
from pilothouse.store.etcd.client import (
    ALARM,
    MEMBER_ADD,
    MEMBER_LIST,
    MEMBER_PROMOTE,
    MEMBER_REMOVE,
    STATUS,
    EtcdClient,
)

_SECONDS = 5.0
_STATUS_SECONDS = 1.5
GOOD_35, GOOD_36 = (3, 5, 28), (3, 6, 9)
"""From these versions on, the faults that Pilothouse has to work around are mended."""

LARGE_BYTES = 2 << 30
NOSPACE, CORRUPT = 1, 2


async def status(client: EtcdClient) -> tuple[StoreMember, ...]:
    """Return how every member is; those that do not answer are named too.

    Raises:
        QuorumLostError: Nobody could be asked who the members are.
    """
    listed = await client.call(MEMBER_LIST, rpc.MemberListRequest(), _STATUS_SECONDS * 2)
    try:
        alarms = (await client.call(ALARM, rpc.AlarmRequest(), _STATUS_SECONDS)).alarms
    except QuorumLostError:
        alarms = []
    names = {NOSPACE: "no space", CORRUPT: "corrupt"}
    raised = [(each.memberID, names.get(each.alarm, str(each.alarm))) for each in alarms]
    found = await asyncio.gather(*(_one(client, member) for member in listed.members))
    return tuple(
        sorted(
            (
                msgspec.structs.replace(each, alarms=tuple(what for whose, what in raised if f"{whose:x}" == each.id))
                for each in found
            ),
            key=lambda each: (each.name, each.id),
        )
    )


async def _one(client: EtcdClient, member: rpc.Member) -> StoreMember:
    known = StoreMember(
        id=f"{member.ID:x}",
        name=member.name,
        peers=tuple(member.peerURLs),
        clients=tuple(member.clientURLs),
        learner=member.isLearner,
    )
    if not known.clients:
        return msgspec.structs.replace(known, trouble="it has not started yet")
    try:
        found = await client.call_at(known.clients[0], STATUS, rpc.StatusRequest(), _STATUS_SECONDS)
    except PilothouseError as error:
        return msgspec.structs.replace(known, trouble=str(error))
    return msgspec.structs.replace(
        known,
        leads=found.leader == member.ID,
        version=found.version,
        bytes=found.dbSize,
        used_bytes=found.dbSizeInUse,
        term=found.raftTerm,
        applied=found.raftAppliedIndex,
    )


async def add(client: EtcdClient, peer: str, *, learner: bool = True) -> str:
    """Tell the members of a further one, which may be started then; return its id.

    Args:
        client: Of the cluster.
        peer: The URL at which the others will reach it.
        learner: It gets a vote by `promote`, once it has caught up, so a slow one endangers nothing meanwhile.

    Raises:
        ConflictError: There is such a member.
        QuorumLostError: Most members cannot be reached.
    """
    members = (await client.call(MEMBER_LIST, rpc.MemberListRequest(), _SECONDS)).members
    for each in members:
        if peer in each.peerURLs:
            if not each.name:
                # It was added before, and has not started yet: an answer was lost, or a join was interrupted.
                return f"{each.ID:x}"
            raise ConflictError(f"{peer} is a member of the store already; remove that first if it is another machine")
    asked = rpc.MemberAddRequest(peerURLs=[peer], isLearner=learner)
    return f"{(await client.call(MEMBER_ADD, asked, _SECONDS, attempt=_SECONDS)).member.ID:x}"


async def promote(client: EtcdClient, id: str) -> bool:
    """Give a learner its vote; return False if it has not caught up yet."""
    try:
        await client.call(MEMBER_PROMOTE, rpc.MemberPromoteRequest(ID=int(id, 16)), _SECONDS, attempt=_SECONDS)
    except StoreUnavailableError as error:
        if "in sync" in str(error):
            return False
        if "can only promote a learner" in str(error):
            return True
        raise
    return True


async def remove(client: EtcdClient, id: str) -> None:
    """Take a member out; removing one that is gone does nothing.

    Raises:
        QuorumLostError: Most members cannot be reached.
    """
    members = (await client.call(MEMBER_LIST, rpc.MemberListRequest(), _SECONDS)).members
    if not any(f"{each.ID:x}" == id for each in members):
        return
    try:
        await client.call(MEMBER_REMOVE, rpc.MemberRemoveRequest(ID=int(id, 16)), _SECONDS, attempt=_SECONDS)
    except StoreUnavailableError as error:
        # The member that was asked first may have done it, and gone before it could say so.
        if "member not found" not in str(error):
            raise


def why_not_remove(members: Sequence[StoreMember], id: str) -> str:
    """Return why taking the member *id* out would leave no majority that answers; "" if it would not."""
    gone = next((each for each in members if each.id == id), None)
    if gone is None or gone.learner:
        return ""
    left = [each for each in members if each.id != id and not each.learner]
    reached = [each for each in left if not each.trouble]
    if not left:
        return "it is the only member: without it there is no state"
    if len(reached) * 2 > len(left):
        return ""
    silent = ", ".join(each.name or each.id for each in left if each.trouble)
    return (
        f"without it {len(reached)} of {len(left)} members would answer, and nothing could be written any more: start "
        f"{silent} first"
    )


async def clear_alarm(client: EtcdClient) -> None:
    """Let the members write again after there is room."""
    for each in (await client.call(ALARM, rpc.AlarmRequest(), _SECONDS)).alarms:
        asked = rpc.AlarmRequest(action=rpc.AlarmRequest.DEACTIVATE, memberID=each.memberID, alarm=each.alarm)
        await client.call(ALARM, asked, _SECONDS)


def findings(members: Sequence[StoreMember]) -> tuple[Finding, ...]:
    """Return what `pilothouse doctor` says about the members."""
    found: list[Finding] = []
    voters = [each for each in members if not each.learner]
    reached = [each for each in voters if not each.trouble]
    if len(reached) * 2 <= len(voters):
        found.append(
            Finding(
                level="error",
                subject="store",
                message=f"{len(reached)} of {len(voters)} members answer: nothing can be written",
                advice="bring the others back; if they are lost for good, see how-to/recover-from-lost-managers",
            )
        )
    for each in members:
        found.extend(_of_one(each))
    if len(voters) % 2 == 0 and voters:
        found.append(
            Finding(
                level="warning",
                subject="store",
                message=f"{len(voters)} members survive the loss of no more than {len(voters) - 1} would",
                advice="run an odd number of managers",
            )
        )
    return tuple(found)


def _of_one(member: StoreMember) -> list[Finding]:
    subject = f"store member {member.name or member.id}"
    if member.trouble:
        advice = "start its manager, or remove it with `pilothouse node remove`"
        return [Finding(level="error", subject=subject, message=f"does not answer: {member.trouble}", advice=advice)]
    found = []
    if "corrupt" in member.alarms:
        advice = "remove it and add it again: it gets a copy from the others"
        found.append(Finding(level="error", subject=subject, message="its data differ from the others'", advice=advice))
    if "no space" in member.alarms:
        advice = "compact and defragment it while it is out of use, then `etcdctl alarm disarm`"
        found.append(Finding(level="error", subject=subject, message="has no more room: writes fail", advice=advice))
    if member.bytes > LARGE_BYTES:
        message = f"keeps {member.bytes >> 20} MiB, of which {member.used_bytes >> 20} are needed"
        advice = "defragment one member after the other, each while its manager is stopped"
        found.append(Finding(level="warning", subject=subject, message=message, advice=advice))
    found.append(_version(subject, member.version))
    return found


def _version(subject: str, text: str) -> Finding:
    numbers = tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
    good = numbers >= GOOD_36 or GOOD_35 <= numbers < (3, 6)
    if good:
        return Finding(level="ok", subject=subject, message=f"runs etcd {text}")
    return Finding(
        level="warning",
        subject=subject,
        message=f"runs etcd {text}, which can lose events of a watch, confirm a lease that is over, and answer reads "
        "with what is old after a pause; Pilothouse checks for the first two, and cannot for the last",
        advice="install etcd 3.5.28, 3.6.9 or newer on one manager after the other",
    )
