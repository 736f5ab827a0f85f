"""Why a task has no place: every node held against every rule, and the smallest change that would give it one. Pure."""

import numpy as np

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.remedies import remedies
from pilothouse.control.scheduler.rules import RULES
from pilothouse.control.scheduler.shape import Shape, shape_of
from pilothouse.control.scheduler.words import broken_rules, node_groups, nowhere
from pilothouse.model.matrix import Matrix, RuleRow
from pilothouse.model.objects import Task

_SHOWN = 10


def explain(fleet: Fleet, task: Task, shape: Shape | None = None, beside: frozenset[str] = frozenset()) -> Matrix:
    """Return what every rule says of every node about *task*, as if it were to be placed now.

    A task that is placed already is taken out of the fleet for the question, and put back; so is room that is kept.

    Args:
        fleet: The nodes and what is placed.
        task: Placed or not.
        shape: Its shape, if that is known.
        beside: Names of the services whose tasks of the slot would be placed together with it.
    """
    claim = fleet.release(task.id)
    entry = fleet.roster.entries.get(task.id)
    if entry is not None:
        fleet.drop_task(task.id)
    case = Case(fleet, shape or (entry.shape if entry else shape_of(task)), task, beside)
    found = _matrix(case, task)
    if entry is not None:
        fleet.put_task(entry.task, entry.shape)
    if claim is not None:
        fleet.hold(task.id, claim)
    return found


def _matrix(case: Case, task: Task) -> Matrix:
    columns = case.fleet.columns
    broken = broken_rules(case)
    fits = columns.there & ~np.logical_or.reduce(broken)
    places = np.flatnonzero(fits)
    places = places[np.argsort(columns.rank[places])]
    nodes = len(columns.place)
    return Matrix(
        task=task.id,
        sentence=nowhere([case]) if not len(places) else f"{len(places)} of {nodes} nodes suit",
        nodes=nodes,
        suitable=len(places),
        suit=tuple(case.node_name(at) for at in places[:_SHOWN].tolist()),
        rules=tuple(
            RuleRow(rule=rule.name, kept=nodes - int(mask.sum()), broken=int(mask.sum()))
            for rule, mask in zip(RULES, broken, strict=True)
        ),
        groups=node_groups(case),
        remedies=() if len(places) else remedies(case, broken),
    )
