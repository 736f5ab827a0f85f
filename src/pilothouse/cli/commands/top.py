"""`pilothouse top`: what running tasks use."""

import threading

import click

from pilothouse.cli import options, output
from pilothouse.cli.client import Client
from pilothouse.cli.command import command
from pilothouse.model.wire import TaskUsage

_MEASURE_SECONDS = 1.0


@command(
    "top",
    examples=[
        ("pilothouse top", "every running task, measured over one second"),
        ("pilothouse top -f shop", "the tasks of one app, again and again"),
    ],
)
@click.option("-f", "--follow", is_flag=True, help="Measure again and again until interrupted.")
@options.as_json
@click.argument("app", required=False, default="")
def top(*, follow: bool, as_json: bool, app: str) -> None:
    """Show processor time, memory and processes of running tasks, the busiest first."""
    client = options.client()
    before = client.usage(app)
    while True:
        threading.Event().wait(_MEASURE_SECONDS)
        after = client.usage(app)
        _show(client, app, before, after, as_json=as_json)
        if not follow:
            return
        before = after


def _show(client: Client, app: str, before: list[TaskUsage], after: list[TaskUsage], *, as_json: bool) -> None:
    names = {task.id: f"{task.app}/{task.name}" for task in client.tasks(app)}
    rates = cpu_rates(before, after)
    busiest = sorted(after, key=lambda usage: -rates.get(usage.task_id, 0.0))
    if as_json:
        output.json([{"task": names.get(u.task_id, ""), "cpu": rates.get(u.task_id), "usage": u} for u in busiest])
        return
    rows = [
        (
            names.get(usage.task_id, ""),
            usage.task_id,
            f"{100 * rates[usage.task_id]:.1f} %" if usage.task_id in rates else "",
            size(usage.memory_bytes),
            size(usage.memory_limit_bytes) if usage.memory_limit_bytes else "no limit",
            str(usage.pids),
        )
        for usage in busiest
    ]
    output.table(("TASK", "ID", "CPU", "MEMORY", "LIMIT", "PIDS"), rows)


def cpu_rates(before: list[TaskUsage], after: list[TaskUsage]) -> dict[str, float]:
    """Return the cores each task kept busy between two readings, by task id; tasks with only one are left out."""
    earlier = {usage.task_id: usage for usage in before}
    rates = {}
    for usage in after:
        first = earlier.get(usage.task_id)
        if first is not None and usage.at > first.at:
            used = max(0, usage.cpu_nano_total - first.cpu_nano_total) / 1e9
            rates[usage.task_id] = used / (usage.at - first.at)
    return rates


def size(count: int) -> str:
    """Return bytes in the largest binary unit that keeps a whole part."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
