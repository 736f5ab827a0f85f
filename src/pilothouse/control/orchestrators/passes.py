"""One pass over some services, in parts that each fit one transaction: whom it concerns, a look, and the writes."""

from collections.abc import Iterable, Iterator

from pilothouse.control.orchestrators.apply import carry_out
from pilothouse.control.orchestrators.decide import decide
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.ids import Ids
from pilothouse.model.base import Value
from pilothouse.model.objects import Service
from pilothouse.model.spec import Mode
from pilothouse.store.interface import ReadTx, WriteTx


class Found(Value, frozen=True, kw_only=True):
    """What a look at one service found: how much must change, and when to look again in any case."""

    changes: int = 0
    wake_at: float | None = None


def affected(tx: ReadTx, dirty: Iterable[str], apps: Iterable[str], *, global_too: bool) -> list[str]:
    """Return the ids of the services to look at: those noted and their neighbours in `depends_on`, in order."""
    scenes = Scenes(tx)
    found = {service.id for app in apps for service in scenes.services(app)}
    if global_too:
        found |= {obj.id for obj in tx.find(Service) if obj.spec.mode in {Mode.GLOBAL, Mode.GLOBAL_JOB}}
    for service_id in dirty:
        found.add(service_id)
        found |= scenes.neighbours(service_id)
    return sorted(found)


def look(tx: ReadTx, service_ids: list[str], now: float) -> dict[str, Found]:
    """Return what each service calls for, without changing anything."""
    scenes = Scenes(tx)
    found: dict[str, Found] = {}
    for service_id in service_ids:
        scene = scenes.scene(service_id)
        if scene is None:
            found[service_id] = Found()
            continue
        decision = decide(scene, now)
        service = scene.service
        said = (decision.notice, decision.rollout or service.rollout)
        changes = len(decision.changes) + len(decision.ended) + (said != (service.notice, service.rollout))
        found[service_id] = Found(changes=changes, wake_at=decision.wake_at)
    return found


def transactions(found: dict[str, Found], most: int) -> Iterator[list[str]]:
    """Yield the services that must change, in order, about *most* changes at a time; a service is never divided."""
    some: list[str] = []
    size = 0
    for service_id, each in found.items():
        if each.changes and some and size + each.changes > most:
            yield some
            some, size = [], 0
        if each.changes:
            some.append(service_id)
            size += each.changes
    if some:
        yield some


def settle(tx: WriteTx, service_ids: list[str], now: float, ids: Ids) -> dict[str, Found]:
    """Carry out what each service calls for, all decided on the same snapshot."""
    scenes = Scenes(tx)
    decided = [(scene, decide(scene, now)) for key in service_ids if (scene := scenes.scene(key)) is not None]
    for scene, decision in decided:
        carry_out(tx, scene, decision, now, ids)
    gone = {service_id: Found() for service_id in service_ids}
    return gone | {scene.service.id: Found(wake_at=decision.wake_at) for scene, decision in decided}
