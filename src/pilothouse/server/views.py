"""Objects as people see them: what the API answers, made from a snapshot by pure functions."""

from pilothouse.control.orchestrators.endings import duration, how_it_ended
from pilothouse.control.orchestrators.failures import FAILURES_THAT_STOP
from pilothouse.control.orchestrators.restart import STABLE_SECONDS, Next, after
from pilothouse.control.orchestrators.rollout import believed_at
from pilothouse.control.orchestrators.scene import Slot, is_ready, place_name
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.control.orchestrators.steps import failed_step
from pilothouse.model.api import AppView, ServiceView, TaskView
from pilothouse.model.counts import count, in_a_row
from pilothouse.model.names import display_name
from pilothouse.model.objects import App, Health, PortBinding, Service, Task, Volume
from pilothouse.model.placement_api import Survival
from pilothouse.model.states import TaskState
from pilothouse.server.placing.survival import survival
from pilothouse.server.placing.vacancies import Vacancies
from pilothouse.server.rollouts import newest_release
from pilothouse.server.sentences import running_step, task_sentence
from pilothouse.store.interface import ReadTx


def app_views(tx: ReadTx, now: float) -> list[AppView]:
    """Return every app at the time *now*, ordered by name."""
    scenes = Scenes(tx)
    return [_app_view(tx, scenes, app, now) for app in tx.find(App)]


def app_view(tx: ReadTx, name: str, now: float) -> AppView | None:
    """Return one app at the time *now*, or None if there is none of that name."""
    app = tx.get(App, name)
    return None if app is None else _app_view(tx, Scenes(tx), app, now)


def service_view(tx: ReadTx, app: str, name: str) -> ServiceView | None:
    """Return one service, or None if the app has none of that name."""
    service = tx.get(Service, f"{app}/{name}")
    return None if service is None else view_of_service(Scenes(tx), service)


def task_view(tx: ReadTx, task: Task) -> TaskView:
    """Return one task."""
    return view_of_task(Scenes(tx), task)


def task_views(tx: ReadTx, app: str = "", service: str = "", *, dead: bool = False) -> list[TaskView]:
    """Return tasks, ordered by app, service and slot, then newest first; "" is any.

    Args:
        tx: The snapshot.
        app: Only of this app.
        service: Only of services of this name.
        dead: Those that will never run again too; a step that failed and stops its service is shown in any case.
    """
    fields = {name: value for name, value in (("app", app), ("service", service)) if value}
    scenes = Scenes(tx)
    found = [task for task in tx.find(Task, **fields) if dead or not task.state.terminal or _stopped_by(scenes, task)]
    found.sort(key=lambda task: (task.app, task.service, task.slot, task.node_id, -task.created_at, task.id))
    return [view_of_task(scenes, task) for task in found]


def view_of_task(scenes: Scenes, task: Task) -> TaskView:
    """Return *task* as `ps` shows it."""
    service = scenes.service(task.service_id)
    status = task.status
    return TaskView(
        id=task.id,
        app=task.app,
        service=task.service,
        name=display_name(task),
        slot=task.slot,
        state=task.state,
        desired_state=task.desired_state,
        health=status.health,
        ready=status.ready,
        since=status.since or task.created_at,
        created_at=task.created_at,
        image=task.spec.container.image,
        node_id=task.node_id,
        sentence=running_step(service, task) or task_sentence(task) or _recovering(task, service),
        failures=task.failures,
        current=service is not None and task.fingerprint == scenes.fingerprint(service),
        exit_code=status.ending.exit_code if status.ending else None,
        ports=task.ports,
        addresses=status.addresses,
    )


def _settles_at(task: Task) -> float:
    """Return from when on an unchecked *task* is believed to run: later if the one before it failed."""
    if task.state is not TaskState.RUNNING or task.status.health is not Health.NONE:
        return 0.0
    return believed_at(task) or 0.0


def _stopped_by(scenes: Scenes, task: Task) -> bool:
    """Whether *task* is the step that failed, so that nothing of its service starts."""
    scene = scenes.scene(task.service_id) if task.step >= 0 else None
    evidence = failed_step(scene) if scene is not None and not scene.leaving else None
    return evidence is not None and evidence.task_id == task.id


def _recovering(task: Task, service: Service | None) -> str:
    """Return what a ready task still has to do after failures before it; "" if there were none."""
    if not task.failures or service is None:
        return ""
    window = service.spec.restart.window_seconds
    enough = duration(STABLE_SECONDS if window is None else window)
    return f"runs again after {in_a_row(task.failures)}; counted until it has run for {enough}"


def view_of_service(scenes: Scenes, service: Service) -> ServiceView:
    """Return *service* with its tasks counted."""
    tasks = scenes.tasks(service)
    by_key = scenes.slots(service)
    keys = scenes.wanted(service)
    wanted = [by_key.get(key) or Slot(key=key) for key in keys]
    live = [task for slot in by_key.values() for task in slot.live]
    current = [slot.current for slot in wanted if slot.current is not None]
    app = scenes.app(service.app)
    removing = service.removing or app is None or app.removing
    nowhere = not keys and "global" in service.spec.mode.value
    settled = all(_is_done(service, slot) for slot in wanted)
    converged = settled and len(live) == len(current) and not removing and not nowhere
    by_id = {task.id: task for task in tasks}
    dead_end = "" if removing else _dead_end(service, wanted, by_id, scenes.fingerprint(service))
    sentence = dead_end or _waits_for(service, wanted, live, by_id)
    if removing:
        sentence = _going(len(live))
    elif nowhere:
        sentence = "no node meets its placement constraints, so it has no tasks"
    return ServiceView(
        app=service.app,
        name=service.name,
        mode=service.spec.mode.value,
        image=service.spec.task.container.image,
        wanted=len(keys),
        running=sum(1 for task in current if task.state is TaskState.RUNNING),
        healthy=sum(1 for task in current if is_ready(task)),
        completed=sum(1 for slot in wanted if slot.completed),
        outdated=sum(len(slot.outdated) for slot in by_key.values()),
        converged=converged,
        failed=bool(dead_end),
        removing=removing,
        sentence="" if converged else sentence,
        settles_at=max((_settles_at(task) for task in current), default=0.0),
        ports=tuple(dict.fromkeys(port_text(port) for task in current for port in task.ports)),
    )


def port_text(port: PortBinding) -> str:
    """Return a host port as `docker ps` users know it: "127.0.0.1:8080->80/tcp"."""
    address = f"[{port.host_ip}]:" if ":" in port.host_ip else f"{port.host_ip}:" if port.host_ip else ""
    return f"{address}{port.host_port}->{port.target}/{port.protocol}"


def _app_view(tx: ReadTx, scenes: Scenes, app: App, now: float) -> AppView:
    services = tuple(view_of_service(scenes, service) for service in scenes.services(app.id))
    failed = [view for view in services if view.failed]
    waiting = [view for view in services if not view.converged]
    if app.removing:
        left = f": {count(len(services), 'service')} left" if services else ""
        sentence = f"is being taken down{left}"
    elif waiting:
        worst = (failed or waiting)[0]
        sentence = worst.sentence
    else:
        sentence = _all_is_well(len(services))
    return AppView(
        name=app.id,
        revision=app.revision,
        deployed_at=app.deployed_at,
        deployed_by=app.deployed_by,
        removing=app.removing,
        converged=not app.removing and not waiting,
        failed=bool(failed) and not app.removing,
        sentence=sentence,
        services=services,
        release=newest_release(tx, scenes, app, now),
        survival=survival_of(tx, scenes, app),
    )


def survival_of(tx: ReadTx, scenes: Scenes, app: App) -> Survival | None:
    """Return whether *app* survives the loss of any one node; None on one node, or if it is going."""
    if app.removing or len(scenes.nodes()) < 2:
        return None
    services = [service for service in scenes.services(app.id) if not service.removing]
    tasks = [task for service in services for task in scenes.tasks(service)]
    volumes = {volume.spec.key: volume for volume in tx.find(Volume, app=app.id)}
    return survival(services, tasks, scenes.nodes(), volumes, Vacancies(tx).fits)


def _going(live: int) -> str:
    if not live:
        return "is being removed"
    return f"is being removed: {count(live, 'task')} {'has' if live == 1 else 'have'} yet to stop"


def _all_is_well(services: int) -> str:
    if not services:
        return "it has no services"
    one = services == 1
    return f"{'its one service is' if one else f'all {services} services are'} as the manifest says"


def _is_done(service: Service, slot: Slot) -> bool:
    """Whether a slot is as it should be: its task runs and is ready, or has ended well where that is meant."""
    if service.spec.mode.job:
        return slot.vacant and slot.completed
    if slot.current is not None:
        return is_ready(slot.current) and slot.current.desired_state is TaskState.RUNNING
    if not slot.vacant or not slot.completed or slot.latest is None:
        return False
    return after(slot.latest, service.spec.restart, slot.latest.status.since).next is Next.LEAVE


def _dead_end(service: Service, wanted: list[Slot], by_id: dict[str, Task], fingerprint: str) -> str:
    """Return why *service* will hardly become what it should be by itself; "" if it may.

    A task of an older spec says nothing of the present one.
    """
    if service.notice:
        return service.notice
    for slot in wanted:
        died = _last_death(slot, by_id)
        if died is None or died.fingerprint != fingerprint or _is_done(service, slot):
            continue
        if died.state is TaskState.COMPLETE or died.desired_state is TaskState.SHUTDOWN:
            continue
        name = place_name(service, slot.key)
        verdict = after(died, service.spec.restart, died.status.since)
        if slot.vacant and verdict.next is Next.LEAVE:
            return f"{name} failed and is not tried again: {verdict.reason}"
        if verdict.failures >= FAILURES_THAT_STOP:
            times = f"{verdict.failures} times in a row"
            return f"{name} keeps failing: it {how_it_ended(died)} ({times}); the platform goes on trying"
    return ""


def _last_death(slot: Slot, by_id: dict[str, Task]) -> Task | None:
    """Return the newest dead task of a slot that was made from the same spec as the newest of all."""
    latest = slot.latest
    if latest is None or latest.state.terminal:
        return latest
    before = by_id.get(latest.replaces)
    return before if before is not None and before.fingerprint == latest.fingerprint else None


def _waits_for(service: Service, wanted: list[Slot], live: list[Task], by_id: dict[str, Task]) -> str:
    """Return what a service that is not settled waits for: the first slot that is not, by name."""
    waiting = [slot for slot in wanted if not _is_done(service, slot)]
    if not waiting:
        extra = len(live) - len(wanted)
        verbs = ("is", "has") if extra == 1 else ("are", "have")
        return f"{count(extra, 'task')} that {verbs[0]} not wanted any more {verbs[1]} yet to stop"
    done = len(wanted) - len(waiting)
    as_it_should = "is as it should be" if done == 1 else "are as they should be"
    so_far = f"{done} of {len(wanted)} tasks {as_it_should}; " if len(wanted) > 1 else ""
    return f"{so_far}{place_name(service, waiting[0].key)} {_slot_sentence(waiting[0], by_id)}"


def _slot_sentence(slot: Slot, by_id: dict[str, Task]) -> str:
    if slot.outdated and (slot.current is None or slot.current.desired_state is TaskState.READY):
        return "runs on an older spec and has yet to be replaced"
    task = slot.current or next(iter(slot.stopping), slot.latest)
    if task is None:
        return "has no task yet"
    died = _last_death(slot, by_id)
    if task.state.terminal:
        return f"{task_sentence(task)} (another one is about to be made)"
    before = f"; the one before it {how_it_ended(died)}" if died is not None and task.failures else ""
    return f"{task_sentence(task)}{before}"
