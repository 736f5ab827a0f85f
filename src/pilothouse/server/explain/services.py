"""Why a service or an app is as it is: the task that matters most speaks for it."""

from pilothouse.control.orchestrators.rollout import parallelism, update_order
from pilothouse.control.orchestrators.scene import is_ready
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.model.api import Explanation, ServiceView
from pilothouse.model.counts import count
from pilothouse.model.names import display_name
from pilothouse.model.objects import App, Service, Task
from pilothouse.model.release import ReleaseState
from pilothouse.model.states import TaskState
from pilothouse.server.explain.releases import changed, release_cause, rollout_cause
from pilothouse.server.explain.releases import facts as release_facts
from pilothouse.server.explain.tasks import advice, causes, changes, effective, explain_task, lost_node, what
from pilothouse.server.explain.words import ago, sentence
from pilothouse.server.views import port_text, view_of_service


def explain_service(scenes: Scenes, service: Service, now: float) -> Explanation:
    """Return why *service* is as it is."""
    view = view_of_service(scenes, service)
    task = spokesman(scenes, service)
    told = explain_task(scenes, task, now) if task is not None else None
    state = "" if view.removing else _state(scenes, view, service)
    text = f"{service.name} of {service.app} {state}{_cause(scenes, service, view, task, now)}"
    behind = causes(scenes, task, now) if task is not None else (f"It is wanted so by {_asked(scenes, service)}.",)
    app = scenes.app(service.app)
    released = release_cause(scenes, app, now) if app is not None and not app.removing else ()
    behind = (*rollout_cause(scenes, service, now), *behind, *released)
    return Explanation(
        object=f"service/{service.id}",
        sentence=text,
        causes=tuple(cause for cause in behind if cause.rstrip(".") not in text),
        facts=(*_facts(scenes, view, service), *(told.facts if told else ())),
        log_tail=told.log_tail if told and not view.converged else (),
        changes=(changes(scenes, task) if task is not None else ()) or _released_changes(scenes, service),
        effective=effective(service.spec.task.container),
    )


def explain_app(scenes: Scenes, app: App, now: float) -> Explanation:
    """Return why *app* is as it is: the explanation of the service that is worst off, if one is not settled."""
    services = scenes.services(app.id)
    views = [(view_of_service(scenes, service), service) for service in services]
    unseen = [pair for pair in views if _lost(scenes, pair[1]) is not None]
    bad = [p for p in views if p[0].failed] or [p for p in views if not p[0].converged] or unseen
    by = f"revision {app.revision}, deployed by {app.deployed_by or 'somebody unknown'} {ago(app.deployed_at, now)}"
    release = scenes.release(app)
    counts = (
        *(release_facts(release) if release is not None else (("revision", str(app.revision)),)),
        ("services", f"{sum(1 for view, _ in views if view.converged)} of {len(views)} are as the manifest says"),
    )
    if app.removing:
        names = [view.name for view, _ in views]
        left = (
            f"{count(len(names), 'service')} {'has' if len(names) == 1 else 'have'} yet to stop: {', '.join(names)}"
            if names
            else "its last objects are deleted"
        )
        text = sentence(f"{app.id} is being taken down", left, "it is gone when they are; deploy again to keep it")
        return Explanation(object=f"app/{app.id}", sentence=text, facts=counts)
    if not bad:
        text = sentence(
            f"{app.id} is as its manifest says: {count(len(views), 'service')}",
            by,
            "only a deployment, a crash or a person would change that",
        )
        return Explanation(object=f"app/{app.id}", sentence=text, causes=release_cause(scenes, app, now), facts=counts)
    view, service = bad[0]
    told = explain_service(scenes, service, now)
    others = [f"{other.name}: {other.sentence}." for other, _ in bad[1:]]
    state = _state(scenes, view, service)
    text = f"{app.id} {state}{_cause(scenes, service, view, spokesman(scenes, service), now, named=True)}"
    return Explanation(
        object=f"app/{app.id}",
        sentence=text,
        causes=(*told.causes, *others, f"The app is {by}."),
        facts=(*counts, *told.facts),
        log_tail=told.log_tail,
        changes=told.changes,
    )


def _released_changes(scenes: Scenes, service: Service) -> tuple[str, ...]:
    """Return what the newest release changed in *service*, as long as it is not stable."""
    app = scenes.app(service.app)
    release = scenes.release(app) if app is not None else None
    if release is None or release.state is ReleaseState.STABLE:
        return ()
    return changed(release, service.name)


def spokesman(scenes: Scenes, service: Service) -> Task | None:
    """Return the task that says most about *service*: one that is not well, before one that is; newest first."""
    fingerprint = scenes.fingerprint(service)

    def rank(task: Task) -> tuple[bool, bool, bool, float, str]:
        # A dead task speaks only where nothing lives; a healthy one only where nothing ails.
        ails = not is_ready(task) and task.desired_state is not TaskState.SHUTDOWN
        return (not task.state.terminal, ails, task.fingerprint == fingerprint, task.created_at, task.id)

    return max(scenes.tasks(service), key=rank, default=None)


def _state(scenes: Scenes, view: ServiceView, service: Service) -> str:
    """Return how it stands, up to where the cause begins."""
    if view.failed:
        task = spokesman(scenes, service)
        tried_on = not service.notice and task is not None and not task.state.terminal
        return "keeps failing: " if tried_on else "has failed: "
    if _lost(scenes, service) is not None:
        return "cannot be seen whole: "
    return "is as the manifest says: " if view.converged else "is not yet as the manifest says: "


def _lost(scenes: Scenes, service: Service) -> Task | None:
    """Return a live task whose node is away."""
    return next((task for task in scenes.tasks(service) if lost_node(scenes, task) is not None), None)


def _cause(
    scenes: Scenes, service: Service, view: ServiceView, task: Task | None, now: float, *, named: bool = False
) -> str:
    """Return the rest of the sentence: what the service waits for or why it failed, and what would change it."""
    lost = _lost(scenes, service)
    ready = f"{view.healthy} of {count(view.wanted, 'task')} {'is' if view.wanted == 1 else 'are'} ready"
    if lost is not None:
        return sentence(f"{display_name(lost)} {what(scenes, lost, now)}", "it is left as it is until the node is back")
    if view.removing:
        who = f"{service.name} " if named else ""
        return sentence(
            f"{who}{view.sentence}", f"because {_asked(scenes, service)}", "it is gone when they have stopped"
        )
    if task is None:
        return sentence(view.sentence or "no task is wanted", f"wanted so by {_asked(scenes, service)}")
    told = f"{display_name(task)} {what(scenes, task, now)}"
    if view.converged:
        done = "it has completed" if service.spec.mode.job else ready
        return sentence(done, told if task.failures else "", f"wanted so by {_asked(scenes, service)}")
    if service.notice:
        return sentence(service.notice, "" if task.state.terminal else told)
    return sentence(told, ready if view.wanted > 1 else "", advice(scenes, task, now))


def _facts(scenes: Scenes, view: ServiceView, service: Service) -> tuple[tuple[str, str], ...]:
    order = update_order(service.spec).value
    at_once = parallelism(service.spec, view.wanted)
    return (
        ("tasks", f"{view.wanted} wanted, {view.running} run, {view.healthy} ready, {view.outdated} outdated"),
        ("updates", f"{order}, {at_once} at once"),
        ("restart", service.spec.restart.condition.value),
        *_published(scenes, view, service),
    )


def _published(scenes: Scenes, view: ServiceView, service: Service) -> tuple[tuple[str, str], ...]:
    """Return what the proxy listens on for all tasks of a service, if there is such a port."""
    live = [task for task in scenes.tasks(service) if not task.state.terminal]
    ports = dict.fromkeys(port_text(port) for task in live for port in task.ports if port.ingress)
    who = f"the {count(view.healthy, 'ready task')}" if view.healthy else "nobody yet, callers are told so (503)"
    return (("published", f"{', '.join(ports)} by the proxy, which sends callers to {who}"),) if ports else ()


def _asked(scenes: Scenes, service: Service) -> str:
    scene = scenes.scene(service.id)
    return scene.asked_by if scene else "nothing that is known"
