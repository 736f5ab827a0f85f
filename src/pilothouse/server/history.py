"""What happened, from what a commit changed: pure, so history is told the same whenever it is asked for."""

from collections.abc import Callable, Iterator

from pilothouse.control.orchestrators.endings import how_it_ended
from pilothouse.model.api import EventView
from pilothouse.model.base import Object
from pilothouse.model.counts import count
from pilothouse.model.images import reclaimed_words
from pilothouse.model.names import display_name, step_name
from pilothouse.model.node import Node, NodeState
from pilothouse.model.objects import App, AuditRecord, Config, Grant, Health, Network, Secret, Service, Task, Volume
from pilothouse.model.release import Release
from pilothouse.model.states import TaskState
from pilothouse.server import release_history
from pilothouse.store.interface import Change, Commit

EVENTS: dict[str, str] = {
    "app.deployed": "An app was deployed, for the first time or again.",
    "app.removing": "An app is being taken down.",
    "app.removed": "Nothing of an app is left but volumes that outlive it.",
    "service.created": "A service was added to an app.",
    "service.changed": "What a service should be changed.",
    "service.restart-requested": "A person asked for a service's tasks to be replaced as they are.",
    "service.removing": "A service left the manifest; its tasks are being stopped.",
    "service.removed": "A service and all its tasks are gone.",
    "service.noticed": "Somebody should read its notice: a parked slot, an update that stopped, a failed job.",
    "service.recovered": "What the service's notice said is over.",
    "step.started": "A once-per-release step runs.",
    "step.done": "A once-per-release step ended with exit code 0, and is not run again for what it was run for.",
    "step.failed": "A once-per-release step failed; what needed it does not start.",
    "task.created": "A task was made; the sentence says why.",
    "task.waiting": "A task cannot get a host port or a node yet; the sentence says why.",
    "task.placed": "A task was given a node.",
    "task.released": "A task that was prepared and waited may run now.",
    "task.started": "A task's container runs.",
    "task.ready": "A task passes its checks and may get traffic.",
    "task.unready": "A running task does not pass its checks any more.",
    "task.stopping": "A task is to stop; the sentence says why.",
    "task.stopped": "A task was stopped on purpose.",
    "task.completed": "A task ended with exit code 0.",
    "task.failed": "A task ended badly; the sentence says how.",
    "task.rejected": "A node cannot run a task; the sentence says why.",
    "task.orphaned": "A task was lost with its node.",
    "task.deleted": "A dead task was forgotten.",
    "node.joined": "A node's agent connected for the first time.",
    "node.ready": "A node's agent is connected.",
    "node.away": "A node takes no new tasks: it is silent, was just lost, or is in trouble; the sentence says which.",
    "node.lost": "Nothing was heard of a node for so long that its tasks are made anew elsewhere.",
    "node.reclaimed": "Images or logs that nobody needed were removed from a node; the sentence says why and how much.",
    "node.changed": "A person changed a node's labels or availability.",
    "node.removed": "A node was removed.",
    "network.created": "A network was added to an app.",
    "network.removed": "A network is gone.",
    "volume.created": "A volume was added to an app.",
    "volume.removed": "A volume and its content are gone.",
    "secret.changed": "A secret got new content.",
    "secret.removed": "A secret was deleted.",
    "config.changed": "A config got new content.",
    "config.removed": "A config was deleted.",
    "grant.created": "A person allowed something that the safe defaults forbid.",
    "grant.revoked": "A grant was taken back.",
    "request.refused": "Policy refused what somebody asked for.",
    **release_history.EVENTS,
}
"""Every name an event may have, with what it means; docs/reference/events.md lists the same."""

_Said = tuple[str, str]
_ENDS = {
    TaskState.COMPLETE: "task.completed",
    TaskState.FAILED: "task.failed",
    TaskState.REJECTED: "task.rejected",
    TaskState.ORPHANED: "task.orphaned",
    TaskState.SHUTDOWN: "task.stopped",
}


def events_of(commit: Commit) -> tuple[EventView, ...]:
    """Return what happened in *commit*, in the order it was written."""
    found = [(change.object, said) for change in commit.changes for said in _events(change)]
    return tuple(
        EventView(
            revision=commit.revision,
            index=index,
            at=commit.at,
            name=name,
            object=f"{type(obj).__name__.lower()}/{obj.id}",
            app=obj.id if isinstance(obj, App) else str(getattr(obj, "app", "")),
            sentence=sentence,
        )
        for index, (obj, (name, sentence)) in enumerate(found)
    )


def _events(change: Change) -> Iterator[_Said]:
    tell = _TELLERS.get(type(change.object))
    if tell is not None:
        yield from tell(change.before, change.after)


def _app(before: Object | None, after: Object | None) -> Iterator[_Said]:
    if not isinstance(after, App):
        yield "app.removed", "nothing of it is left"
        return
    old = before if isinstance(before, App) else None
    if old is None or old.revision != after.revision:
        yield "app.deployed", f"revision {after.revision}, by {after.deployed_by or 'somebody unknown'}"
    if after.removing and not (old and old.removing):
        volumes = "its volumes go too" if after.remove_volumes else "its volumes stay"
        yield "app.removing", f"it is being taken down; {volumes}"
    if old is not None:
        yield from release_history.tell_pause(old, after)


def _service(before: Object | None, after: Object | None) -> Iterator[_Said]:
    if not isinstance(after, Service):
        yield "service.removed", "its tasks are gone"
        return
    if not isinstance(before, Service):
        yield "service.created", f"from image {after.spec.task.container.image}"
        return
    if (before.spec, before.image) != (after.spec, after.image):
        same = before.spec.task == after.spec.task and before.image == after.image
        yield "service.changed", "its tasks stay as they are" if same else "its tasks will be replaced"
    # A rollback puts back which restart the tasks are of; that asks for none.
    if before.restarts_requested != after.restarts_requested and not after.rolling_back:
        yield "service.restart-requested", "its tasks will be replaced as they are"
    if after.removing and not before.removing:
        yield "service.removing", "it is not in the manifest any more"
    known = {record.task_id for record in before.steps}
    for record in after.steps:
        if record.task_id not in known:
            name = step_name(after.name, record.index)
            yield "step.done" if record.done else "step.failed", f"{name} {record.message}"
    if before.notice != after.notice:
        yield ("service.noticed", after.notice) if after.notice else ("service.recovered", f"over: {before.notice}")
    yield from release_history.tell_rollout(before, after)


def _task(before: Object | None, after: Object | None) -> Iterator[_Said]:
    if not isinstance(after, Task):
        yield "task.deleted", "a dead task was forgotten"
        return
    name = display_name(after)
    if not isinstance(before, Task):
        yield "task.created", f"{name}: {after.reason}"
        return
    yield from _wishes(name, before, after)
    yield from _progress(name, before, after)


def _wishes(name: str, before: Task, after: Task) -> Iterator[_Said]:
    if before.desired_state is not after.desired_state:
        if after.desired_state is TaskState.SHUTDOWN:
            yield "task.stopping", f"{name}: {after.desired_reason}"
        elif before.desired_state is TaskState.READY:
            yield "task.released", f"{name}: {after.desired_reason}"
    waits = after.resource_message if after.state is TaskState.NEW else after.placement_message
    waited = before.resource_message if after.state is TaskState.NEW else before.placement_message
    if after.state <= TaskState.PENDING and waits and waits != waited:
        yield "task.waiting", f"{name}: {waits}"


def _progress(name: str, before: Task, after: Task) -> Iterator[_Said]:
    if after.step >= 0 and before.status.started_at is None and after.status.started_at is not None:
        # A short one is seen for the first time when it has ended.
        yield "step.started", f"{name} runs, once for what the tasks are made from"
    if before.state is not after.state:
        if after.state is TaskState.ASSIGNED:
            yield "task.placed", f"{name}: {after.placement_message}"
        elif after.state is TaskState.RUNNING:
            yield "task.started", f"{name} runs"
        elif after.state in _ENDS:
            yield _ENDS[after.state], _end(name, after)
    if after.step < 0 and after.state is TaskState.RUNNING and before.status.ready is not after.status.ready:
        failing = ": its health check fails" if after.status.health is Health.UNHEALTHY else ""
        yield (
            ("task.ready", f"{name} is ready")
            if after.status.ready
            else ("task.unready", f"{name} is not ready{failing}")
        )


def _end(name: str, task: Task) -> str:
    if task.state is TaskState.SHUTDOWN and task.desired_reason:
        return f"{name} was stopped: {task.desired_reason}"
    return f"{name} {how_it_ended(task)}"


def _node(before: Object | None, after: Object | None) -> Iterator[_Said]:
    if not isinstance(after, Node):
        yield "node.removed", "it was removed"
        return
    if not isinstance(before, Node):
        yield "node.joined", f"{after.description.hostname or after.id}: {after.description.engine or 'unknown engine'}"
        return
    if after.state is NodeState.DOWN and before.state is not NodeState.DOWN:
        yield "node.lost", after.message
    elif before.ready is not after.ready:
        yield "node.ready" if after.ready else "node.away", after.message
    done = after.description.reclaimed
    if done is not None and done != before.description.reclaimed:
        yield "node.reclaimed", reclaimed_words(done)
    if before.spec != after.spec:
        yield "node.changed", f"availability {after.spec.availability.value}, {count(len(after.spec.labels), 'label')}"


def _resource(before: Object | None, after: Object | None) -> Iterator[_Said]:
    kind = type(after or before).__name__.lower()
    if after is None:
        yield f"{kind}.removed", "it is gone"
    elif before is None:
        yield f"{kind}.created", "it was added to the app"


def _file(before: Object | None, after: Object | None) -> Iterator[_Said]:
    kind = type(after or before).__name__.lower()
    if after is None:
        yield f"{kind}.removed", "it was deleted"
    elif getattr(before, "content_version", None) != getattr(after, "content_version", None):
        yield f"{kind}.changed", "its content is new" if before is None else "its content changed"


def _grant(before: Object | None, after: Object | None) -> Iterator[_Said]:
    if not isinstance(after, Grant):
        return
    what = f"{after.kind} {after.value}".strip()
    if before is None:
        yield "grant.created", f"{what} for {after.service or 'every service'}, by {after.granted_by}: {after.reason}"
    elif isinstance(before, Grant) and before.revoked_at is None and after.revoked_at is not None:
        yield "grant.revoked", f"{what} for {after.service or 'every service'}"


def _audit(before: Object | None, after: Object | None) -> Iterator[_Said]:
    if before is None and isinstance(after, AuditRecord) and after.outcome == "refused":
        yield "request.refused", f"{after.principal}: {after.action} of {after.object}: {after.summary}"


_TELLERS: dict[type[Object], Callable[[Object | None, Object | None], Iterator[_Said]]] = {
    App: _app,
    Service: _service,
    Task: _task,
    Node: _node,
    Network: _resource,
    Volume: _resource,
    Secret: _file,
    Config: _file,
    Grant: _grant,
    AuditRecord: _audit,
    Release: release_history.tell_release,
}
