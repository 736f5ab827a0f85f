"""Which nodes suit a service, and which of them suit it best (docs/reference/placement.md).

A rule is hard: a node that breaks it is not taken. A wish is soft: it has a weight, from -100 to 100, and the node with
the largest sum wins among those that keep every rule.
"""

import enum

from pilothouse.model.base import Value


class TaintEffect(enum.Enum):
    """What a taint does to tasks that do not tolerate it."""

    NO_SCHEDULE = "no-schedule"
    EVICT = "evict"


class Taint(Value, frozen=True, kw_only=True):
    """Why a node keeps tasks away, unless they tolerate it; set by a person, or by the platform for pressure.

    NO_SCHEDULE keeps new tasks away; EVICT also has those replaced elsewhere that are there.
    """

    key: str
    value: str = ""
    effect: TaintEffect = TaintEffect.NO_SCHEDULE


class Toleration(Value, frozen=True, kw_only=True):
    """A taint a service can live with; an empty *value* tolerates every value, an empty *key* every taint."""

    key: str = ""
    value: str = ""


class Preference(Value, frozen=True, kw_only=True):
    """A constraint as a wish: nodes that meet it gain *weight*, -100 to 100 but not 0."""

    constraint: str
    weight: int = 50


class Affinity(Value, frozen=True, kw_only=True):
    """Together with, or apart from, the tasks of a service; it works in both directions.

    Attributes:
        service: "SERVICE" of the same app or "APP/SERVICE"; its own name means among its own tasks.
        level: What "together" is measured in: "node", or the key of a node label ("node.labels.zone").
        apart: Keep away instead of near.
        weight: 0 makes it a rule; 1 to 100 a wish.
    """

    service: str
    level: str = "node"
    apart: bool = False
    weight: int = 0


class Spread(Value, frozen=True, kw_only=True):
    """Divide a service's tasks over the values of a node label.

    Attributes:
        level: "node.labels.zone", or "node.id".
        targets: Percent by value; values that are not named share what is left of 100. Empty: evenly.
    """

    level: str
    targets: dict[str, int] = {}


class Pool(enum.Enum):
    """The class of work a service is, in the one shared pool of nodes."""

    SERVICES = "services"
    BATCH = "batch"
    DATASTORES = "datastores"


class Packing(enum.Enum):
    """Whether tasks are put on the emptiest or on the fullest node that suits."""

    SPREAD = "spread"
    PACK = "pack"


PRIORITIES: dict[str, int] = {"critical": 900, "high": 700, "normal": 500, "low": 300, "best-effort": 100}
"""The priority classes by name; a larger number goes first, and may take the room of one at least 200 smaller."""

PREEMPTION_GAP = 200


class Placement(Value, frozen=True, kw_only=True):
    """What a service asks of the nodes its tasks run on; what is not written asks nothing.

    Attributes:
        constraints: Rules in Swarm's grammar and ours (`model.constraints`); all must hold.
        spread: Label levels, the first first.
        max_replicas_per_node: 0 is no limit.
        pool: None lets the platform decide: jobs are BATCH, services that keep data are DATASTORES.
        packing: None takes the pool's.
        priority: From `PRIORITIES`, or any number from 0 to 1000.
        preemptible: Work of a higher class may take its room.
    """

    constraints: tuple[str, ...] = ()
    spread: tuple[Spread, ...] = ()
    max_replicas_per_node: int = 0
    tolerations: tuple[Toleration, ...] = ()
    preferences: tuple[Preference, ...] = ()
    affinities: tuple[Affinity, ...] = ()
    pool: Pool | None = None
    packing: Packing | None = None
    priority: int = PRIORITIES["normal"]
    preemptible: bool = True


def tolerates(placement: Placement, taint: Taint) -> bool:
    """Tell whether a service that asks for *placement* can live with *taint*."""
    return any(each.key in {"", taint.key} and each.value in {"", taint.value} for each in placement.tolerations)
