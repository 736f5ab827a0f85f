"""What may be deleted: dead tasks nobody needs, and what was removed once nothing uses it. Pure.

The newest task of a slot stays as long as its service: it holds the slot's history (failures, completion).
"""

from collections import defaultdict

from pilothouse.control.orchestrators.retention import Kept
from pilothouse.control.orchestrators.scene import slots
from pilothouse.model.base import Object
from pilothouse.model.cluster import Disruption
from pilothouse.model.objects import App, Config, Network, Secret, Service, Task, Volume
from pilothouse.model.states import TaskState
from pilothouse.store.interface import ReadTx

KEPT_PER_SERVICE = 20
KEPT_STEPS = 5
KEPT_SECONDS = 7 * 86_400.0


def leftovers(tx: ReadTx, app: str, now: float) -> list[Object]:
    """Return the objects of *app* that may be deleted at *now*, in the order in which to delete them."""
    stored = tx.get(App, app)
    going = stored is None or stored.removing
    services = tx.find(Service, app=app)
    by_service: dict[str, list[Task]] = defaultdict(list)
    for task in tx.find(Task, app=app):
        by_service[task.service].append(task)
    gone: list[Object] = []
    for service in services:
        tasks = by_service.pop(service.name, [])
        if not (going or service.removing):
            gone += old_tasks([task for task in tasks if task.step < 0], now)
            gone += _old_steps(service, [task for task in tasks if task.step >= 0], now)
        elif all(task.state.terminal for task in tasks):
            gone += [*tasks, service]
    for tasks in by_service.values():
        gone += [task for task in tasks if task.state.terminal]
    gone += [request for request in tx.find(Disruption, app=app) if _is_over(tx, request)]
    deleted = {(type(obj), obj.id) for obj in gone}
    left = [task for task in tx.find(Task, app=app) if (Task, task.id) not in deleted]
    kept = Kept(tx, app, left, going=going)
    gone += _files(tx, app, left, kept, going=going)
    gone += kept.leftovers()
    if stored is not None and stored.removing and _is_empty(tx, stored, deleted):
        gone.append(stored)
    return gone


def _is_over(tx: ReadTx, request: Disruption) -> bool:
    """Whether the task that was to be replaced is gone."""
    task = tx.get(Task, request.id)
    return task is None or task.state.terminal


def next_expiry(tx: ReadTx, app: str, now: float) -> float | None:
    """Return when a dead task of *app* that is kept will be too old to be, or None if none ever will."""
    dead = [task for task in tx.find(Task, app=app) if task.state.terminal]
    return min((at for task in dead if (at := _died_at(task) + KEPT_SECONDS) > now), default=None)


def old_tasks(tasks: list[Task], now: float) -> list[Task]:
    """Return the dead tasks of one service beyond the newest 20 or 7 days, oldest first; not the newest of a slot."""
    dead = [task for task in tasks if task.state.terminal]
    if not dead:
        return []
    newest = {slot.latest.id for slot in slots(tuple(tasks), "").values() if slot.latest is not None}
    others = sorted((task for task in dead if task.id not in newest), key=lambda task: (task.created_at, task.id))
    room = max(0, KEPT_PER_SERVICE - (len(dead) - len(others)))
    beyond = len(others) - room
    return [task for place, task in enumerate(others) if place < beyond or _is_old(task, now)]


def _old_steps(service: Service, tasks: list[Task], now: float) -> list[Task]:
    """Return the dead tasks of steps beyond the newest 5 or 7 days.

    One whose end is not remembered yet is its only witness, and stays.
    """
    known = {record.task_id for record in service.steps}
    dead = sorted((task for task in tasks if task.state.terminal), key=lambda task: (task.created_at, task.id))
    beyond = len(dead) - KEPT_STEPS
    old = [task for place, task in enumerate(dead) if place < beyond or _is_old(task, now)]
    return [task for task in old if task.state is TaskState.SHUTDOWN or task.id in known]


def _is_old(task: Task, now: float) -> bool:
    return _died_at(task) + KEPT_SECONDS <= now


def _died_at(task: Task) -> float:
    """Return when a dead task ended; one that no node ever had, when it was made."""
    return max(task.created_at, task.status.since, task.status.finished_at or 0.0)


def used_networks(tasks: list[Task]) -> set[str]:
    """Return the keys of the networks that *tasks* are attached to."""
    return {at.network for task in tasks for at in task.spec.container.networks}


def used_volumes(tasks: list[Task]) -> set[str]:
    """Return the keys of the volumes that *tasks* mount."""
    return {mount.source for task in tasks for mount in task.spec.container.mounts}


def unneeded(tx: ReadTx, kind: type[Network] | type[Volume], id: str) -> Network | Volume | None:
    """Return a network or volume that may be deleted once no node has it: it is removed and no task uses it."""
    found = tx.get(kind, id)
    if found is None or not found.removing:
        return None
    tasks = [task for task in tx.find(Task, app=found.app) if not task.state.terminal]
    used = used_networks(tasks) if kind is Network else used_volumes(tasks)
    return None if found.spec.key in used else found


def _files(tx: ReadTx, app: str, tasks: list[Task], kept: Kept, *, going: bool) -> list[Object]:
    """Return secrets and configs that are removed and used by no task; external networks and volumes likewise."""
    live = [task for task in tasks if not task.state.terminal]
    secrets = {grant.source for task in live for grant in task.spec.container.secrets}
    configs = {grant.source for task in live for grant in task.spec.container.configs}
    networks, volumes = used_networks(live), used_volumes(live)
    files: list[Secret | Config] = [
        *(obj for obj in tx.find(Secret, app=app) if (going or obj.removing) and obj.spec.key not in secrets),
        *(obj for obj in tx.find(Config, app=app) if (going or obj.removing) and obj.spec.key not in configs),
    ]
    return [
        *(file for file in files if not kept.only_copy(file)),
        # The engine keeps what is external to the app: there is nothing a node would have to remove first.
        *(o for o in tx.find(Network, app=app) if o.spec.external and o.removing and o.spec.key not in networks),
        *(o for o in tx.find(Volume, app=app) if o.spec.external and o.removing and o.spec.key not in volumes),
    ]


def _is_empty(tx: ReadTx, app: App, deleted: set[tuple[type[Object], str]]) -> bool:
    """Whether nothing of a removed app is left but volumes that outlive it."""
    services = [obj for obj in tx.find(Service, app=app.id) if (Service, obj.id) not in deleted]
    tasks = [obj for obj in tx.find(Task, app=app.id) if (Task, obj.id) not in deleted]
    networks = [obj for obj in tx.find(Network, app=app.id) if obj.removing and not obj.spec.external]
    volumes = [obj for obj in tx.find(Volume, app=app.id) if obj.removing and not obj.spec.external]
    return not (services or tasks or networks or volumes)
