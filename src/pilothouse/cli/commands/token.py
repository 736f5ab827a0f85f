"""`pilothouse token`: what another machine joins with."""

import click

from pilothouse.cli import options, output, times
from pilothouse.cli.cluster_client import ClusterClient
from pilothouse.cli.command import command
from pilothouse.cli.pairs import pairs
from pilothouse.clock import SystemClock
from pilothouse.model.cluster import JoinToken, Role
from pilothouse.model.cluster_api import TokenRequest


@click.group()
def token() -> None:
    """Make and take back what other machines join the cluster with.

    A token lets one machine in, once, within its time. It has the hash of the cluster's authority in it, so that the
    machine knows whom to believe. Who has it can join: send it as you would send a password.
    """


def _client() -> ClusterClient:
    return ClusterClient(options.transport())


@command(
    "create",
    group=token,
    examples=[
        ("pilothouse token create", "for an agent, for half an hour"),
        ("pilothouse token create --label zone=b --label disk=ssd --ttl 10m", "the node gets these labels"),
        ("pilothouse token create --role manager", "for another manager; it waits for `pilothouse node approve`"),
    ],
)
@click.option("--role", type=click.Choice([each.value for each in Role]), default="agent", show_default=True)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Of the node that joins; repeatable.")
@click.option("--ttl", default="30m", show_default=True, metavar="DURATION", help="How long it may be used: 1m to 1h.")
@options.as_json
def create(*, role: str, labels: tuple[str, ...], ttl: str, as_json: bool) -> None:
    """Make a token and print the command to join with; it is shown this once."""
    request = TokenRequest(role=Role(role), labels=pairs("--label", labels), life_seconds=times.parse_duration(ttl))
    made = _client().make_token(request)
    if as_json:
        output.json(made)
        return
    output.note(f"for one {role}, until {times.stamp(made.record.expires_at)}; on the other machine:")
    output.line(f"pilothouse join {made.address} {made.token}")


@command("ls", group=token, examples=[("pilothouse token ls", "the tokens that can be used")])
@click.option("-a", "--all", "ended", is_flag=True, help="Show those too that were used, revoked or have expired.")
@options.as_json
def ls(*, ended: bool, as_json: bool) -> None:
    """List the tokens that can be used; their secrets are kept nowhere."""
    now = SystemClock().now()
    found = [each for each in _client().tokens() if ended or _state(each, now) == "open"]
    if as_json:
        output.json(found)
        return
    heads = ("TOKEN", "ROLE", "STATE", "MADE", "BY", "UNTIL", "LABELS")
    output.table(heads, [_row(each, now) for each in found])


@command("revoke", group=token, examples=[("pilothouse token revoke K5XWQ2LA", "nobody can join with it any more")])
@options.as_json
@click.argument("id")
def revoke(*, as_json: bool, id: str) -> None:
    """Take a token back; a machine that joined with it stays (see `pilothouse node remove`)."""
    made = _client().revoke_token(id)
    if as_json:
        output.json(made)
    elif made.used_by:
        output.line(
            f"{made.id} was used already, by {made.used_by}; to remove it: pilothouse node remove {made.used_by}"
        )
    else:
        output.line(f"revoked {made.id}")


def _state(found: JoinToken, now: float) -> str:
    if found.used_by:
        return f"used by {found.used_by}"
    if found.revoked_at is not None:
        return "revoked"
    return "open" if found.expires_at > now else "expired"


def _row(found: JoinToken, now: float) -> tuple[str, ...]:
    return (
        found.id,
        found.role.value,
        _state(found, now),
        times.ago(found.created_at, now),
        found.created_by,
        times.stamp(found.expires_at),
        ", ".join(f"{key}={value}" for key, value in sorted(found.labels.items())),
    )
