"""Which running tasks would be better elsewhere: few moves, each with what it gains. Pure.

Three things are looked at, the first first: the values of the levels a service is spread over, the nodes its tasks
are on, and how full nodes are. A move is proposed only if the scheduler, asked anew, would put the task on another
node and that is better by more than one task, or by more than a tenth of a node. What keeps data stays, and so does
what shares a container with others, what waits, and what somebody asked to go already.
"""

import itertools
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.choose import choose
from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.roster import Entry, Muster
from pilothouse.model.counts import count
from pilothouse.model.names import display_name
from pilothouse.model.objects import Task
from pilothouse.model.placement import Packing
from pilothouse.model.states import TaskState

_LOOKED_AT = 40
"""So many tasks are asked about for each move that may be made."""
_TENTH = ((1 << 20) - 1) // 10


class Move(NamedTuple):
    """One task that would be better on another node.

    Attributes:
        task: As it runs now.
        to_node: The id of the node it would go to.
        gain: How much better that is: by how many tasks the places are less apart, or by which share of a node.
        reason: In words.
    """

    task: Task
    to_node: str
    gain: float
    reason: str


def rebalance(fleet: Fleet, budget: int, taken: Collection[str] = ()) -> list[Move]:
    """Return at most *budget* moves, each as things are after those before it; the fleet is as before afterwards.

    Args:
        fleet: The nodes and what is placed.
        budget: How many.
        taken: Ids of tasks that are to be replaced already.
    """
    moves: list[Move] = []
    asked = set(taken)
    while len(moves) < budget and (move := _next(fleet, asked)) is not None:
        moves.append(move)
    for move in reversed(moves):
        shape = fleet.roster.entries[move.task.id].shape
        fleet.drop_task(move.task.id)
        fleet.put_task(move.task, shape)
    return moves


def _next(fleet: Fleet, asked: set[str]) -> Move | None:
    """Return the next move, made in the fleet; *asked* gets every task that was asked about."""
    for task_id in itertools.islice(_candidates(fleet, asked), _LOOKED_AT):
        asked.add(task_id)
        if (move := _move(fleet, fleet.roster.entries[task_id])) is not None:
            return move
    return None


def _candidates(fleet: Fleet, taken: Collection[str]) -> Iterator[str]:
    """Yield the tasks that may be moved, one of each service and node: where a service has most, then the fullest."""
    share = fleet.columns.share(np.arange(len(fleet.columns)))
    ranked: list[tuple[int, int, str]] = []
    for _, muster in sorted(fleet.roster.services.items()):
        newest: dict[int, Entry] = {}
        for entries in muster.turns.values():
            for entry in entries:
                if _may_move(fleet, entry, taken) and _is_newer(entry, newest.get(entry.at)):
                    newest[entry.at] = entry
        ranked += [(-_apart(fleet, muster, at), -int(share[at]), entry.task.id) for at, entry in newest.items()]
    ranked.sort()
    return (task_id for *_, task_id in ranked)


def _apart(fleet: Fleet, muster: Muster, at: int) -> int:
    """Return how many tasks of a service are where one of them is: on its node, or in the node's value of a level."""
    counts, most = muster.counts, muster.counts.get(at, 0)
    for each in muster.shape.placement.spread:
        codes = fleet.facts.level(each.level).codes
        most = max(most, sum(number for place, number in counts.items() if codes[place] == codes[at]))
    return most


def _is_newer(entry: Entry, other: Entry | None) -> bool:
    return other is None or (entry.task.created_at, entry.task.id) > (other.task.created_at, other.task.id)


def _may_move(fleet: Fleet, entry: Entry, taken: Collection[str]) -> bool:
    task, shape = entry.task, entry.shape
    bound = shape.keeps_data or shape.partners or shape.volumes or shape.whole or fleet.roster.sharing(shape.service_id)
    return (
        not bound
        and shape.counted
        and task.slot > 0
        and task.state is TaskState.RUNNING
        and task.desired_state is TaskState.RUNNING
        and task.id not in taken
        and len(fleet.roster.turn(task)) == 0
    )


def _move(fleet: Fleet, entry: Entry) -> Move | None:
    """Take a task out, ask where it would go, and leave it there if that is better; else put it back."""
    task, shape, at = entry.task, entry.shape, entry.at
    fleet.drop_task(task.id)
    new = replace(task, node_id="", state=TaskState.PENDING)
    chosen = choose([Case(fleet, shape, new)], 1)
    to = int(chosen.nodes[0]) if len(chosen.nodes) else at
    better = _better(fleet, entry, to) if to != at else None
    if better is None:
        fleet.put_task(task, shape)
        return None
    gain, why = better
    node, name = fleet.columns.nodes[to], Case(fleet, shape).node_name
    assert node is not None
    fleet.put_task(replace(task, node_id=node.id), shape)
    reason = f"{display_name(task)} of {task.app} would be better on {name(to)} than on {name(at)}: {why}"
    return Move(task, node.id, gain, reason)


def _better(fleet: Fleet, entry: Entry, to: int) -> tuple[float, str] | None:
    """Return by how much and why a place is better than the one a task had; it is counted at neither."""
    shape, at = entry.shape, entry.at
    counts = Case(fleet, shape).dense_counts()
    for each in shape.placement.spread:
        level = fleet.facts.level(each.level)
        if level.codes[at] == level.codes[to] or each.targets:
            continue
        there, here = (int(counts[level.codes == level.codes[place]].sum()) for place in (to, at))
        if here + 1 - there <= 1:
            return None
        values = level.values[level.codes[to]] or "none", level.values[level.codes[at]] or "none"
        return here + 1 - there - 1, (
            f"{each.level} {values[0]} has {count(there, 'task')} of {shape.service}, and {values[1]} has {here + 1}"
        )
    if shape.packing is Packing.PACK:
        return None
    there, here = int(counts[to]), int(counts[at]) + 1
    if here - there > 1:
        return here - there - 1, f"it has {count(there, 'task')} of {shape.service}, against {here}"
    if here - there < 1:
        return None
    return _emptier(fleet, entry, to)


def _emptier(fleet: Fleet, entry: Entry, to: int) -> tuple[float, str] | None:
    """Return the gain if the node it would go to is less full with it than the one it left was."""
    both = np.array([entry.at, to])
    was, filled = fleet.columns.share(both, entry.shape.need, np.array([1, 1])).tolist()
    less = was - filled
    if less <= _TENTH:
        return None
    whole = (1 << 20) - 1
    return less / whole, f"it would be {100 * filled // whole} % full, against {100 * was // whole} %"
