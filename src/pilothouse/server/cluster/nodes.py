"""What a person changes about a node: labels, taints, availability, keys, membership. In the caller's transaction."""

import msgspec

from pilothouse.errors import ConflictError, InvalidRequestError, NotFoundError
from pilothouse.governance.audit.record import DONE
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ManagerMember, Revocation, Role
from pilothouse.model.cluster_api import NodePatch
from pilothouse.model.labels import MAX_LABELS, check_keys, check_labels
from pilothouse.model.node import Availability, Maintenance, Node, NodeSpec
from pilothouse.model.objects import AuditRecord, Task
from pilothouse.model.placement import Taint
from pilothouse.server.cluster.renewing import GRACE_SECONDS
from pilothouse.store.interface import ReadTx, WriteTx

MAX_TAINTS = 32
_YEAR_SECONDS = 366 * 86_400.0


def node_of(tx: ReadTx, id: str) -> Node:
    """Return a node.

    Raises:
        NotFoundError: There is none of that name, or none any more.
    """
    found = tx.get(Node, id)
    if found is None:
        gone = _removal(tx, id)
        if gone is not None:
            raise NotFoundError(
                f"the node {id} was removed from the cluster by {gone.principal}; its machine can join again with a "
                "new token (`pilothouse token create`)"
            )
        raise NotFoundError(f"there is no node {id[:80]!r}; `pilothouse node ls` lists them")
    return found


def _removal(tx: ReadTx, id: str) -> AuditRecord | None:
    """Return the record of a node's last removal, None if there never was one."""
    found = tx.find(AuditRecord, object=f"node/{id}")
    return next((each for each in reversed(found) if each.action == "node.remove" and each.outcome == DONE), None)


def changed(node: Node, patch: NodePatch, principal: str, now: float) -> Node:
    """Return *node* as *patch* wants it.

    Raises:
        InvalidRequestError: Something in it cannot be.
    """
    spec = _spec(node.spec, patch, principal, now)
    if patch.availability is Availability.ACTIVE and node.losses:
        spec = msgspec.structs.replace(spec, trusted_at=now)
    return msgspec.structs.replace(node, spec=spec)


def _spec(spec: NodeSpec, patch: NodePatch, principal: str, now: float) -> NodeSpec:
    check_labels(patch.labels)
    check_keys("taint", [taint.key for taint in patch.taints])
    labels = {**spec.labels, **patch.labels}
    kept = [t for t in spec.taints if t.key not in patch.untaint and not _named(t, patch.taints)]
    availability, maintenance = _allowed(spec, patch, principal, now)
    made = NodeSpec(
        labels={key: value for key, value in labels.items() if value is not None},
        availability=availability,
        taints=(*kept, *patch.taints),
        maintenance=maintenance,
        trusted_at=spec.trusted_at,
    )
    if len(made.labels) > MAX_LABELS or len(made.taints) > MAX_TAINTS:
        raise InvalidRequestError(f"a node has at most {MAX_LABELS} labels and {MAX_TAINTS} taints")
    return made


def _named(taint: Taint, taints: tuple[Taint, ...]) -> bool:
    return any((each.key, each.effect) == (taint.key, taint.effect) for each in taints)


def _allowed(spec: NodeSpec, patch: NodePatch, principal: str, now: float) -> tuple[Availability, Maintenance | None]:
    """Return availability and maintenance: activating ends a maintenance, and a maintenance drains."""
    asked = patch.maintenance
    if asked is None:
        ended = patch.availability not in {None, Availability.DRAIN}
        return patch.availability or spec.availability, None if ended else spec.maintenance
    if patch.availability not in {None, Availability.DRAIN}:
        raise InvalidRequestError(
            f"a node in maintenance is drained, and cannot be {patch.availability.value} meanwhile"
        )
    until, deadline = (_after(seconds, now) for seconds in (asked.for_seconds, asked.deadline_seconds))
    return Availability.DRAIN, Maintenance(
        reason=asked.reason[:400], requested_by=principal, requested_at=now, until=until, deadline=deadline
    )


def _after(seconds: float | None, now: float) -> float | None:
    if seconds is None:
        return None
    if not 0 <= seconds <= _YEAR_SECONDS:
        raise InvalidRequestError(f"a maintenance lasts from 0 seconds to a year, not {seconds:g} seconds")
    return now + seconds


def remove(tx: WriteTx, id: str, own: str, now: float, *, force: bool) -> Node:
    """Delete a node: none of its certificates counts from now on, at the store's members neither.

    Raises:
        NotFoundError: There is none.
        ConflictError: It has tasks, or the cluster could not go on without it.
    """
    node, member = check_removal(tx, id, own, force=force)
    tx.delete(node)
    if member is not None:
        tx.delete(member)
        _revoke(tx, node, now, now)
    return node


def _revoke(tx: WriteTx, node: Node, since: float, now: float) -> None:
    """Have what a manager can show open the store's members no more, from *since* on."""
    cluster = tx.get(Cluster, CLUSTER_ID)
    if cluster is None:
        return
    kept = tuple(each for each in cluster.revoked if each.until > now)
    added = tuple(
        Revocation(serial=each.serial, since=since, until=each.not_after)
        for each in node.certificates
        if each.not_after > now
    )
    tx.put(msgspec.structs.replace(cluster, revoked=(*kept, *added)))


def check_removal(tx: ReadTx, id: str, own: str, *, force: bool) -> tuple[Node, ManagerMember | None]:
    """Return a node that may be removed, and what it is as a manager.

    Raises:
        NotFoundError: There is none.
        ConflictError: It has tasks, or the cluster could not go on without it.
    """
    node = node_of(tx, id)
    if id == own:
        raise ConflictError(
            f"{id} is the manager that answers; a manager cannot remove itself: ask another, or run `pilothouse leave` "
            "on it"
        )
    member = tx.get(ManagerMember, id)
    if member is not None:
        _check_not_the_only(tx, member)
    live = [task for task in tx.find(Task, node_id=id) if not task.state.terminal]
    if live and not force:
        raise ConflictError(
            f"{len(live)} tasks are on {id}, {live[0].service_id} among them: drain it first (pilothouse node drain "
            f"{id}), or remove it with --force if the machine is gone for good"
        )
    return node, member


def check_demotion(tx: ReadTx, id: str) -> tuple[Node, ManagerMember]:
    """Return a manager, or a machine that waits to be one, that may become an agent.

    Raises:
        NotFoundError: There is no such node.
        InvalidRequestError: It is an agent.
        ConflictError: It is the only manager.
    """
    node, member = node_of(tx, id), tx.get(ManagerMember, id)
    if member is None:
        raise InvalidRequestError(f"{id} is an agent already; `pilothouse node ls` shows what each node is")
    _check_not_the_only(tx, member)
    return node, member


def demote(tx: WriteTx, id: str, now: float) -> Node:
    """Make a manager an agent: it asks for an agent's certificate at once, and its tasks run on."""
    node, member = check_demotion(tx, id)
    tx.delete(member)
    # Meanwhile it fetches an agent's certificate, and it needs the one it has for that.
    _revoke(tx, node, now + GRACE_SECONDS, now)
    return tx.put(msgspec.structs.replace(node, role=Role.AGENT.value, rotated_at=now))


def _check_not_the_only(tx: ReadTx, member: ManagerMember) -> None:
    others = [each for each in tx.find(ManagerMember) if each.approved_at is not None and each.id != member.id]
    if member.approved_at is not None and not others:
        raise ConflictError(f"{member.id} is the only manager; without it there is no cluster")


def rotate(tx: WriteTx, id: str, now: float) -> Node:
    """Have a node make itself a new key; its certificates from before end soon after it has the new one."""
    node = node_of(tx, id)
    if not node.certificates:
        raise InvalidRequestError(f"{id} has no certificate: the platform runs on one host, or the node never joined")
    return tx.put(msgspec.structs.replace(node, rotated_at=now))


def approve(tx: WriteTx, id: str, principal: str, now: float) -> Node:
    """Let a node that joined with a manager's token be a manager; it asks for a manager's certificate at once.

    Raises:
        InvalidRequestError: It joined as an agent.
    """
    node, member = node_of(tx, id), tx.get(ManagerMember, id)
    if node.role != Role.MANAGER.value or member is None:
        raise InvalidRequestError(
            f"{id} joined as an agent, and cannot be approved: let it join with a manager's token "
            "(pilothouse token create --role manager)"
        )
    if member.approved_at is not None:
        return node
    tx.put(msgspec.structs.replace(member, approved_at=now, approved_by=principal))
    return tx.put(msgspec.structs.replace(node, rotated_at=now))
