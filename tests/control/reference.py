"""Placing as it is meant, slow and obvious: one task, one node, one rule at a time, on plain numbers.

It shares no code with the scheduler but `satisfies` and `tolerates`, whose meaning belongs to the model.
"""

from collections import Counter

from pilothouse.model.constraints import actual, parse_constraint, satisfies
from pilothouse.model.node import Availability
from pilothouse.model.placement import tolerates
from pilothouse.model.states import TaskState


class Reference:
    """Nodes and placed tasks; tasks here take no turns: each is in a slot of its own."""

    def __init__(self, nodes, placed=()):
        self.nodes = sorted(nodes, key=lambda node: node.id)
        self.tasks = [task for task in placed if not task.state.terminal]

    def on(self, node):
        return [task for task in self.tasks if task.node_id == node.id]

    def place_all(self, tasks):
        """Place in the order of priority and age; return those left."""
        ordered = sorted(tasks, key=lambda t: (-t.spec.placement.priority, t.created_at, t.slot, t.id))
        return [task for task in ordered if not self.place(task)]

    def place(self, task):
        suit = [node for node in self.nodes if self.suits(task, node)]
        if not suit:
            return False
        best = min(suit, key=lambda node: self._rank(task, node))
        self.tasks.append(_at(task, best))
        return True

    def _rank(self, task, node):
        spread = [self.of_value(task, each.level, actual(each.level, node)) for each in task.spec.placement.spread]
        mine = sum(other.service_id == task.service_id for other in self.on(node))
        return (*spread, mine, self.share(node), len(self.on(node)), node.id)

    def of_value(self, task, level, value):
        """How many tasks of the service are on nodes with a value."""
        where = {node.id for node in self.nodes if actual(level, node) == value}
        return sum(t.service_id == task.service_id and t.node_id in where for t in self.tasks)

    def share(self, node):
        has, on = node.description.capacity, self.on(node)
        return max(
            sum(t.spec.reservations.cpu_nano for t in on) / max(has.cpu_nano, 1),
            sum(t.spec.reservations.memory_bytes for t in on) / max(has.memory_bytes, 1),
        )

    def suits(self, task, node):
        """Whether every rule holds for *task*, were it put on *node* now."""
        placement, has, on = task.spec.placement, node.description.capacity, self.on(node)
        wants = task.spec.reservations
        used = Counter()
        for other in on:
            used.update(other.spec.reservations.generic)
        return (
            node.ready
            and node.spec.availability is Availability.ACTIVE
            and task.node_id in {"", node.id}
            and all(satisfies(parse_constraint(text), node) for text in placement.constraints)
            and all(tolerates(placement, taint) for taint in node.spec.taints)
            and _fits(wants.cpu_nano, has.cpu_nano, sum(t.spec.reservations.cpu_nano for t in on))
            and _fits(wants.memory_bytes, has.memory_bytes, sum(t.spec.reservations.memory_bytes for t in on))
            and (not has.pids or _fits(wants.pids, has.pids, sum(t.spec.reservations.pids for t in on)))
            and all(_fits(n, has.generic.get(kind, 0), used[kind]) for kind, n in wants.generic.items())
            and not any(self._same_port(one, two) for t in on for one in task.ports for two in t.ports)
            and self._few_enough(task, node)
            and all(self._bond_holds(task, node, task, each) for each in placement.affinities)
            and all(self._kept_away(task, node, other) for other in self.tasks)
        )

    def _few_enough(self, task, node):
        most = task.spec.placement.max_replicas_per_node
        return not most or sum(t.service_id == task.service_id for t in self.on(node)) < most

    @staticmethod
    def _same_port(one, two):
        return (one.protocol, one.host_port) == (two.protocol, two.host_port) and not (one.ingress or two.ingress)

    def _bond_holds(self, task, node, owner, bond):
        """Whether *task* on *node* keeps an affinity of *owner* that is a rule, towards those placed now."""
        if bond.weight:
            return True
        about = bond.service if "/" in bond.service else f"{owner.app}/{bond.service}"
        others = [t for t in self.tasks if t.service_id == about]
        near = any(self._near(node, self._node(t), bond.level) for t in others)
        if bond.apart:
            return not near
        return near or (about == task.service_id and not others)

    def _kept_away(self, task, node, other):
        """Whether *other*, which is placed, does not want to be apart from *task*."""
        return all(
            not self._near(node, self._node(other), bond.level)
            for bond in other.spec.placement.affinities
            if bond.apart and not bond.weight
            and (bond.service if "/" in bond.service else f"{other.app}/{bond.service}") == task.service_id
        )  # fmt: skip

    def _near(self, one, other, level):
        if level == "node":
            return one.id == other.id
        return actual(level, one) == actual(level, other) != ""

    def _node(self, task):
        return next(node for node in self.nodes if node.id == task.node_id)

    def without(self, task):
        """The same, had *task* not been placed."""
        return Reference(self.nodes, [other for other in self.tasks if other.id != task.id])

    def broken(self):
        """Every placed task that would not suit its node if it came last."""
        return [
            (task.id, task.node_id)
            for task in self.tasks
            if not self.without(task).suits(_at(task, None), self._node(task))
        ]

    def skew(self, task, level):
        """How far the fullest and the emptiest value are apart, over the values on which a node could take more."""
        values = {actual(level, node) for node in self.nodes}
        have = {value: self.of_value(task, level, value) for value in values}
        most = max(have.values())
        return [
            value
            for value in values
            if have[value] < most - 1
            and any(self._could_move_to(task, node, level) for node in self.nodes if actual(level, node) == value)
        ]

    def _could_move_to(self, task, node, level):
        fullest = max((self.of_value(task, level, actual(level, n)) for n in self.nodes), default=0)
        mine = [t for t in self.tasks if t.service_id == task.service_id]
        movable = [t for t in mine if self.of_value(task, level, actual(level, self._node(t))) == fullest]
        return any(self.without(t).suits(_at(t, None), node) for t in movable)


def _at(task, node):
    import msgspec

    if node is None:
        return msgspec.structs.replace(task, node_id="", state=TaskState.PENDING)
    return msgspec.structs.replace(task, node_id=node.id, state=TaskState.ASSIGNED)


def _fits(wanted, has, used):
    return not wanted or used + wanted <= has
