"""Finds what a name means and hands it to the module that can explain it."""

from msgspec.structs import replace

from pilothouse.control.orchestrators.scene import key_of
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.errors import InvalidRequestError, NotFoundError
from pilothouse.model.api import Explanation
from pilothouse.model.base import Object
from pilothouse.model.matrix import Matrix
from pilothouse.model.node import Node
from pilothouse.model.objects import App, Config, Grant, Network, Secret, Service, Task, Volume
from pilothouse.model.placement_api import Survival
from pilothouse.model.release import Release, release_id
from pilothouse.server.explain.places import matrix_of, node_lines, remedy_of
from pilothouse.server.explain.releases import explain_release
from pilothouse.server.explain.services import explain_app, explain_service, spokesman
from pilothouse.server.explain.tasks import explain_task
from pilothouse.server.explain.things import (
    explain_file,
    explain_grant,
    explain_network,
    explain_node,
    explain_volume,
)
from pilothouse.server.views import survival_of
from pilothouse.store.interface import ReadTx

_DIGITS = 10
"""A number with so many digits is no release's."""

KINDS: dict[str, type[Object]] = {
    "app": App,
    "service": Service,
    "task": Task,
    "release": Release,
    "node": Node,
    "network": Network,
    "volume": Volume,
    "secret": Secret,
    "config": Config,
    "grant": Grant,
}


def explain(tx: ReadTx, name: str, now: float) -> Explanation:
    """Return why the object called *name* is as it is.

    Args:
        tx: The snapshot.
        name: "APP", "APP/SERVICE", "APP/SERVICE.SLOT", the id of a task, or "KIND/ID" with a kind of `KINDS`
            (of a release, "release/APP/NUMBER").
        now: Wall-clock seconds.

    Raises:
        NotFoundError: Nothing is called that; the message says which forms there are.
    """
    found = _find(tx, name.strip().strip("/"))
    if found is None:
        raise NotFoundError(
            f"nothing is called {name[:120]!r}: write APP, APP/SERVICE, APP/SERVICE.SLOT, the id of a task, "
            f"or KIND/ID with one of the kinds {', '.join(KINDS)}"
        )
    scenes = Scenes(tx)
    match found:
        case App():
            return _with_survival(explain_app(scenes, found, now), survival_of(tx, scenes, found))
        case Service():
            task = spokesman(scenes, found)
            return _with_places(explain_service(scenes, found, now), matrix_of(tx, task) if task else None)
        case Task():
            return explain_task(scenes, found, now, matrix_of(tx, found))
        case Release():
            return explain_release(scenes, found, now)
        case _:
            return _explain_thing(tx, found, now)


def _with_places(told: Explanation, matrix: Matrix | None) -> Explanation:
    if matrix is None:
        return told
    cure = (f"{remedy_of(matrix)[0].upper()}{remedy_of(matrix)[1:]}.",) if remedy_of(matrix) else ()
    return replace(told, causes=(*cure, *node_lines(matrix), *told.causes), matrix=matrix)


def _with_survival(told: Explanation, found: Survival | None) -> Explanation:
    if found is None:
        return told
    losses = tuple((f"without {node}", what) for node, what in found.losses.items())
    return replace(told, facts=(*told.facts, ("loss of a node", found.sentence), *losses))


def _explain_thing(tx: ReadTx, found: Object, now: float) -> Explanation:
    match found:
        case Node():
            return explain_node(tx, found, now)
        case Network():
            return explain_network(tx, found)
        case Volume():
            return explain_volume(tx, found)
        case Secret() | Config():
            return explain_file(tx, found)
        case Grant():
            return explain_grant(found, now)
        case _:
            raise InvalidRequestError(f"a {type(found).__name__} is not something that can be explained")


def _find(tx: ReadTx, name: str) -> Object | None:
    """Return what *name* means: a plain name before a slot, and either before "KIND/ID"."""
    plain: Object | None = tx.get(Service, name) if "/" in name else tx.get(App, name) or tx.get(Task, name)
    if plain is not None:
        return plain
    kind, _, rest = name.partition("/")
    slot = _find_slot(tx, rest if kind in {"task", "service"} else name)
    if slot is not None:
        return slot
    if kind == "release":
        app, _, number = rest.rpartition("/")
        return tx.get(Release, release_id(app, int(number))) if number.isdecimal() and len(number) < _DIGITS else None
    if kind in KINDS and rest:
        return tx.get(KINDS[kind], rest)
    return None


def _find_slot(tx: ReadTx, name: str) -> Task | None:
    """Return the newest task of "APP/SERVICE.SLOT" or "APP/SERVICE:pre_start.INDEX", a live one before a dead one."""
    service_id, dot, slot = name.rpartition(".")
    if not dot or not slot.isdecimal():
        return None
    service_id, colon, _ = service_id.partition(":pre_start")
    every = tx.find(Task, service_id=service_id)
    if colon:
        found = [task for task in every if task.step == int(slot)]
    else:
        found = [task for task in every if task.step < 0 and key_of(task)[0] == int(slot)]
    return max(found, key=lambda task: (not task.state.terminal, task.created_at, task.id), default=None)
