"""What makes machines one cluster: its name, its authority, who may join, and what the platform must not do on its own.

A platform on one host has none of these; `pilothouse init` makes them.
"""

import enum

from pilothouse.model.base import Object, Value
from pilothouse.model.placement import Pool

CLUSTER_ID = "cluster"
"""The id of the one `Cluster` object."""


class Role(enum.Enum):
    """What a machine is in the cluster; a manager runs an agent as well."""

    AGENT = "agent"
    MANAGER = "manager"


class PoolPolicy(Value, frozen=True, kw_only=True):
    """What one class of work may take of the shared pool; percent of the cluster's reservable CPU time and memory.

    Attributes:
        reserved: So much is kept free for this class, whoever asks.
        most: It never takes more.
    """

    reserved: int = 0
    most: int = 100


class ClusterSpec(Value, frozen=True, kw_only=True):
    """What people decided about the cluster as a whole.

    Attributes:
        pools: By class; a class that is missing has `PoolPolicy()`.
        rebalance_budget: So many tasks may be moved in an hour to spread them better; 0 leaves it to people.
    """

    pools: dict[Pool, PoolPolicy] = {}
    rebalance_budget: int = 0


class Revocation(Value, frozen=True, kw_only=True):
    """A manager's certificate that opens the store's members no more, although it has not ended.

    Attributes:
        serial: In hexadecimal.
        since: From then on.
        until: It ends then by itself.
    """

    serial: str
    since: float
    until: float


class Cluster(Object, frozen=True, kw_only=True):
    """The cluster; there is one.

    Attributes:
        revoked: What machines have that are managers no more.
        cluster: Its random id, part of every certificate's name.
        evictions_paused_since: Too many nodes were lost at once, so none of their tasks is replaced; None otherwise.
        evictions_message: One sentence about that, or "".
        evictions_confirmed_at: When a person last said that the lost nodes are really lost.
    """

    cluster: str
    created_at: float
    spec: ClusterSpec = ClusterSpec()
    evictions_paused_since: float | None = None
    evictions_message: str = ""
    evictions_confirmed_at: float = 0.0
    revoked: tuple[Revocation, ...] = ()


class AuthorityState(enum.Enum):
    """Whether a CA signs, is trusted already (NEXT) or still (OLD)."""

    NEXT = "next"
    ACTIVE = "active"
    OLD = "old"


class Authority(Object, frozen=True, kw_only=True):
    """A certificate authority of the cluster; its id is a number from "1".

    Attributes:
        certificate: PEM.
        sealed_key: The private key, sealed under the platform's key.
        not_after: When its certificate ends.
        cross: The same key certified by the authority before it, as PEM, so that a node which was away while they
            changed believes it; "" for the first one.
    """

    certificate: str
    sealed_key: bytes
    state: AuthorityState
    created_at: float
    not_after: float
    cross: str = ""

    def __repr__(self) -> str:
        """Leave the key out, so that no log line can hold it."""
        return f"Authority(id={self.id!r}, state={self.state.value!r})"


class JoinToken(Object, frozen=True, kw_only=True):
    """A permission for one machine to join; its id is the public part of the token.

    Attributes:
        secret_hash: SHA-256 of the secret part, in hexadecimal; the secret itself is shown once and kept nowhere.
        labels: The node gets these.
        used_by: The node that came with it, or "".
        revoked_at: When it was taken back, or None.
    """

    secret_hash: str
    role: Role
    created_at: float
    expires_at: float
    created_by: str = ""
    labels: dict[str, str] = {}
    used_by: str = ""
    used_at: float | None = None
    revoked_at: float | None = None


class ManagerMember(Object, frozen=True, kw_only=True):
    """A manager, as the others and the agents reach it; its id is its node's id.

    Attributes:
        api, sessions: "HOST:PORT" of its API and of its listener for agents.
        peer, client: URLs of its member of the replicated store; "" while the store is this machine's alone.
        approved_at: When a person let it become a manager; until then it is none.
        release: The version of Pilothouse it runs, "" until it ran as a manager.
        format: The newest format it reads and writes (`model.format`).
    """

    api: str
    sessions: str
    peer: str = ""
    client: str = ""
    joined_at: float = 0.0
    approved_at: float | None = None
    approved_by: str = ""
    release: str = ""
    format: int = 1


class DisruptionKind(enum.Enum):
    """Why a running task should be replaced although its service did not change."""

    DRAIN = "drain"
    TAINT = "taint"
    PREEMPTION = "preemption"
    REBALANCE = "rebalance"
    COMPLIANCE = "compliance"


class Disruption(Object, frozen=True, kw_only=True):
    """A request that one task be replaced; its id is the task's. The service's orchestrator does it at its own pace.

    Attributes:
        reason: One sentence for the task's history.
        requested_by: "scheduler", "nodes", "governance" or a principal.
        at_once: The task is stopped without waiting for another in its place (its room was taken).
        deadline: After this time it is stopped in any case; None waits for ever.
        beneficiary: The task its room is for, or "".
    """

    app: str
    service: str
    kind: DisruptionKind
    reason: str
    requested_at: float
    requested_by: str
    at_once: bool = False
    deadline: float | None = None
    beneficiary: str = ""
