"""What an interrupted change of managers leaves behind, as `pilothouse doctor` says it. Pure."""

from collections.abc import Iterable, Sequence

from pilothouse.model.addresses import member_addresses
from pilothouse.model.api import Finding, StoreMember
from pilothouse.model.cluster import ManagerMember


def owns(manager: ManagerMember, member: StoreMember) -> bool:
    """Whether a member of the store is this manager's: by its name, or before it has one, by where it will be."""
    return member.name == manager.id or f"https://{member_addresses(manager.api)[0]}" in member.peers


def leftovers(managers: Iterable[ManagerMember], members: Sequence[StoreMember]) -> tuple[Finding, ...]:
    """Return what is to be said about members without a manager, and about managers without a member."""
    approved = [each for each in managers if each.approved_at is not None]
    found: list[Finding] = []
    if any(peer.startswith("http://") for member in members for peer in member.peers):
        # From before there was a cluster: this machine's own, under another name.
        return ()
    for member in members:
        subject = f"store member {member.name or member.id}"
        owner = next((each for each in approved if owns(each, member)), None)
        if owner is None and approved:
            message = f"belongs to no manager of the cluster ({', '.join(member.peers)})"
            advice = f"pilothouse store remove-member {member.id}"
            found.append(Finding(level="warning", subject=subject, message=message, advice=advice))
        elif owner is not None and not member.name:
            message = f"was added for {owner.id} and has never started"
            advice = (
                f"pilothouse agent status, on {owner.id}, says what it waits for; if it is gone for good: pilothouse "
                f"node remove {owner.id} --force"
            )
            found.append(Finding(level="warning", subject=subject, message=message, advice=advice))
    for manager in approved:
        if members and not any(owns(manager, each) for each in members):
            message = "is approved as a manager and has no share of the state yet"
            advice = f"pilothouse agent status, on that machine, says what it waits for; or: node demote {manager.id}"
            found.append(Finding(level="warning", subject=f"manager {manager.id}", message=message, advice=advice))
    return tuple(found)
