"""What certificates call the machines of a cluster: names made and read, nothing else.

An agent is `spiffe://CLUSTER/agent/NODE`; a manager is that and `spiffe://CLUSTER/manager/NODE`. Addresses never
appear: who connects to a manager checks the one name `SERVER_NAME` against the authority it pins, wherever it is.
"""

import re
from collections.abc import Iterable

from pilothouse.model.base import Value
from pilothouse.model.cluster import Role

SERVER_NAME = "manager.pilothouse.internal"
"""The name in every manager's certificate, and in no agent's."""

CLUSTER_ID = re.compile(r"[0-9a-f]{32}\Z")
NODE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_NAME = re.compile(r"spiffe://([0-9a-f]{32})/(agent|manager)/([a-z0-9][a-z0-9._-]{0,62})\Z")


class Identity(Value, frozen=True, kw_only=True):
    """Who a certificate says somebody is; *role* is MANAGER if it has a manager's name beside the agent's."""

    cluster: str
    node_id: str
    role: Role


def cluster_name(cluster: str) -> str:
    """Return the name of a cluster's authority."""
    return f"spiffe://{cluster}"


def names_of(identity: Identity) -> tuple[str, ...]:
    """Return the URI names of a node's certificate."""
    roles = (Role.AGENT, Role.MANAGER) if identity.role is Role.MANAGER else (Role.AGENT,)
    return tuple(f"spiffe://{identity.cluster}/{role.value}/{identity.node_id}" for role in roles)


def identity_of(names: Iterable[str]) -> Identity | None:
    """Return whose certificate has exactly these URI names, in any order, or None if nobody's has.

    A name of another form, of two clusters or of two nodes makes it nobody's.
    """
    given = sorted(names)
    found = _NAME.match(given[0]) if given else None
    if found is None:
        return None
    role = Role.MANAGER if len(given) > 1 else Role.AGENT
    identity = Identity(cluster=found[1], node_id=found[3], role=role)
    return identity if given == sorted(names_of(identity)) else None
