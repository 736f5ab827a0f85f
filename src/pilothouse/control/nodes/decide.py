"""What becomes of every node at one look, as a pure function of what was heard, what is stored and the time.

Detection and hold-downs count on clocks that do not jump; wall-clock time is only written down, for people to read.
"""

import enum
from collections.abc import Collection, Mapping

from msgspec.structs import replace

from pilothouse.control.nodes.brake import Brake, brake, sentence, taken_over
from pilothouse.control.nodes.clocks import believed
from pilothouse.control.nodes.presence import Heard
from pilothouse.control.nodes.silence import Watch, listen, lost_after
from pilothouse.control.nodes.timers import (
    FENCED_SECONDS,
    IN_A_ROW,
    LOST_SECONDS,
    MEMORY_SECONDS,
    MOST_HOLD_SECONDS,
    REJOIN_SECONDS,
    STORM_SECONDS,
    SUSPECT_SECONDS,
    hold_seconds,
)
from pilothouse.control.nodes.words import about
from pilothouse.model.base import Value
from pilothouse.model.cluster import Cluster
from pilothouse.model.node import Node, NodeState

KEPT_LOSSES = 20


class Moment(Value, frozen=True, kw_only=True):
    """One instant on both clocks: *wall* is for people, *steady* for durations."""

    wall: float
    steady: float


class Stage(enum.IntEnum):
    """Which tasks of a silent node may be made anew: none, those that need no fencing, or all."""

    NONE = 0
    UNFENCED = 1
    ALL = 2


class Past(Value, frozen=True, kw_only=True):
    """What the detector remembers of one node; times are steady.

    Attributes:
        losses: When it was lost, within `MEMORY_SECONDS`.
        held_until: It gets no new work before this; 0 if nothing holds it.
    """

    losses: tuple[float, ...] = ()
    held_until: float = 0.0


class Memory(Value, frozen=True, kw_only=True):
    """What the detector remembers between two looks of its term."""

    watch: Watch
    brake: Brake = Brake()
    past: dict[str, Past] = {}


class Decision(Value, frozen=True, kw_only=True):
    """What one look came to.

    Attributes:
        memory: For the next look.
        nodes: Those that must be written, as they should be.
        cluster: As it should be written, or None if it need not be.
        stages: Of each node whose tasks may be made anew, how far.
    """

    memory: Memory
    nodes: tuple[Node, ...] = ()
    cluster: Cluster | None = None
    stages: dict[str, Stage] = {}


def begin(nodes: Collection[Node], cluster: Cluster | None, moment: Moment) -> Memory:
    """Return what a new leader remembers: what is stored of hold-downs and of the brake."""
    past = {}
    for node in nodes:
        left = min(MOST_HOLD_SECONDS, max(0.0, (node.held_until or 0.0) - moment.wall))
        losses = tuple(
            moment.steady - (moment.wall - at) for at in node.losses if 0 <= moment.wall - at < MEMORY_SECONDS
        )
        if left or losses:
            past[node.id] = Past(losses=losses, held_until=moment.steady + left if left else 0.0)
    return Memory(watch=Watch(looked=moment.steady), brake=taken_over(cluster), past=past)


def decide(
    nodes: Collection[Node], heard: Mapping[str, Heard], cluster: Cluster | None, memory: Memory, moment: Moment
) -> Decision:
    """Return what every node is now. Looking again at the same moment changes nothing more."""
    heard = believed(heard)
    watch = listen(memory.watch, {node.id for node in nodes}, heard, moment.steady)
    memory = replace(memory, watch=watch)
    alone = len(nodes) == 1 and cluster is None
    judged = {node.id: _judge(node, heard.get(node.id), memory, alone=alone) for node in nodes}
    held = _brake(nodes, judged, cluster, memory, moment)
    if held.paused:
        judged = {
            node.id: NodeState.SUSPECT
            if _falls(node, judged[node.id]) and node.id not in held.confirmed
            else judged[node.id]
            for node in nodes
        }
    past = _remember(nodes, judged, memory, moment)
    memory = replace(memory, brake=held, past=past)
    return Decision(
        memory=memory,
        nodes=tuple(
            new
            for node in nodes
            if (new := _written(node, judged[node.id], heard.get(node.id), memory, moment)) is not node
        ),
        cluster=_cluster(cluster, held, memory, judged, moment),
        stages=_stages(judged, heard, watch),
    )


def _judge(node: Node, heard: Heard | None, memory: Memory, *, alone: bool) -> NodeState:
    """Return the state of a node by its own beats alone."""
    if heard is not None and heard.local:
        return NodeState.READY if heard.connected else NodeState.SUSPECT
    if node.state is NodeState.UNKNOWN and heard is None and not node.ready:
        return NodeState.UNKNOWN
    silence = memory.watch.silence(node.id)
    if silence < SUSPECT_SECONDS:
        return _answering(node, heard)
    if node.state is NodeState.DOWN:
        return NodeState.DOWN
    return NodeState.DOWN if silence >= lost_after(heard) and not alone else NodeState.SUSPECT


def _answering(node: Node, heard: Heard | None) -> NodeState:
    """Return the state of a node that was heard a moment ago, or that a new leader has yet to hear."""
    if node.state in {NodeState.SUSPECT, NodeState.DOWN}:
        back = heard is not None and heard.in_a_row >= IN_A_ROW
        return NodeState.READY if back else node.state
    return NodeState.READY


def _falls(node: Node, judged: NodeState) -> bool:
    return judged is NodeState.DOWN and node.state is not NodeState.DOWN


def _brake(
    nodes: Collection[Node],
    judged: Mapping[str, NodeState],
    cluster: Cluster | None,
    memory: Memory,
    moment: Moment,
) -> Brake:
    watch, past = memory.watch, memory.past
    lost = {
        node_id
        for node_id, known in past.items()
        if node_id in judged and known.losses and moment.steady - known.losses[-1] < STORM_SECONDS
    }
    long_gone = {node.id for node in nodes if node.state is NodeState.DOWN} - lost
    counted = {node_id for node_id, state in judged.items() if state is not NodeState.UNKNOWN} - long_gone
    gone = {NodeState.SUSPECT, NodeState.DOWN}
    silent = {node_id for node_id in counted if judged[node_id] in gone and watch.silence(node_id) >= SUSPECT_SECONDS}
    overdue = {node.id for node in nodes if node.id in counted and _falls(node, judged[node.id])}
    return brake(
        memory.brake,
        silent=silent,
        overdue=overdue,
        lost=lost,
        total=len(counted),
        answer=cluster.evictions_confirmed_at if cluster else 0.0,
        settled=watch.awake >= LOST_SECONDS + REJOIN_SECONDS * len(nodes),
    )


def _remember(
    nodes: Collection[Node], judged: Mapping[str, NodeState], memory: Memory, moment: Moment
) -> dict[str, Past]:
    past: dict[str, Past] = {}
    now = moment.steady
    for node in nodes:
        known = memory.past.get(node.id)
        state = judged[node.id]
        if known is None and state is not NodeState.DOWN:
            continue
        known = known or Past()
        losses = tuple(at for at in known.losses if now - at < MEMORY_SECONDS)
        held = known.held_until if known.held_until > now else 0.0
        if _falls(node, state):
            losses = (*losses, now)[-KEPT_LOSSES:]
        if node.state is NodeState.DOWN and state is NodeState.READY and losses:
            held = now + hold_seconds(len(losses))
        if node.losses and node.spec.trusted_at > node.losses[-1]:
            held = 0.0  # a person knows better
        if losses or held:
            past[node.id] = Past(losses=losses, held_until=held)
    return past


def _written(node: Node, state: NodeState, heard: Heard | None, memory: Memory, moment: Moment) -> Node:
    """Return *node* as it should be stored; itself if it is so."""
    known = memory.past.get(node.id, Past())
    pressure = node.pressure if heard is None else heard.pressure
    held = known.held_until > moment.steady
    ready = state is NodeState.READY and not held and not pressure
    losses = (*node.losses, moment.wall)[-KEPT_LOSSES:] if _falls(node, state) else node.losses
    held_until = None
    if held:
        # As it was written, so that a jump of the wall clock writes nothing.
        left = known.held_until - moment.steady
        held_until = node.held_until if node.held_until is not None and node.state is state else moment.wall + left
    fresh = replace(
        node,
        ready=ready,
        state=state,
        pressure=pressure,
        losses=losses,
        held_until=held_until,
        message=about(
            state,
            heard=heard,
            pressure=pressure,
            hold_seconds=hold_seconds(len(known.losses)) if held else 0.0,
            losses=len(known.losses),
            paused=memory.brake.paused and state is NodeState.SUSPECT,
        ),
    )
    if fresh == node:
        return node
    moved = (node.ready, node.state) != (fresh.ready, fresh.state)
    return replace(fresh, since=moment.wall) if moved else fresh


def _cluster(
    cluster: Cluster | None, held: Brake, memory: Memory, judged: Mapping[str, NodeState], moment: Moment
) -> Cluster | None:
    """Return the cluster as it should be written, None if it is so."""
    if cluster is None or held.paused is (cluster.evictions_paused_since is not None):
        return None
    if not held.paused:
        return replace(cluster, evictions_paused_since=None, evictions_message="")
    silent = sum(
        state is NodeState.SUSPECT and memory.watch.silence(node_id) >= SUSPECT_SECONDS
        for node_id, state in judged.items()
    )
    message = sentence(silent, len(judged))
    return replace(cluster, evictions_paused_since=moment.wall, evictions_message=message)


def _stages(judged: Mapping[str, NodeState], heard: Mapping[str, Heard], watch: Watch) -> dict[str, Stage]:
    stages = {}
    for node_id, state in judged.items():
        if state is not NodeState.DOWN:
            continue
        silence, after = watch.silence(node_id), lost_after(heard.get(node_id))
        if silence >= max(after, FENCED_SECONDS):
            stages[node_id] = Stage.ALL
        elif silence >= after:
            stages[node_id] = Stage.UNFENCED
    return stages
