"""`pilothouse grant`: recorded permissions to do what the safe defaults forbid."""

import click

from pilothouse.cli import options, output, times
from pilothouse.cli.command import command
from pilothouse.clock import SystemClock
from pilothouse.model.api import GrantRequest
from pilothouse.model.objects import Grant


@click.group()
def grant() -> None:
    """Allow an app what the safe defaults forbid, on the record.

    A grant says which app (and service), what kind, which value, why, by whom and until when. The kinds are listed in
    docs/reference/grants.md; a refused deployment names the command that would grant each thing it needs.
    """


@command(
    "create",
    group=grant,
    examples=[
        (
            'pilothouse grant create shop host-path /srv/media:ro --service web --reason "shared picture archive"',
            "web may mount /srv/media and what is below it, for reading",
        ),
        (
            'pilothouse grant create shop cap-add NET_ADMIN --until 30d --reason "trial of the VPN sidecar"',
            "every service of shop may add NET_ADMIN, for thirty days",
        ),
    ],
)
@click.option("--service", metavar="NAME", default="", help="Only for this service; default: every service of the app.")
@click.option("--reason", metavar="WHY", required=True, help="Why; kept with the grant.")
@click.option("--until", metavar="TIME", help="When it ends: 30d, 2026-12-31, or a time stamp. Default: never.")
@options.as_json
@click.argument("app")
@click.argument("kind")
@click.argument("value", required=False, default="")
def create(*, service: str, reason: str, until: str | None, as_json: bool, app: str, kind: str, value: str) -> None:
    """Record a grant.

    It counts from the next deployment of APP on.
    """
    end = times.parse_future(until, SystemClock().now()) if until else None
    request = GrantRequest(app=app, kind=kind, value=value, service=service, reason=reason, until=end)
    made = options.client().grant(request)
    if as_json:
        output.json(made)
    else:
        output.line(f"granted: {_what(made)}; take it back with `pilothouse grant revoke {made.id}`")


@command("ls", group=grant, examples=[("pilothouse grant ls shop", "what shop may do beyond the safe defaults")])
@click.option("-a", "--all", "ended", is_flag=True, help="Show grants that have ended or were revoked too.")
@options.as_json
@click.argument("app", required=False, default="")
def ls(*, ended: bool, as_json: bool, app: str) -> None:
    """List the grants that count now."""
    now = SystemClock().now()
    found = [each for each in options.client().grants(app) if ended or active(each, now)]
    if as_json:
        output.json(found)
        return
    heads = ("ID", "APP", "SERVICE", "KIND", "VALUE", "BY", "SINCE", "UNTIL", "WHY")
    output.table(heads, [_row(each, now) for each in found])


@command("revoke", group=grant, examples=[("pilothouse grant revoke kq3v0z7m1x2c", "the next deployment is refused")])
@options.as_json
@click.argument("id")
def revoke(*, as_json: bool, id: str) -> None:
    """Take a grant back.

    What runs already is left running; the next deployment that needs it is refused.
    """
    made = options.client().revoke(id)
    if as_json:
        output.json(made)
    else:
        output.line(f"revoked: {_what(made)}; what runs now runs on, the next deployment is refused")


def active(found: Grant, now: float) -> bool:
    """Whether a grant counts at *now*."""
    return found.revoked_at is None and (found.until is None or found.until > now)


def _what(found: Grant) -> str:
    value = f" {found.value}" if found.value else ""
    return f"{found.app}{f'/{found.service}' if found.service else ''} may {found.kind}{value}"


def _row(found: Grant, now: float) -> tuple[str, ...]:
    if found.revoked_at is not None:
        end = f"revoked {times.stamp(found.revoked_at)}"
    else:
        end = times.stamp(found.until) if found.until is not None else ""
    return (
        found.id,
        found.app,
        found.service,
        found.kind,
        found.value,
        found.granted_by,
        times.ago(found.granted_at, now),
        end,
        found.reason,
    )
