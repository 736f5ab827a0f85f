"""What crosses between a client and the API about the cluster: requests and views."""

from pilothouse.model.base import Value
from pilothouse.model.cluster import JoinToken, ManagerMember, Role
from pilothouse.model.node import Availability
from pilothouse.model.placement import Taint


class InitRequest(Value, frozen=True, kw_only=True):
    """Make this machine the first manager of a cluster; *advertise* is "HOST:PORT" of its API as others reach it."""

    advertise: str


class AuthorityView(Value, frozen=True, kw_only=True):
    """One authority; *hash* is the SHA-256 of its certificate (DER), in hexadecimal."""

    id: str
    state: str
    hash: str
    created_at: float
    not_after: float


class ClusterView(Value, frozen=True, kw_only=True):
    """The cluster and its managers.

    Attributes:
        cluster: Its id.
        node_id: The manager that answered.
        nodes: How many there are.
        evictions_message: Why lost nodes' tasks are not replaced now, or "".
    """

    cluster: str
    created_at: float
    node_id: str
    authorities: tuple[AuthorityView, ...] = ()
    managers: tuple[ManagerMember, ...] = ()
    nodes: int = 0
    evictions_paused_since: float | None = None
    evictions_message: str = ""


class RunningVersion(Value, frozen=True, kw_only=True):
    """Which version of Pilothouse a machine runs, and the newest format that it knows."""

    name: str
    version: str
    format: int = 1


class FormatView(Value, frozen=True, kw_only=True):
    """The platform's format (`model.format`), and what every process knows.

    Attributes:
        number: The platform's.
        newest: The newest that the manager which answered knows; *version* is its version.
        held_back_by: A sentence about each process that does not know the next one.
        raised_at: When it became *number*, 0 if it always was.
        asked_at: When a person last asked not to wait with the next one.
    """

    number: int
    newest: int
    version: str
    managers: tuple[RunningVersion, ...] = ()
    agents: tuple[RunningVersion, ...] = ()
    held_back_by: tuple[str, ...] = ()
    raised_at: float = 0.0
    asked_at: float = 0.0


class AuthorityAnswer(Value, frozen=True, kw_only=True):
    """What a machine that is to join compares with the hash in its token: the authorities, each as PEM."""

    cluster: str
    authorities: tuple[str, ...]


class TokenRequest(Value, frozen=True, kw_only=True):
    """A join token to make; *life_seconds* is 60 to 3600."""

    role: Role = Role.AGENT
    labels: dict[str, str] = {}
    life_seconds: float = 1800.0


class TokenMade(Value, frozen=True, kw_only=True):
    """A join token, whole: it is shown this once.

    Attributes:
        token: What to join with.
        address: "HOST:PORT" of the manager that made it.
    """

    token: str
    address: str
    record: JoinToken

    def __repr__(self) -> str:
        """Leave the token out, so that no log line can hold it."""
        return f"TokenMade({self.record.id!r})"


class JoinRequest(Value, frozen=True, kw_only=True):
    """A machine that asks to join.

    Attributes:
        request: A signing request as PEM; the key in it stays with the machine.
        hostname: What it would like to be called.
        address: "HOST" or "HOST:PORT" where others reach it; a manager's is that of its API.
    """

    token_id: str
    secret: str
    request: str
    hostname: str
    address: str = ""

    def __repr__(self) -> str:
        """Leave the secret out, so that no log line can hold it."""
        return f"JoinRequest({self.hostname!r}, token {self.token_id!r})"


class JoinAnswer(Value, frozen=True, kw_only=True):
    """What a machine needs that joined.

    Attributes:
        certificate: PEM, with what follows it.
        authorities: PEM, every one to trust.
        managers: "HOST:PORT" of the managers' listeners for agents.
        warning: One sentence a person should read, or "".
    """

    node_id: str
    cluster: str
    role: Role
    certificate: str
    authorities: str
    managers: tuple[str, ...]
    warning: str = ""


class StoreAdmission(Value, frozen=True, kw_only=True):
    """What a machine needs that becomes a manager: where the store's members are, and the key of the secrets.

    Attributes:
        cluster: "HOST:PORT" of every member for the others, by name, its own included.
        clients: URLs where managers reach the members that run.
        key: Opens the platform's sealed secrets.
        promoted: Its own member has its vote; before that it follows only.
        member: The id of its own member; what a machine keeps of another one is worth nothing.
    """

    cluster: dict[str, str]
    clients: tuple[str, ...]
    key: bytes
    promoted: bool
    member: str = ""

    def __repr__(self) -> str:
        """Leave the key out, so that no log line can hold it."""
        return f"StoreAdmission(cluster={self.cluster!r}, promoted={self.promoted!r})"


class MaintenanceRequest(Value, frozen=True, kw_only=True):
    """A drain that ends by itself; see `model.objects.Maintenance`. Times are seconds from now."""

    reason: str = ""
    for_seconds: float | None = None
    deadline_seconds: float | None = None


class NodePatch(Value, frozen=True, kw_only=True):
    """What to change about a node; what is not named stays.

    Attributes:
        labels: None takes a label away.
        taints: Added, each in place of one with the same key and effect.
        untaint: Keys of taints to take away.
        maintenance: Drain it for a while; activating it ends that.
    """

    labels: dict[str, str | None] = {}
    availability: Availability | None = None
    taints: tuple[Taint, ...] = ()
    untaint: tuple[str, ...] = ()
    maintenance: MaintenanceRequest | None = None
