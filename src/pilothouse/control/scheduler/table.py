"""Tasks by nodes by rules: every rule's answer for every node is kept, so that a refusal can name nodes and numbers."""

from pilothouse.control.scheduler.filters import FILTERS, Load
from pilothouse.model.base import Value
from pilothouse.model.objects import Node, Task


class Verdict(Value, frozen=True, kw_only=True):
    """What the rules say of one node; *refusals* are empty if it suits."""

    node_id: str
    name: str
    refusals: tuple[str, ...] = ()


class Placement(Value, frozen=True, kw_only=True):
    """Where a task goes (*node_id*, "" for nowhere yet), the sentence that says why, and what was said of each node."""

    node_id: str = ""
    message: str = ""
    verdicts: tuple[Verdict, ...] = ()


class Table:
    """The nodes and what is placed on them; placing a task counts it at once."""

    def __init__(self, nodes: list[Node], placed: list[Task]) -> None:
        self._loads = {node.id: Load(node) for node in sorted(nodes, key=lambda node: node.id)}
        for task in placed:
            if task.node_id in self._loads and not task.state.terminal:
                self._loads[task.node_id].add(task)

    def place(self, task: Task) -> Placement:
        """Choose the node for *task*: of those that suit, the one with the fewest tasks of its service."""
        verdicts = tuple(self._judge(task, load) for load in self._loads.values())
        fitting = [self._loads[verdict.node_id] for verdict in verdicts if not verdict.refusals]
        if not fitting:
            return Placement(message=_nowhere(task, verdicts), verdicts=verdicts)
        best = min(fitting, key=lambda load: (load.count_of(task), load.used_share(), load.node.id))
        best.add(task)
        message = f"placed on {_name(best.node)}: {len(fitting)} of {len(verdicts)} nodes suit"
        if len(fitting) > 1:
            message += ", and it has the fewest tasks of the service"
        return Placement(node_id=best.node.id, message=message, verdicts=verdicts)

    def _judge(self, task: Task, load: Load) -> Verdict:
        refusals = tuple(said for rule in FILTERS.values() if (said := rule(task, load)))
        return Verdict(node_id=load.node.id, name=_name(load.node), refusals=refusals)


def _name(node: Node) -> str:
    return node.description.hostname or node.id


def _nowhere(task: Task, verdicts: tuple[Verdict, ...]) -> str:
    if not verdicts:
        return "no node has joined yet; it is placed as soon as an agent connects"
    # Fewest refusals first: the node that needs the smallest change is the one to read about.
    ranked = sorted(verdicts, key=lambda verdict: (len(verdict.refusals), verdict.node_id))
    said = "; ".join(f"{verdict.name}: {' and '.join(verdict.refusals)}" for verdict in ranked[:5])
    more = f"; and {len(ranked) - 5} more nodes" if len(ranked) > 5 else ""
    return f"none of {len(verdicts)} nodes suits: {said}{more}" if len(verdicts) > 1 else f"no place: {said}"
