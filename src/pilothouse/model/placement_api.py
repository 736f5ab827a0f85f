"""What crosses between a client and the API about where tasks go; see `model.api` for everything else."""

from pilothouse.model.base import Value
from pilothouse.model.cluster import PoolPolicy
from pilothouse.model.placement import Pool


class RuleAnswer(Value, frozen=True, kw_only=True):
    """What one rule says of one task and one node; *sentence* is "" if the node keeps it."""

    rule: str
    kept: bool
    sentence: str = ""


class WhyNot(Value, frozen=True, kw_only=True):
    """Why one more task of a service could go to a node, or could not.

    Attributes:
        service: Its id.
        node: The node's id.
        suits: Whether it keeps every rule.
        here: How many tasks of the service are on it.
        sentence: The answer in one sentence.
        answers: Of every rule.
    """

    service: str
    node: str
    suits: bool
    here: int
    sentence: str
    answers: tuple[RuleAnswer, ...] = ()


class Planned(Value, frozen=True, kw_only=True):
    """Where a task that does not exist yet would go.

    Attributes:
        task: "SERVICE.SLOT", or the service in global modes.
        node: The name of the node, "" if none suits.
        sentence: Why there; or what every node lacks, and the smallest change that would help.
        displaces: The tasks that would lose their room to it, each as "APP/SERVICE.SLOT (priority N)".
    """

    task: str
    node: str = ""
    sentence: str = ""
    displaces: tuple[str, ...] = ()


class Moved(Value, frozen=True, kw_only=True):
    """A task that would be replaced on another node; *target* is "" if it would wait, and *sentence* says why."""

    app: str
    task: str
    source: str
    target: str = ""
    sentence: str = ""


class AppLoss(Value, frozen=True, kw_only=True):
    """What an app would lose with some nodes.

    Attributes:
        survives: Every service that is to run on keeps a task, or one is made on another node.
        interrupted: Services none of whose tasks would be left until others are made.
        gone: Services none of whose tasks could be made again.
        fewer: Services that would have fewer tasks than they should.
        sentence: All this in one.
    """

    app: str
    survives: bool
    interrupted: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    fewer: tuple[str, ...] = ()
    sentence: str = ""


class Simulation(Value, frozen=True, kw_only=True):
    """What losing some nodes would lead to; nothing was changed.

    Attributes:
        lost: Their ids.
        moves: What becomes of each of their tasks.
        apps: Of every app that has a task on them.
    """

    lost: tuple[str, ...]
    sentence: str
    moves: tuple[Moved, ...] = ()
    apps: tuple[AppLoss, ...] = ()


class Survival(Value, frozen=True, kw_only=True):
    """Whether an app survives the loss of any one node, as far as rules say; whether there is room is not counted.

    Attributes:
        survives: Every service keeps a task, or another node could take one.
        sentence: The answer in one sentence, with the node that hurts the most.
        losses: What losing a node would lead to, by its name; nodes that are not missed are left out.
    """

    survives: bool
    sentence: str
    losses: dict[str, str] = {}


class ClusterSettings(Value, frozen=True, kw_only=True):
    """What people decide about the cluster as a whole; None and missing pools stay as they are."""

    rebalance_budget: int | None = None
    pools: dict[Pool, PoolPolicy] = {}


class RebalanceRequest(Value, frozen=True, kw_only=True):
    """Have running tasks moved to where they would be put today, *most* at most; with *plan* only say which."""

    plan: bool = False
    most: int = 10


class RebalanceView(Value, frozen=True, kw_only=True):
    """Moves that would spread the tasks better, best first; *asked* says whether they are being made."""

    sentence: str
    moves: tuple[Moved, ...] = ()
    asked: bool = False
