"""Everything a service calls for at one moment, as a pure function of what is known and the time."""

from pilothouse.control.orchestrators import global_, job, replicated, steps
from pilothouse.control.orchestrators.changes import Decision
from pilothouse.control.orchestrators.dependencies import stop_waits_for
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.readiness import mind_the_start
from pilothouse.control.orchestrators.scene import Key, Scene, slots
from pilothouse.model.counts import count
from pilothouse.model.node import Node
from pilothouse.model.objects import Service, Task
from pilothouse.model.spec import Mode
from pilothouse.model.states import TaskState


def wanted_keys(service: Service, tasks: tuple[Task, ...], nodes: tuple[Node, ...]) -> tuple[Key, ...]:
    """Return the slots *service* should have, whatever is in them."""
    if service.spec.mode in {Mode.GLOBAL, Mode.GLOBAL_JOB}:
        return global_.wanted(service, tasks, nodes)
    return replicated.wanted(service)


def decide(scene: Scene, now: float) -> Decision:
    """Return the changes that bring the tasks of one service nearer to what its spec says.

    Deciding again after the changes were made, with nothing else happening, gives none.
    """
    plan = Plan(now)
    if scene.leaving:
        _leave(scene, plan)
        return plan.decision()
    by_key = slots(scene.tasks, scene.fingerprint, scene.disruptions)
    keys = wanted_keys(scene.service, scene.tasks, scene.nodes)
    _shrink(scene, set(keys), plan)
    steps.keep(scene, keys, plan)
    if scene.service.spec.mode.job:
        job.keep(scene, by_key, keys, plan)
    else:
        replicated.keep(scene, by_key, keys, plan)
        mind_the_start(scene, by_key, keys, plan)
    return plan.decision()


def _shrink(scene: Scene, keys: set[Key], plan: Plan) -> None:
    """Stop what lives outside the wanted slots."""
    for task in scene.tasks:
        if task.state <= TaskState.RUNNING and (task.slot, "" if task.slot else task.node_id) not in keys:
            why = (
                f"{count(len(keys), 'task')} {'is' if len(keys) == 1 else 'are'} wanted"
                if task.slot
                else f"the service has no place on {task.node_id} any more"
            )
            plan.stop(task, f"{why}: {scene.asked_by}")


def _leave(scene: Scene, plan: Plan) -> None:
    """Stop everything, but what runs only after the services that depend on it have stopped."""
    waits = stop_waits_for(scene)
    for task in (*scene.tasks, *scene.step_tasks):
        if task.state > TaskState.RUNNING or task.desired_state is TaskState.SHUTDOWN:
            continue
        if waits and task.desired_state is TaskState.RUNNING and task.state >= TaskState.STARTING:
            plan.want(task, TaskState.RUNNING, f"runs on until {waits} has stopped; {scene.asked_by}")
        else:
            plan.stop(task, scene.asked_by)
