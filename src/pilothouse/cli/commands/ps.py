"""`pilothouse ps`: the tasks, and above them the worst of what is not as it should be."""

import click

from pilothouse.cli import options, output, times
from pilothouse.cli.command import command
from pilothouse.clock import SystemClock
from pilothouse.errors import NotFoundError
from pilothouse.model.api import AppView, TaskView
from pilothouse.model.objects import Health, PortBinding
from pilothouse.model.states import TaskState


@command(
    "ps",
    examples=[
        ("pilothouse ps", "the tasks of the app in this directory, or of every app"),
        ("pilothouse ps -a shop", "dead tasks too, with how they ended"),
        ("pilothouse ps --json shop", "the same for programs"),
    ],
)
@click.option("-a", "--all", "dead", is_flag=True, help="Show tasks that have ended too.")
@options.as_json
@options.app_argument
def ps(*, dead: bool, as_json: bool, app: str) -> None:
    """List tasks: what runs, how it is and why.

    Without APP it lists the app whose Compose file is in this directory, and every app where there is none. The lines
    above the table name what is not as the manifest says, and why.
    """
    client = options.client()
    here = "" if app else options.project_here()
    try:
        views = [client.app(app or here)] if app or here else client.apps()
    except NotFoundError:
        if app:
            raise
        # Nobody named it: the Compose file is here, and is not deployed.
        if as_json:
            output.json(())
        else:
            output.line(f"{here} is not deployed: `pilothouse up` deploys it, `pilothouse ps APP` shows another app")
        return
    app = app or here
    tasks = client.tasks(app, dead=dead)
    if as_json:
        output.json(tasks)
        return
    for view in views:
        for sentence in worries(view):
            output.line(sentence)
    if not tasks:
        output.line(f"no tasks{f' of {app}' if app else ''}")
        return
    now = SystemClock().now()
    output.table(
        ("TASK", "ID", "STATE", "HEALTH", "SINCE", "FAILURES", "PORTS", "IMAGE", "WHY"),
        [_row(task, now) for task in tasks],
    )


def worries(view: AppView) -> list[str]:
    """Return a sentence for each service that is not as it should be; one for the app if it is going."""
    if view.removing:
        return [f"{view.name} is being taken down" + (f": {view.sentence}" if view.sentence else "")]
    wrong = [service for service in view.services if not service.converged and service.sentence]
    wrong.sort(key=lambda service: not service.failed)
    return [f"{view.name}/{service.name}: {service.sentence}" for service in wrong]


def _row(task: TaskView, now: float) -> tuple[str, ...]:
    return (
        f"{task.app}/{task.name}",
        task.id,
        _state(task),
        task.health.value if task.health is not Health.NONE else "",
        times.ago(task.since, now),
        str(task.failures) if task.failures else "",
        ", ".join(port(each) for each in task.ports),
        task.image,
        task.sentence,
    )


def _state(task: TaskView) -> str:
    state = task.state.name.lower()
    if task.exit_code is not None and task.state is TaskState.FAILED:
        state += f" ({task.exit_code})"
    return state if task.current or task.state.terminal else f"{state}, outdated"


def port(binding: PortBinding) -> str:
    """Return a port as people write it, host side first."""
    host = f"{binding.host_ip}:" if binding.host_ip else ""
    protocol = "" if binding.protocol == "tcp" else f"/{binding.protocol}"
    return f"{host}{binding.host_port}→{binding.target}{protocol}"
