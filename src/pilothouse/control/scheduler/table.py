"""One task after the other against every node, with what each node said: for whoever asks beforehand, and for tests."""

from collections.abc import Iterable

import numpy as np

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.fleet import Fleet, fleet_of
from pilothouse.control.scheduler.place import place
from pilothouse.control.scheduler.rules import refusals
from pilothouse.control.scheduler.shape import shape_of
from pilothouse.model.base import Value
from pilothouse.model.cluster import ClusterSpec
from pilothouse.model.node import Node
from pilothouse.model.objects import Task, Volume


class Verdict(Value, frozen=True, kw_only=True):
    """What the rules say of one node; *refusals* are empty if it suits."""

    node_id: str
    name: str
    refusals: tuple[str, ...] = ()


class Placement(Value, frozen=True, kw_only=True):
    """Where a task goes (*node_id*, "" for nowhere yet) and the sentence that says why."""

    node_id: str = ""
    message: str = ""


class Table:
    """The nodes and what is placed on them; placing a task counts it at once."""

    def __init__(
        self,
        nodes: Iterable[Node],
        placed: Iterable[Task],
        volumes: Iterable[Volume] = (),
        cluster: ClusterSpec | None = None,
    ) -> None:
        live = (task for task in placed if not task.state.terminal)
        self.fleet: Fleet = fleet_of(nodes, live, volumes=volumes, cluster=cluster)

    def place(self, task: Task, *, job: bool = False) -> Placement:
        """Choose the node for *task* as the scheduler would."""
        outcome = place(self.fleet, [(task, shape_of(task, job=job))])
        if outcome.placed:
            return Placement(node_id=outcome.placed[0].node_id, message=outcome.placed[0].placement_message)
        return Placement(message=outcome.left[0][1])

    def verdicts(self, task: Task, *, job: bool = False) -> tuple[Verdict, ...]:
        """Return what every rule says of every node, ordered by the nodes' ids."""
        case, columns = Case(self.fleet, shape_of(task, job=job), task), self.fleet.columns
        places = np.flatnonzero(columns.there)
        return tuple(
            Verdict(node_id=node.id, name=case.node_name(at), refusals=refusals(case, at))
            for at in places[np.argsort(columns.rank[places])].tolist()
            if (node := columns.nodes[at]) is not None
        )
