"""A detector on a bench: nodes that beat as a test says, a clock that jumps, and everything that was decided."""

import random

from msgspec.structs import replace

from pilothouse.control.nodes.decide import Moment, Stage, begin, decide
from pilothouse.control.nodes.presence import Presence
from pilothouse.control.nodes.timers import BEAT_JITTER, BEAT_SECONDS, LOOK_SECONDS
from pilothouse.model.cluster import Cluster
from pilothouse.model.node import NodeState
from tests.control.world import node
from tests.scenarios.simulation import JumpingClock

CLUSTER = Cluster(id="cluster", cluster="0" * 32, created_at=0.0)


class Bench:
    """One term of one leader; `stages` is what the last look said of lost nodes, `moves` who was lost with work."""

    def __init__(self, *names, cluster=CLUSTER, state=NodeState.READY, **fields):
        self.clock = JumpingClock()
        self.cluster = cluster
        self.nodes = {name: node(name, state=state, **fields) for name in names}
        self.stages = {}
        self.downs = []
        self.moves = []
        self._worked = set()
        self.new_leader()

    def new_leader(self):
        self.presence = Presence(self.clock)
        self.memory = begin(list(self.nodes.values()), self.cluster, self.moment)
        return self

    @property
    def moment(self):
        return Moment(wall=self.clock.now(), steady=self.clock.monotonic())

    def look(self):
        seen = list(self.nodes.values())
        found = decide(seen, self.presence.heard(), self.cluster, self.memory, self.moment)
        for each in found.nodes:
            if each.state is NodeState.DOWN and self.nodes[each.id].state is not NodeState.DOWN:
                self.downs.append((self.clock.monotonic(), each.id))
                if each.id in self._worked:
                    self.moves.append((self.clock.monotonic(), each.id))
                    self._worked.discard(each.id)
            self.nodes[each.id] = each
            if each.ready:
                self._worked.add(each.id)
        self.cluster = found.cluster or self.cluster
        self.memory, self.stages = found.memory, found.stages
        again = decide(list(self.nodes.values()), self.presence.heard(), self.cluster, self.memory, self.moment)
        assert (again.nodes, again.cluster, again.stages) == ((), None, found.stages)
        return self

    def arrive(self, *names, local=False):
        for name in names:
            self.presence.arrive(name, local=local)
        return self

    def run(self, seconds, *alive, beat=BEAT_SECONDS):
        """Let time pass: those *alive* beat, and the detector looks."""
        end = self.clock.now() + seconds
        due = dict.fromkeys(alive, self.clock.now() + beat)
        while self.clock.now() + LOOK_SECONDS <= end:
            self.clock.jump(self.clock.now() + LOOK_SECONDS)
            for name, at in due.items():
                if at <= self.clock.now():
                    self.presence.beat(name)
                    due[name] = at + beat
            self.look()
        return self

    def states(self):
        return {name: each.state for name, each in self.nodes.items()}

    def confirm(self):
        self.cluster = replace(self.cluster, evictions_confirmed_at=self.clock.now())
        return self


def lossy(seed, seconds, loss):
    """Return the bench after *seconds* in which a node lost that share of its beats."""
    chance = random.Random(seed)
    bench = Bench("n1", "n2").arrive("n1", "n2")
    start = bench.clock.now()
    due = start
    while bench.clock.now() - start < seconds:
        bench.clock.jump(bench.clock.now() + LOOK_SECONDS)
        while due <= bench.clock.now():
            if chance.random() >= loss:
                bench.presence.beat("n1")
            bench.presence.beat("n2")
            due += BEAT_SECONDS * (1 + BEAT_JITTER * (2 * chance.random() - 1))
        bench.look()
    return bench


__all__ = ["CLUSTER", "Bench", "Stage", "lossy"]
