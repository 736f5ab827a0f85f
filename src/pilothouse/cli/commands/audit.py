"""`pilothouse audit`: who did what."""

import click

from pilothouse.cli import options, output, times
from pilothouse.cli.command import command


@click.group()
def audit() -> None:
    """Read the audit records: who did what to which object, and what was refused."""


@command(
    "ls",
    group=audit,
    examples=[
        ("pilothouse audit ls", "the newest records"),
        ("pilothouse audit ls --object app/shop -n 5", "the last five about one app"),
    ],
)
@click.option("--object", "about", metavar="KIND/ID", default="", help="Only about this object.")
@click.option("--principal", metavar="WHO", default="", help="Only by this principal, such as 'uid:1000(alice)'.")
@click.option("-n", "--tail", type=click.IntRange(min=1), default=100, show_default=True, metavar="N")
@options.as_json
def ls(*, about: str, principal: str, tail: int, as_json: bool) -> None:
    """List the newest audit records, oldest of them first.

    Every change leaves one in the same transaction, so there is none without a record.
    """
    records = options.client().audit(about, principal)
    shown = sorted(records, key=lambda record: record.id)[-tail:]
    if as_json:
        output.json(shown)
        return
    heads = ("WHEN", "WHO", "WHAT", "OBJECT", "OUTCOME", "SUMMARY")
    rows = [(times.stamp(r.at), r.principal, r.action, r.object, r.outcome, r.summary) for r in shown]
    output.table(heads, rows)
