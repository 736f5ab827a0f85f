"""The machines that run an agent: looking at them, and what a person decides about them."""

from collections.abc import Callable
from typing import Annotated

import msgspec

from pilothouse.errors import ConflictError, InvalidRequestError, NotFoundError
from pilothouse.governance.audit.record import Entry, changes_of, record
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.addresses import member_addresses
from pilothouse.model.api import Page
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.cluster_api import NodePatch
from pilothouse.model.node import Node, NodeSpec
from pilothouse.model.objects import FieldChange
from pilothouse.model.states import Writer
from pilothouse.server.api.context import Context, Replicated
from pilothouse.server.api.lists import all_of
from pilothouse.server.api.route import Call, NoQuery, Paged, Query, Route
from pilothouse.server.cluster import nodes
from pilothouse.store.interface import WriteTx


class Removal(Query, frozen=True, kw_only=True):
    """How a node is removed."""

    force: Annotated[bool, msgspec.Meta(description="Although it has tasks: the machine is gone for good")] = False


async def read(call: Call[NoQuery, None]) -> Node:
    """Return one node."""
    return await call.context.store.view(lambda tx: nodes.node_of(tx, call.path["node"]))


async def patch(call: Call[NoQuery, NodePatch]) -> Node:
    """Change what is named."""
    now, principal = call.context.clock.now(), str(call.principal)

    def write(tx: WriteTx) -> Node:
        before = nodes.node_of(tx, call.path["node"])
        after = tx.put(nodes.changed(before, call.body, principal, now))
        if after.spec != before.spec:
            record(tx, _entry(call, "node.change", now, changes=changes_of(_flat(before.spec), _flat(after.spec))))
        return after

    return await call.context.store.update(Writer.API, write)


async def remove(call: Call[Removal, None]) -> Node:
    """Remove a node; its certificates stop counting with it. A manager's share of the store is taken out first.

    Raises:
        NotFoundError: There is none.
        ConflictError: It has tasks, or the cluster could not go on without it.
    """
    now, own, force = call.context.clock.now(), call.context.node_id, call.query.force
    _, member = await call.context.store.view(lambda tx: nodes.check_removal(tx, call.path["node"], own, force=force))
    await _dismiss(call.context, member)

    def write(tx: WriteTx) -> Node:
        gone = nodes.remove(tx, call.path["node"], own, now, force=force)
        record(tx, _entry(call, "node.remove", now, "although it may have tasks" if force else ""))
        return gone

    return await call.context.store.update(Writer.API, write)


async def demote(call: Call[NoQuery, None]) -> Node:
    """Make a manager an agent. Its share of the store is taken out first; repeating it is fine.

    Raises:
        NotFoundError: There is no such node.
        InvalidRequestError: It is an agent.
        ConflictError: It is the only manager, or the store could not go on without its member.
    """
    now, name = call.context.clock.now(), call.path["node"]
    _, member = await call.context.store.view(lambda tx: nodes.check_demotion(tx, name))
    await _dismiss(call.context, member)
    return await _act(call, "node.demote", now, lambda tx: nodes.demote(tx, name, now))


async def _dismiss(context: Context, member: ManagerMember | None) -> None:
    """Take a manager's member of the store out, if there is one."""
    if member is not None and isinstance(context.keeping, Replicated):
        await context.keeping.dismiss(member.id, member_addresses(member.api)[0])


async def rotate(call: Call[NoQuery, None]) -> Node:
    """Have a node make itself a new key."""
    now = call.context.clock.now()
    return await _act(call, "node.rotate", now, lambda tx: nodes.rotate(tx, call.path["node"], now))


async def approve(call: Call[NoQuery, None]) -> Node:
    """Let a node that joined with a manager's token be one."""
    now, principal = call.context.clock.now(), str(call.principal)
    return await _act(call, "node.approve", now, lambda tx: nodes.approve(tx, call.path["node"], principal, now))


async def _act(call: Call[NoQuery, None], action: str, now: float, do: Callable[[WriteTx], Node]) -> Node:
    def write(tx: WriteTx) -> Node:
        made = do(tx)
        record(tx, _entry(call, action, now))
        return made

    return await call.context.store.update(Writer.API, write)


def _entry(
    call: Call[NoQuery, None] | Call[NoQuery, NodePatch] | Call[Removal, None],
    action: str,
    now: float,
    summary: str = "",
    changes: tuple[FieldChange, ...] = (),
) -> Entry:
    return Entry(
        at=now,
        principal=str(call.principal),
        action=action,
        object=f"node/{call.path['node']}",
        summary=summary,
        changes=changes,
        request_id=call.request_id,
    )


def _flat(spec: NodeSpec) -> dict[str, object]:
    taints = {f"taints.{each.key}.{each.effect.value}": each.value or "set" for each in spec.taints}
    labels = {f"labels.{key}": value for key, value in spec.labels.items()}
    kept = spec.maintenance
    maintenance = {} if kept is None else {"maintenance": kept.reason or f"until {kept.until}"}
    trusted = {"trusted_at": f"{spec.trusted_at:.0f}"} if spec.trusted_at else {}
    return {**labels, **taints, **maintenance, **trusted, "availability": spec.availability.value}


ROUTES = (
    Route(
        method="GET",
        path="/v1/nodes",
        name="nodes.list",
        summary="The machines that run an agent",
        permission=Permission.NODE_READ,
        handler=all_of(Node),
        query=Paged,
        answer=Page[Node],
    ),
    Route(
        method="GET",
        path="/v1/nodes/{node}",
        name="nodes.read",
        summary="One machine",
        permission=Permission.NODE_READ,
        handler=read,
        answer=Node,
        errors=(NotFoundError,),
    ),
    Route(
        method="PATCH",
        path="/v1/nodes/{node}",
        name="nodes.change",
        summary="Change labels, taints, availability; what is not named stays",
        permission=Permission.NODE_WRITE,
        handler=patch,
        body=NodePatch,
        answer=Node,
        errors=(NotFoundError,),
    ),
    Route(
        method="DELETE",
        path="/v1/nodes/{node}",
        name="nodes.remove",
        summary="Remove a machine from the cluster: its certificates stop counting",
        permission=Permission.NODE_WRITE,
        handler=remove,
        query=Removal,
        answer=Node,
        errors=(NotFoundError, ConflictError),
    ),
    Route(
        method="POST",
        path="/v1/nodes/{node}/rotate",
        name="nodes.rotate",
        summary="Have a machine make itself a new key",
        permission=Permission.NODE_WRITE,
        handler=rotate,
        answer=Node,
        errors=(NotFoundError, InvalidRequestError),
    ),
    Route(
        method="POST",
        path="/v1/nodes/{node}/approve",
        name="nodes.approve",
        summary="Let a machine that joined with a manager's token be a manager",
        permission=Permission.CLUSTER_ADMIN,
        handler=approve,
        answer=Node,
        errors=(NotFoundError, InvalidRequestError),
    ),
    Route(
        method="POST",
        path="/v1/nodes/{node}/demote",
        name="nodes.demote",
        summary="Make a manager an agent: its member of the store is taken out first, and its tasks run on",
        permission=Permission.CLUSTER_ADMIN,
        handler=demote,
        answer=Node,
        errors=(NotFoundError, InvalidRequestError, ConflictError),
    ),
)
