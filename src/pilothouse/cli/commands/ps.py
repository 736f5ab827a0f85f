"""`pilothouse ps`: the tasks, and above them the worst of what is not as it should be."""

import click

from pilothouse.cli import options, outcome, output, times
from pilothouse.cli.command import command
from pilothouse.cli.rows import Row, rolling, rollout_row
from pilothouse.clock import SystemClock
from pilothouse.errors import NotFoundError
from pilothouse.model.api import AppView, TaskView
from pilothouse.model.objects import Health, PortBinding
from pilothouse.model.release import ReleaseState
from pilothouse.model.release_api import ReleaseView
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
    above the table name what is not as the manifest says, and why, the worst first; and, where there are several
    nodes, what the loss of one would mean. While a release is rolled out its
    tasks are marked "new" and those of the one before "old".
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
    now = SystemClock().now()
    for view in views:
        for sentence in worries(view, now):
            output.line(sentence)
    if not tasks:
        output.line(f"no tasks{f' of {app}' if app else ''}")
        return
    updating = {(task.app, task.service) for task in tasks if not task.current and not task.state.terminal}
    # On one host the column would say the same in every row.
    apart = len({task.node_id for task in tasks if task.node_id}) > 1
    heads = (
        "TASK",
        "ID",
        *(("NODE",) if apart else ()),
        "STATE",
        "HEALTH",
        "SINCE",
        "FAILURES",
        "PORTS",
        "IMAGE",
        "WHY",
    )
    rows = [_row(task, now, updating=(task.app, task.service) in updating, apart=apart) for task in tasks]
    output.table(heads, rows)


def worries(view: AppView, now: float) -> list[str]:
    """Return what is not as it should be, the worst first: failed services, then the release, then what waits."""
    if view.removing:
        return [f"{view.name} is being taken down" + (f": {view.sentence}" if view.sentence else "")]
    rollouts = {rollout.service: rollout_row(rollout, now) for rollout in rolling(view.release)}
    failed = [f"{view.name}/{each.name}: {each.sentence}" for each in view.services if each.failed]
    waiting = [
        f"{view.name}/{each.name}: {_how_far(rollouts.get(each.name)) or each.sentence}"
        for each in view.services
        if not each.failed and (each.name in rollouts or (not each.converged and each.sentence))
    ]
    return [*failed, *_turn(view.release), *waiting, *_loss(view)]


def _loss(view: AppView) -> list[str]:
    """Return what the loss of one node would mean, unless every service has tasks on several."""
    found = view.survival
    return [f"{view.name} {found.sentence}"] if found is not None and found.losses else []


def _turn(release: ReleaseView | None) -> list[str]:
    """Return where the release stands, unless it is stable or the first one that is on its way."""
    if release is None or release.state in {ReleaseState.STABLE, ReleaseState.ROLLED_BACK, ReleaseState.SUPERSEDED}:
        return []
    if release.state is ReleaseState.ROLLING and not release.base and not release.paused:
        return []
    return [outcome.sentence(release)]


def _how_far(row: Row | None) -> str:
    return "; ".join(filter(None, row[1:3])) if row is not None else ""


def _row(task: TaskView, now: float, *, updating: bool, apart: bool) -> tuple[str, ...]:
    return (
        f"{task.app}/{task.name}",
        task.id,
        *((task.node_id,) if apart else ()),
        _state(task, updating=updating),
        task.health.value if task.health is not Health.NONE else "",
        times.ago(task.since, now),
        str(task.failures) if task.failures else "",
        ", ".join(port(each) for each in task.ports),
        task.image,
        task.sentence,
    )


def _state(task: TaskView, *, updating: bool) -> str:
    """Return a task's state, and while old and new ones live side by side which it is."""
    state = task.state.name.lower()
    if task.exit_code is not None and task.state is TaskState.FAILED:
        state += f" ({task.exit_code})"
    if task.state.terminal or not updating:
        return state
    return f"{state}, {'new' if task.current else 'old'}"


def port(binding: PortBinding) -> str:
    """Return a port as people write it, host side first."""
    host = f"{binding.host_ip}:" if binding.host_ip else ""
    protocol = "" if binding.protocol == "tcp" else f"/{binding.protocol}"
    return f"{host}{binding.host_port}→{binding.target}{protocol}"
