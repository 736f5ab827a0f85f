"""Whose clock is wrong when a node's and the manager's are apart: most nodes are right. Pure."""

from collections.abc import Mapping

from msgspec.structs import replace

from pilothouse.control.nodes.presence import Heard

CLOCK = "clock"


def believed(heard: Mapping[str, Heard]) -> Mapping[str, Heard]:
    """Return what was heard of the nodes, without trouble of their clocks if it is the manager's that is wrong.

    It is if more than half of the nodes that are there say so, and at least two. They are marked `doubts_manager`.
    """
    saying = {node_id for node_id, each in heard.items() if each.connected and CLOCK in each.pressure}
    there = sum(each.connected for each in heard.values())
    if len(saying) < 2 or 2 * len(saying) <= there:
        return heard
    return {node_id: _doubting(each) if node_id in saying else each for node_id, each in heard.items()}


def _doubting(heard: Heard) -> Heard:
    rest = {kind: text for kind, text in heard.pressure.items() if kind != CLOCK}
    return replace(heard, pressure=rest, doubts_manager=True)
