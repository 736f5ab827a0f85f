"""Whether a task would find room on a node: every amount it reserves, and the host ports it has from the engine. Pure.

Counted for the nodes that are asked about, and once for each: a look at one app must not cost a look at every task.
"""

from pilothouse.control.scheduler.shape import PIDS, amounts_of, needs
from pilothouse.model.node import Node
from pilothouse.model.objects import Task
from pilothouse.store.interface import ReadTx


class Vacancies:
    """What is free on nodes at one moment."""

    def __init__(self, tx: ReadTx) -> None:
        self._tx = tx
        self._known: dict[str, tuple[dict[str, int], set[tuple[str, int]]]] = {}

    def fits(self, node: Node, task: Task) -> bool:
        """Tell whether *node* has room for one more like *task*."""
        free, taken = self._free(node)
        capacity = amounts_of(node.description.capacity)
        need, whole, devices = needs(task.spec)
        for kind, amount in need:
            # Nobody may have said what there is: of processes it has no end, of devices the engine knows.
            unsaid = not capacity.get(kind) and (kind == PIDS or kind in devices)
            if not unsaid and free.get(kind, 0) < amount:
                return False
        if any(free.get(kind, 0) < capacity.get(kind, 0) for kind in whole):
            return False
        return not taken & _ports(task)

    def _free(self, node: Node) -> tuple[dict[str, int], set[tuple[str, int]]]:
        found = self._known.get(node.id)
        if found is None:
            free, taken = dict(amounts_of(node.description.capacity)), set[tuple[str, int]]()
            for task in self._tx.find(Task, node_id=node.id):
                if not task.state.terminal:
                    need, whole, _ = needs(task.spec)
                    for kind, amount in need:
                        free[kind] = free.get(kind, 0) - amount
                    free.update(dict.fromkeys(whole, 0))
                    taken |= _ports(task)
            found = self._known[node.id] = free, taken
        return found


def _ports(task: Task) -> set[tuple[str, int]]:
    """Return the host ports that the engine publishes for *task*, whatever the address."""
    return {(port.protocol, port.host_port) for port in task.ports if not port.ingress}
