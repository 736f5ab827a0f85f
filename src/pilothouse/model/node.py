"""A machine that runs an agent: what a person decided about it, what its agent says, and whether it can be reached.

Who may write which field is `model.ownership`. All times are wall-clock seconds since the epoch.
"""

import enum

from pilothouse.model.base import Object, Value
from pilothouse.model.certificate import Certificate
from pilothouse.model.images import Reclaimed
from pilothouse.model.placement import Taint
from pilothouse.model.spec import Resources


class Availability(enum.Enum):
    """What a person allows on a node."""

    ACTIVE = "active"
    PAUSE = "pause"
    DRAIN = "drain"


class Maintenance(Value, frozen=True, kw_only=True):
    """A drain that ends by itself.

    Attributes:
        until: When the node takes work again, wall-clock; None waits for `pilothouse node activate`.
        deadline: When tasks that could not be moved are stopped all the same; None waits for ever.
    """

    reason: str = ""
    requested_by: str = ""
    requested_at: float = 0.0
    until: float | None = None
    deadline: float | None = None


class NodeSpec(Value, frozen=True, kw_only=True):
    """What a person decided about a node.

    Attributes:
        taints: They keep away what does not tolerate them.
        trusted_at: When a person last said that a node which had been lost may take work again; ends a hold-down.
    """

    labels: dict[str, str] = {}
    availability: Availability = Availability.ACTIVE
    taints: tuple[Taint, ...] = ()
    maintenance: Maintenance | None = None
    trusted_at: float = 0.0


class NodeDescription(Value, frozen=True, kw_only=True):
    """What an agent says about its node.

    Attributes:
        engine: The engine's name and version, e.g. "docker 20.10.24".
        version: Of the agent.
        address: Where other nodes reach it, or "".
        warnings: Sentences `pilothouse doctor` shows, e.g. that live-restore is off.
        format: The newest format the agent reads and writes (`model.format`).
        reclaimed: What was removed last to make room, or None.
    """

    hostname: str = ""
    os: str = ""
    arch: str = ""
    kernel: str = ""
    engine: str = ""
    capacity: Resources = Resources()
    runtimes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    version: str = ""
    address: str = ""
    format: int = 1
    reclaimed: Reclaimed | None = None


class NodeState(enum.Enum):
    """Whether a node can be reached, by its beats.

    UNKNOWN: it never came. READY: it answers. SUSPECT: beats are missing, so it gets no new work. DOWN: its work is
    being done elsewhere, as far as that is safe.
    """

    UNKNOWN = "unknown"
    READY = "ready"
    SUSPECT = "suspect"
    DOWN = "down"


class Node(Object, frozen=True, kw_only=True):
    """A machine that runs an agent.

    Attributes:
        role: "agent" or "manager" (`model.cluster.Role`).
        joined_at: When it joined; 0 for the only node of a platform on one host.
        certificates: Those it may present; a session with any other is refused.
        rotated_at: When a person last asked that it make itself a new key; certificates from before are to be replaced.
        ready: It may get new tasks, as far as the platform knows: it is READY and nothing below holds it back.
        state: Whether it can be reached.
        message: One sentence about *ready* and *state*.
        since: When *ready* or *state* last changed.
        losses: When it was last lost, newest last, at most 20.
        held_until: It gets no new tasks before this time, because it came and went too often; None otherwise.
        pressure: Why it should get no more work, by kind ("disk", "memory", "clock", "engine"), as sentences.
    """

    spec: NodeSpec = NodeSpec()
    description: NodeDescription = NodeDescription()
    role: str = "manager"
    joined_at: float = 0.0
    certificates: tuple[Certificate, ...] = ()
    rotated_at: float = 0.0
    ready: bool = False
    state: NodeState = NodeState.UNKNOWN
    message: str = ""
    since: float = 0.0
    losses: tuple[float, ...] = ()
    held_until: float | None = None
    pressure: dict[str, str] = {}
