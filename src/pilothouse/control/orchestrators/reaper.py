"""What may be deleted: dead tasks nobody needs, and what was removed once nothing uses it. Pure.

The newest task of a slot stays as long as its service: it holds the slot's history (failures, completion).
"""

from collections import Counter, defaultdict

from pilothouse.control.orchestrators.scene import key_of, slots
from pilothouse.model.base import Object
from pilothouse.model.objects import App, Config, Network, Secret, Service, Task, Volume
from pilothouse.model.states import TaskState
from pilothouse.store.interface import ReadTx

KEPT_PER_SLOT = 5
KEPT_PER_SERVICE = 20


def leftovers(tx: ReadTx, app: str) -> list[Object]:
    """Return the objects of *app* that may be deleted now, in the order in which to delete them."""
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
            gone += old_tasks([task for task in tasks if task.step < 0])
            gone += _old_steps(service, [task for task in tasks if task.step >= 0])
        elif all(task.state.terminal for task in tasks):
            gone += [*tasks, service]
    for tasks in by_service.values():
        gone += [task for task in tasks if task.state.terminal]
    deleted = {(type(obj), obj.id) for obj in gone}
    left = [task for task in tx.find(Task, app=app) if (Task, task.id) not in deleted]
    gone += _files(tx, app, left, going=going)
    if stored is not None and stored.removing and _is_empty(tx, stored, deleted):
        gone.append(stored)
    return gone


def old_tasks(tasks: list[Task]) -> list[Task]:
    """Return the dead tasks of one service beyond the newest 5 of each slot and 20 in all, oldest first."""
    if len(tasks) <= KEPT_PER_SLOT:
        return []
    newest = {slot.latest.id for slot in slots(tuple(tasks), "").values() if slot.latest is not None}
    dead = sorted(
        (task for task in tasks if task.state.terminal), key=lambda task: (task.created_at, task.id), reverse=True
    )
    kept = Counter(key_of(task) for task in dead if task.id in newest)
    total = kept.total()
    gone: list[Task] = []
    for task in dead:
        key = key_of(task)
        if task.id in newest:
            continue
        if kept[key] < KEPT_PER_SLOT and total < KEPT_PER_SERVICE:
            kept[key] += 1
            total += 1
        else:
            gone.append(task)
    return gone[::-1]


def _old_steps(service: Service, tasks: list[Task]) -> list[Task]:
    """Return the dead tasks of steps beyond the newest 5; one whose end is not remembered yet is its only witness."""
    known = {record.task_id for record in service.steps}
    dead = sorted((task for task in tasks if task.state.terminal), key=lambda task: (task.created_at, task.id))
    return [task for task in dead[:-KEPT_PER_SLOT] if task.state is TaskState.SHUTDOWN or task.id in known]


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


def _files(tx: ReadTx, app: str, tasks: list[Task], *, going: bool) -> list[Object]:
    """Return secrets and configs that are removed and used by no task; external networks and volumes likewise."""
    live = [task for task in tasks if not task.state.terminal]
    secrets = {grant.source for task in live for grant in task.spec.container.secrets}
    configs = {grant.source for task in live for grant in task.spec.container.configs}
    networks, volumes = used_networks(live), used_volumes(live)
    return [
        *(obj for obj in tx.find(Secret, app=app) if (going or obj.removing) and obj.spec.key not in secrets),
        *(obj for obj in tx.find(Config, app=app) if (going or obj.removing) and obj.spec.key not in configs),
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
