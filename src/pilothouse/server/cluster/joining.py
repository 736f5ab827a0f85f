"""Lets a machine in that brings a token: one transaction uses the token up, makes the node and certifies its key."""

import re

import msgspec

from pilothouse.errors import JoinRefusedError, NotClusteredError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.joining.tokens import check
from pilothouse.governance.secrets.seal import Vault
from pilothouse.model.addresses import join_address, manager_addresses, split_address
from pilothouse.model.cluster import CLUSTER_ID, Cluster, JoinToken, ManagerMember, Role
from pilothouse.model.cluster_api import JoinAnswer, JoinRequest
from pilothouse.model.identity import NODE_ID, Identity
from pilothouse.model.node import Node, NodeDescription, NodeSpec
from pilothouse.server.cluster import authorities
from pilothouse.server.cluster.admission import sessions_of
from pilothouse.store.interface import ReadTx, WriteTx

REFUSED = "this token lets no machine join here; the cluster's audit log says why (`pilothouse audit`)"
"""The one answer to every wrong token, so that nobody learns from it which part was wrong."""
_NAME_LENGTH = 40
_TOKEN_ID = re.compile(r"[A-Z2-7]{8}\Z")


class WrongTokenError(Exception):
    """Inside the server: why a token was refused, for the audit log. It must never reach the caller."""


def join(tx: WriteTx, vault: Vault, asked: JoinRequest, caller: str, request_id: str, now: float) -> JoinAnswer:
    """Let a machine in, in the caller's transaction.

    Raises:
        WrongTokenError: The token does not let it.
        InvalidRequestError: The signing request or the address cannot be used; the token is not used up.
        NotClusteredError: There is no cluster.
    """
    cluster = tx.get(Cluster, CLUSTER_ID)
    if cluster is None:
        raise NotClusteredError("this platform runs on one host; make it a cluster first: pilothouse init")
    token = _token(tx, asked)
    if (why := check(token, asked.secret, now)) or token is None:
        raise WrongTokenError(why)
    node_id = free_name(tx, asked.hostname)
    # A manager that waits for approval is an agent, and gets an agent's certificate.
    identity = Identity(cluster=cluster.cluster, node_id=node_id, role=Role.AGENT)
    issued = authorities.certify(tx, vault, asked.request, identity, now)
    host, _ = split_address(asked.address) if asked.address else ("", 0)
    tx.put(
        Node(
            id=node_id,
            spec=NodeSpec(labels=token.labels),
            description=NodeDescription(hostname=asked.hostname[:253], address=host),
            role=token.role.value,
            joined_at=now,
            certificates=(issued.certificate,),
        )
    )
    if token.role is Role.MANAGER:
        tx.put(_candidate(node_id, asked.address, now))
    tx.put(msgspec.structs.replace(token, used_by=node_id, used_at=now))
    record(tx, _entry(token, node_id, asked, caller, request_id, now))
    wished = _plain(asked.hostname)
    return JoinAnswer(
        node_id=node_id,
        cluster=cluster.cluster,
        role=token.role,
        certificate=issued.text,
        authorities=authorities.trusted(tx),
        managers=sessions_of(tx),
        warning="" if node_id == wished else _warning(tx, wished, node_id),
    )


def refuse(tx: WriteTx, asked: JoinRequest, why: str, caller: str, request_id: str, now: float) -> None:
    """Record that a machine was not let in, and why."""
    name = asked.token_id if _TOKEN_ID.match(asked.token_id) else "unreadable"
    record(
        tx,
        Entry(
            at=now,
            principal=caller,
            action="node.join",
            object=f"jointoken/{name}",
            outcome="refused",
            summary=why,
            request_id=request_id,
        ),
    )


def refusal() -> JoinRefusedError:
    """Return the one error that a wrong token is answered with."""
    return JoinRefusedError(REFUSED)


def free_name(tx: ReadTx, hostname: str) -> str:
    """Return a node id that no node has: the host's name, or that with the first number from 2 on that is free."""
    wished = _plain(hostname)
    number, chosen = 1, wished
    while tx.get(Node, chosen) is not None:
        number += 1
        chosen = f"{wished}-{number}"
    return chosen


def _plain(hostname: str) -> str:
    """Return a host's name as a node's id can be: its first part, of a-z, 0-9, "-", "_" and "."."""
    first = hostname.split(".", maxsplit=1)[0].lower()
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in first)
    name = name.strip("-_.")[:_NAME_LENGTH].strip("-_.")
    return name if NODE_ID.match(name) else "node"


def _token(tx: ReadTx, asked: JoinRequest) -> JoinToken | None:
    return tx.get(JoinToken, asked.token_id) if _TOKEN_ID.match(asked.token_id) else None


def _candidate(node_id: str, address: str, now: float) -> ManagerMember:
    """Return a manager that nobody has approved yet."""
    host, port = split_address(address or node_id)
    api, sessions = manager_addresses(join_address(host, port))
    return ManagerMember(id=node_id, api=api, sessions=sessions, joined_at=now)


def _entry(token: JoinToken, node_id: str, asked: JoinRequest, caller: str, request_id: str, now: float) -> Entry:
    labels = "".join(f", {key}={value}" for key, value in sorted(token.labels.items()))
    return Entry(
        at=now,
        principal=caller,
        action="node.join",
        object=f"node/{node_id}",
        summary=f"as {token.role.value} with token {token.id} of {token.created_by}, host {asked.hostname!r}{labels}",
        request_id=request_id,
    )


def _warning(tx: ReadTx, wished: str, node_id: str) -> str:
    known = tx.get(Node, wished)
    if known is None:
        return f"the host's name cannot be a node's, so it is called {node_id}"
    return (
        f"there is a node {wished} already, so this one is called {node_id}; if it is the same machine, remove that one"
    )
