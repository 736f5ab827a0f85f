"""Tasks for containers that already run: made by the orchestrator's hand, so that it finds its slots taken."""

from collections.abc import Iterable

from msgspec.structs import replace

from pilothouse.control.orchestrators.apply import created
from pilothouse.control.orchestrators.changes import Create
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.ids import Ids
from pilothouse.model.base import Value
from pilothouse.model.objects import Task
from pilothouse.store.interface import ReadTx, WriteTx

FOREIGN = "adopted"
"""The fingerprint of a container that was not made from the service's spec: outdated from the start."""


class Takeover(Value, frozen=True, kw_only=True):
    """One running container and the slot it is to have.

    Attributes:
        current: It counts as made from the service's present spec; else it is replaced as an outdated task is.
        node_id: Where it runs; may be "" where there is one node only and the mode is not global.
    """

    service_id: str
    slot: int
    container_id: str
    container_name: str
    current: bool
    node_id: str = ""


def take_over(tx: WriteTx, planned: ReadTx, takeovers: Iterable[Takeover], now: float, ids: Ids) -> list[Task]:
    """Make a task for each container; *planned* is the app as it is about to be deployed, *tx* the orchestrator's."""
    scenes = Scenes(planned)
    made = []
    for one in takeovers:
        scene = scenes.scene(one.service_id)
        if scene is not None:
            reason = f"takes over the container {one.container_name} as it runs"
            wanted = Create(slot=one.slot, node_id=one.node_id, reason=reason, desired_reason=scene.asked_by)
            task = created(scene, wanted, None, now, ids.new())
            fingerprint = task.fingerprint if one.current else FOREIGN
            made.append(tx.put(replace(task, adopts=one.container_id, fingerprint=fingerprint)))
    return made
