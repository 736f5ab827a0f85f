"""What one node must have, as a pure function of a snapshot: no file contents, only which ones to attach."""

from collections.abc import Iterable

from pilothouse.control.orchestrators.reaper import used_networks, used_volumes
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.model.base import Value
from pilothouse.model.container import FileGrant
from pilothouse.model.cut_off import strictest
from pilothouse.model.objects import App, Network, Task, Volume
from pilothouse.model.release import Release, release_id
from pilothouse.model.spec import CutOff, CutOffAction
from pilothouse.model.states import TaskState
from pilothouse.model.wire import Assignment, Split
from pilothouse.store.interface import ReadTx


class NodeNeeds(Value, frozen=True, kw_only=True):
    """An assignment yet without contents.

    Attributes:
        secrets, configs: The files to attach as (id, version), sorted: each in every version that a live task on the
            node was made for. A version of "" is whichever is the newest.
    """

    assignment: Assignment
    secrets: tuple[tuple[str, str], ...] = ()
    configs: tuple[tuple[str, str], ...] = ()


def needs(tx: ReadTx, node_id: str) -> NodeNeeds:
    """Return what *node_id* must have at the revision of *tx*."""
    tasks = tx.find(Task, node_id=node_id)
    # A global task names its node before the scheduler agrees; until then the node must not know of it.
    placed = tuple(task for task in tasks if task.state >= TaskState.ASSIGNED)
    by_app: dict[str, list[Task]] = {}
    for task in placed:
        by_app.setdefault(task.app, []).append(task)
    live = [task for task in placed if not task.state.terminal]
    scenes = Scenes(tx)
    return NodeNeeds(
        assignment=Assignment(
            revision=tx.revision,
            tasks=placed,
            networks=_networks(tx, by_app),
            volumes=_volumes(tx, by_app, node_id),
            splits=_splits(tx, scenes, sorted({task.app for task in live})),
            cut_offs=_cut_offs(scenes, live),
        ),
        secrets=_files((task, task.spec.container.secrets, task.secret_versions) for task in live),
        configs=_files((task, task.spec.container.configs, task.config_versions) for task in live),
    )


def _files(granted: Iterable[tuple[Task, tuple[FileGrant, ...], dict[str, str]]]) -> tuple[tuple[str, str], ...]:
    found = {
        (f"{task.app}/{g.source}", versions.get(g.source, "")) for task, grants, versions in granted for g in grants
    }
    return tuple(sorted(found))


def _networks(tx: ReadTx, by_app: dict[str, list[Task]]) -> tuple[Network, ...]:
    used = {f"{app}/{key}" for app, tasks in by_app.items() for key in used_networks(tasks)}
    found = {key: network for key in used if (network := tx.get(Network, key)) is not None}
    found |= {network.id: network for network in tx.find(Network, removing=True)}
    return tuple(found[key] for key in sorted(found))


def _volumes(tx: ReadTx, by_app: dict[str, list[Task]], node_id: str) -> tuple[Volume, ...]:
    """Return the volumes the node's tasks use, and those to be removed that may be on it."""
    used = {f"{app}/{key}" for app, tasks in by_app.items() for key in used_volumes(tasks)}
    found = {key: volume for key in used if (volume := tx.get(Volume, key)) is not None}
    going = tx.find(Volume, removing=True)
    found |= {volume.id: volume for volume in going if not volume.nodes or node_id in volume.nodes}
    return tuple(found[key] for key in sorted(found))


def _cut_offs(scenes: Scenes, live: Iterable[Task]) -> dict[str, CutOff]:
    """Return the rule for a cut-off node of each service that does not keep its tasks."""
    by_service: dict[str, list[Task]] = {}
    for task in live:
        by_service.setdefault(task.service_id, []).append(task)
    rules = {
        service_id: strictest(service, tasks)
        for service_id, tasks in sorted(by_service.items())
        if (service := scenes.service(service_id)) is not None
    }
    return {service_id: rule for service_id, rule in rules.items() if rule.action is not CutOffAction.KEEP}


def _splits(tx: ReadTx, scenes: Scenes, apps: Iterable[str]) -> tuple[Split, ...]:
    """Return how the traffic of each service is divided whose newest release is being judged."""
    found = []
    for app in apps:
        release = _newest(tx, app)
        for name, stage in sorted(release.stages.items() if release else ()):
            service = scenes.service(f"{app}/{name}")
            if service is not None and not stage.promoted:
                fingerprint = scenes.fingerprint(service)
                found.append(Split(app=app, service=name, fingerprint=fingerprint, weight=stage.weight))
    return tuple(found)


def _newest(tx: ReadTx, app: str) -> Release | None:
    found = tx.get(App, app)
    return tx.get(Release, release_id(app, found.revision)) if found is not None else None
