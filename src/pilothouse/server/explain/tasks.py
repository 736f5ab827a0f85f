"""Why a task is as it is: what it does, what came before it, what it waits for, what changed since it last worked."""

from msgspec.structs import replace

from pilothouse.control.orchestrators.dependencies import unmet
from pilothouse.control.orchestrators.endings import duration, given_up, how_it_ended, run_seconds, signal_name
from pilothouse.control.orchestrators.restart import STABLE_SECONDS
from pilothouse.control.orchestrators.scene import Scene, is_ready, key_of
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.model.api import Explanation
from pilothouse.model.container import ContainerSpec
from pilothouse.model.counts import in_a_row
from pilothouse.model.diff import diff
from pilothouse.model.hardening import harden
from pilothouse.model.matrix import Matrix
from pilothouse.model.names import display_name
from pilothouse.model.node import Node
from pilothouse.model.objects import Service, Task
from pilothouse.model.states import TaskState
from pilothouse.server.explain.lost import away, task_next
from pilothouse.server.explain.places import node_lines, remedy_of
from pilothouse.server.explain.steps import held_by_step, step_causes, step_clause, step_evidence
from pilothouse.server.explain.words import ago, sentence, since
from pilothouse.server.sentences import running_step, task_sentence
from pilothouse.server.views import port_text

HIDDEN = "(hidden)"


def explain_task(scenes: Scenes, task: Task, now: float, matrix: Matrix | None = None) -> Explanation:
    """Return why *task* is as it is; *matrix* is what the nodes lack, if it waits for one."""
    before = predecessor(scenes, task)
    culprit = task if task.state.terminal else before if before is not None and _died(before) else None
    return Explanation(
        object=f"task/{task.id}",
        sentence=sentence(
            f"{display_name(task)} of {task.app} {what(scenes, task, now)}",
            decided(task),
            remedy_of(matrix) or advice(scenes, task, now),
        ),
        causes=(*node_lines(matrix), *causes(scenes, task, now)),
        facts=facts(task, now),
        log_tail=_log_tail(scenes, task, culprit),
        changes=changes(scenes, task),
        effective=effective(task.spec.container),
        matrix=matrix,
    )


def _log_tail(scenes: Scenes, task: Task, culprit: Task | None) -> tuple[str, ...]:
    evidence = step_evidence(scenes, task)
    if evidence is not None:
        return evidence.log_tail
    return culprit.status.ending.log_tail if culprit and culprit.status.ending else ()


def what(scenes: Scenes, task: Task, now: float) -> str:
    """Return the clause that says what *task* does and why, and since when."""
    age = since(task.status.since or task.created_at, now)
    node = lost_node(scenes, task)
    if node is not None:
        gone = since(node.since, now)
        return f"was last seen in state {task.state.name}, but its node {_name(node)} is away {gone}: {node.message}"
    if task.state.terminal:
        return f"{task_sentence(task)}, {ago(task.status.finished_at or task.status.since, now)}"
    doing = running_step(scenes.service(task.service_id), task) or task_sentence(task) or "runs and is ready"
    if held_by_step(scenes, task) and (step := step_clause(scenes, task, now)):
        return f"{doing}{step}"
    before = predecessor(scenes, task)
    if before is not None and _ended_by_itself(before) and before.fingerprint == task.fingerprint:
        return f"{doing} ({age}); the task before it {how_it_ended(before)}"
    return f"{doing} ({age})"


def decided(task: Task) -> str:
    """Return who or what decided that *task* is as it is."""
    if task.state.terminal:
        return _who_ended(task)
    if task.state in _DECIDED:
        return _DECIDED[task.state]
    if task.desired_state is not TaskState.RUNNING:
        return "the orchestrator decided that"
    return f"it should run: {task.desired_reason}"


_DECIDED = {
    TaskState.NEW: "host ports are given by the resources loop",
    TaskState.PENDING: "the scheduler decided that",
}


def _who_ended(task: Task) -> str:
    end = task.status.ending
    if task.desired_state is TaskState.SHUTDOWN:
        return "the orchestrator decided that"
    if task.state is TaskState.ORPHANED:
        return "nothing was heard of that node for so long that it was given up"
    if given_up(task):
        return f"the node {task.node_id} decided that by itself"
    if task.state is TaskState.REJECTED:
        return f"the node {task.node_id} decided that"
    if end is not None and end.oom:
        return "the kernel decided that"
    return "its own program ended" if end else "its node reported that"


def advice(scenes: Scenes, task: Task, now: float) -> str:
    """Return what would change it."""
    service = scenes.service(task.service_id)
    if service is None:
        return "it is forgotten soon, because its service is gone"
    node = lost_node(scenes, task)
    if node is not None and len(scenes.nodes()) > 1:
        return task_next(service, task)
    if task.state.terminal:
        return _after_death(scenes, service, task)
    if task.state in _NEXT and task.not_before <= now:
        return _NEXT[task.state]
    if task.desired_state is not TaskState.RUNNING:
        return _stopping_or_waiting(task, now)
    return "it goes on by itself" if task.state is not TaskState.RUNNING else _running(task)


_NEXT = {
    TaskState.NEW: "it goes on as soon as it has what it waits for",
    TaskState.PENDING: "it is placed as soon as a node suits; add room or relax what it asks for",
}


def _stopping_or_waiting(task: Task, now: float) -> str:
    if task.desired_state is TaskState.SHUTDOWN:
        grace = duration(task.spec.container.stop_grace_seconds)
        return f"it is killed if it has not stopped {grace} after it was asked to"
    if task.not_before > now:
        return f"it starts by itself in {duration(task.not_before - now)}, or at once after a corrected deployment"
    return "it starts by itself as soon as that is over"


def _running(task: Task) -> str:
    if is_ready(task):
        return "only a deployment, a crash or a person would change that"
    return "it gets traffic again as soon as its checks pass; its own log says more"


def causes(scenes: Scenes, task: Task, now: float) -> tuple[str, ...]:
    """Return the chain behind *task*, nearest first."""
    before = predecessor(scenes, task)
    # Where the task before it ended by itself, that is the reason, and the next line says more of it.
    found = [f"It was made because {task.reason}." if before is None or not _ended_by_itself(before) else ""]
    if before is not None:
        found.append(f"Before it, {before.id} {task_sentence(before) or 'ran'} ({ago(_end_of(before), now)}).")
    if task.failures:
        found.append(f"Before it, this slot had {in_a_row(task.failures)}.")
    scene = scenes.scene(task.service_id)
    if scene is not None:
        if scene.service.notice:
            found.append(f"Notice of {task.service}: {scene.service.notice}.")
        found += step_causes(scenes, task)
        found += _dependencies(scenes, scene, task)
        found.append(f"It is wanted so by {scene.asked_by}.")
    return tuple(dict.fromkeys(cause for cause in found if cause))


def changes(scenes: Scenes, task: Task) -> tuple[str, ...]:
    """Return what differs from the newest task of the slot that worked with another spec."""
    service = scenes.service(task.service_id)
    if service is None or task.step >= 0:
        return ()
    others = [t for t in scenes.tasks(service) if t.fingerprint != task.fingerprint and t.created_at <= task.created_at]
    worked = [t for t in others if has_worked(t)]
    same_slot = [t for t in worked if key_of(t) == key_of(task)] or worked
    if not same_slot:
        return ()
    last = max(same_slot, key=lambda t: (t.created_at, t.id))
    said = [
        f"{each.path}: {each.before or 'nothing'} → {each.after or 'nothing'}" for each in diff(last.spec, task.spec)
    ]
    if last.image.id != task.image.id and last.image.ref == task.image.ref:
        said.append(f"image {task.image.ref}: another content under the same name")
    for kind, old, new in (
        ("secret", last.secret_versions, task.secret_versions),
        ("config", last.config_versions, task.config_versions),
    ):
        said += [f"{kind} {key}: new content" for key in sorted(old.keys() & new.keys()) if old[key] != new[key]]
    return tuple(said)


def has_worked(task: Task) -> bool:
    """Whether *task* did what it was made for: ready now, completed, stopped on purpose while it ran, or long-lived."""
    if not task.state.terminal:
        return is_ready(task)
    stopped = task.desired_state is TaskState.SHUTDOWN and task.status.started_at is not None
    return task.state is TaskState.COMPLETE or stopped or run_seconds(task) >= STABLE_SECONDS


def facts(task: Task, now: float) -> tuple[tuple[str, str], ...]:
    """Return the details worth seeing."""
    status, end = task.status, task.status.ending
    every = [
        ("state", task.state.name.lower()),
        ("wanted", f"{task.desired_state.name.lower()}: {task.desired_reason}"),
        ("node", task.node_id),
        ("placement", task.placement_message),
        ("image", task.spec.container.image),
        ("image id", task.image.id),
        ("health", status.health.value if not task.state.terminal else ""),
        ("exit code", str(end.exit_code) if end and end.exit_code is not None else ""),
        ("signal", signal_name(task) if end else ""),
        ("out of memory", "yes" if end and end.oom else ""),
        ("started", ago(status.started_at, now) if status.started_at else ""),
        ("ended", ago(status.finished_at, now) if status.finished_at else ""),
        ("failures in a row before it", str(task.failures) if task.failures else ""),
        ("host ports of the proxy", ports_text(task, ingress=True)),
        ("host ports of the engine", ports_text(task, ingress=False)),
        ("addresses", ", ".join(f"{key} {address}" for key, address in sorted(status.addresses.items()))),
        ("container", status.container_id),
    ]
    return tuple((name, value) for name, value in every if value)


def ports_text(task: Task, *, ingress: bool) -> str:
    """Return the host ports of *task* that the proxy, or the engine, listens on."""
    return ", ".join(port_text(port) for port in task.ports if port.ingress is ingress)


def effective(spec: ContainerSpec) -> ContainerSpec:
    """Return the container as the engine is told, without the values of its environment."""
    hardened = harden(spec)
    return replace(hardened, environment=dict.fromkeys(hardened.environment, HIDDEN))


def predecessor(scenes: Scenes, task: Task) -> Task | None:
    """Return the task that *task* replaced, if it is still known."""
    service = scenes.service(task.service_id)
    if service is None or not task.replaces:
        return None
    among = (*scenes.tasks(service), *scenes.step_tasks(service))
    return next((other for other in among if other.id == task.replaces), None)


def _after_death(scenes: Scenes, service: Service, task: Task) -> str:
    among = (*scenes.tasks(service), *scenes.step_tasks(service))
    following = [other for other in among if other.replaces == task.id]
    if following:
        return f"{following[0].id} has taken its place"
    if service.notice:
        return service.notice
    if task.state is TaskState.COMPLETE and task.step >= 0:
        return "it is not run again for what it was run for"
    if task.state is TaskState.COMPLETE:
        return "nothing follows until the service changes or is restarted"
    if task.status.ending is not None and task.status.ending.oom:
        return "raise deploy.resources.limits.memory or make it use less, then deploy again"
    return f"correct the cause and deploy again, or run `pilothouse restart {task.app} {task.service}`"


def _dependencies(scenes: Scenes, scene: Scene, task: Task) -> list[str]:
    """Return what the dependencies that hold *task* back are doing themselves, however deep."""
    waits = task.desired_state is TaskState.READY and not task.state.terminal and unmet(scene)
    return list(_behind(scenes, scene, set())) if waits else []


def _behind(scenes: Scenes, scene: Scene, seen: set[str]) -> list[str]:
    said: list[str] = []
    for edge in scene.service.spec.depends_on:
        neighbour = scene.dependencies.get(edge.service)
        other = neighbour.service if neighbour else None
        if neighbour is None or other is None or other.id in seen:
            continue
        seen.add(other.id)
        waiting = [t for t in neighbour.tasks if not t.state.terminal and task_sentence(t)]
        dead = [t for t in neighbour.tasks if t.state.terminal and _died(t)]
        newest = max(dead, key=lambda t: (t.created_at, t.id), default=None)
        if other.notice:
            said.append(f"Dependency {other.name}: {other.notice}.")
        if waiting:
            said.append(f"Dependency {display_name(waiting[0])} {task_sentence(waiting[0])}.")
        if newest is not None and (waiting or other.notice):
            said.append(f"Dependency {display_name(newest)} ({newest.id}) {how_it_ended(newest)}.")
        deeper = scenes.scene(other.id)
        if deeper is not None and waiting:
            said += _behind(scenes, deeper, seen)
    return said


def _died(task: Task) -> bool:
    """Whether *task* ended badly and not because it was told to."""
    return task.state > TaskState.SHUTDOWN and _ended_by_itself(task)


def _ended_by_itself(task: Task) -> bool:
    return task.state.terminal and task.desired_state is not TaskState.SHUTDOWN


def lost_node(scenes: Scenes, task: Task) -> Node | None:
    """Return the node of a live *task* if it is away, so that what is known of the task may be old."""
    if task.state.terminal or not task.node_id:
        return None
    return next((node for node in scenes.nodes() if node.id == task.node_id and away(node)), None)


def _name(node: Node) -> str:
    return node.description.hostname or node.id


def _end_of(task: Task) -> float:
    return task.status.finished_at or task.status.since or task.created_at
