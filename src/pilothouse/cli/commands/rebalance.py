"""`pilothouse rebalance`: move running tasks to where they would be put today."""

import click

from pilothouse.cli import options, output
from pilothouse.cli.command import command
from pilothouse.model.placement_api import RebalanceRequest


@command(
    "rebalance",
    examples=[
        ("pilothouse rebalance --plan", "which tasks would be better on another node, and why"),
        ("pilothouse rebalance", "move them, one of a service at a time"),
    ],
)
@click.option("--plan", "dry", is_flag=True, help="Only say which tasks would be moved.")
@click.option("--most", metavar="N", type=int, default=10, show_default=True, help="Move at most N tasks.")
@options.as_json
def rebalance(*, dry: bool, most: int, as_json: bool) -> None:
    """Move running tasks to nodes where they would be put today: after nodes came, or came back.

    A task is moved only if that is better by more than one task of its service, or by more than a tenth of a node. What
    keeps data stays. Each service is moved at the pace of its updates.
    """
    found = options.client().rebalance(RebalanceRequest(plan=dry, most=most))
    if as_json:
        output.json(found)
        return
    output.line(found.sentence)
    if found.moves:
        rows = [(f"{move.app}/{move.task}", move.source, move.target, move.sentence) for move in found.moves]
        output.table(("TASK", "FROM", "TO", "WHY"), rows)
