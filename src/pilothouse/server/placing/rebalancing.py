"""Moves that would spread running tasks better, and asking for them: an orchestrator carries out each request.

The moves are the scheduler's own proposals. Asking writes disruptions, never tasks: every service is moved at its own
pace, one task at a time.
"""

from collections.abc import Sequence

from pilothouse.control.scheduler.rebalance import Move, rebalance
from pilothouse.control.scheduler.write import Shapes, read_fleet
from pilothouse.model.cluster import Disruption, DisruptionKind
from pilothouse.model.counts import count
from pilothouse.model.names import display_name
from pilothouse.model.node import Node
from pilothouse.model.placement_api import Moved, RebalanceView
from pilothouse.server.placing.simulate import node_name
from pilothouse.store.interface import ReadTx, WriteTx


def proposed(tx: ReadTx, most: int) -> list[Move]:
    """Return at most *most* moves, best first; none while tasks are being moved, as it is not known yet what for."""
    if under_way(tx):
        return []
    taken = {request.id for request in tx.find(Disruption)}
    return rebalance(read_fleet(tx, Shapes()), most, taken)


def under_way(tx: ReadTx) -> int:
    """Return how many tasks are being moved to spread them better."""
    return sum(request.kind is DisruptionKind.REBALANCE for request in tx.find(Disruption))


def ask(tx: WriteTx, moves: Sequence[Move], principal: str, now: float) -> None:
    """Ask for *moves* on behalf of *principal*."""
    for move in moves:
        tx.put(
            Disruption(
                id=move.task.id,
                app=move.task.app,
                service=move.task.service,
                kind=DisruptionKind.REBALANCE,
                reason=move.reason,
                requested_at=now,
                requested_by=principal,
            )
        )


def view(tx: ReadTx, moves: Sequence[Move], *, asked: bool) -> RebalanceView:
    """Return *moves* as people read them."""
    names = {node.id: node_name(node) for node in tx.find(Node)}
    told = tuple(
        Moved(
            app=move.task.app,
            task=display_name(move.task),
            source=names.get(move.task.node_id, move.task.node_id),
            target=names.get(move.to_node, move.to_node),
            sentence=move.reason,
        )
        for move in moves
    )
    if not told and (moving := under_way(tx)):
        sentence = f"{count(moving, 'task')} {'is' if moving == 1 else 'are'} being moved already; ask again after that"
    elif not told:
        sentence = "the tasks are spread as well as the scheduler would spread them anew; nothing is to be moved"
    elif asked:
        sentence = (
            f"{count(len(told), 'task')} {'is' if len(told) == 1 else 'are'} being moved, one of a service at a time"
        )
    else:
        sentence = f"{count(len(told), 'task')} would be better on another node"
    return RebalanceView(sentence=sentence, moves=told, asked=asked and bool(told))
