"""`pilothouse releases`: what an app was, revision by revision, and what became of each."""

import click

from pilothouse.cli import options, outcome, output, times
from pilothouse.cli.command import command
from pilothouse.clock import SystemClock
from pilothouse.errors import NotFoundError
from pilothouse.model.counts import count
from pilothouse.model.objects import FieldChange
from pilothouse.model.release import Verdict
from pilothouse.model.release_api import ReleaseView

_SHORT = 60


@click.group()
def releases() -> None:
    """Look at the releases of an app: what each changed, who made it, and what became of it.

    A release is an app as it was deployed: its services with the images they meant and the versions of its secrets and
    configs. Everything that changes an app makes one; the newest 20 are kept.
    """


@command("ls", group=releases, examples=[("pilothouse releases ls shop", "the releases that are kept, newest first")])
@options.as_json
@options.app_argument
def ls(*, as_json: bool, app: str) -> None:
    """List releases, newest first."""
    found = options.client().releases(options.app_name(app))
    if as_json:
        output.json(found)
        return
    now = SystemClock().now()
    heads = ("RELEASE", "STATE", "KIND", "SINCE", "BY", "CHANGED", "MESSAGE")
    output.table(heads, [_row(each, now) for each in found])


@command(
    "show",
    group=releases,
    examples=[
        ("pilothouse releases show shop", "the newest one"),
        ("pilothouse releases show shop 7", "why release 7 failed, with the last lines of the task that showed it"),
    ],
)
@options.as_json
@click.argument("app")
@click.argument("number", type=click.IntRange(min=1), required=False, metavar="[RELEASE]")
def show(*, as_json: bool, app: str, number: int | None) -> None:
    """Show everything about one release: state and cause, last lines, verdicts with their numbers, changes, images."""
    client = options.client()
    found = client.release(app, number if number is not None else client.app(app).revision)
    if as_json:
        output.json(found)
        return
    for text in shown(found, SystemClock().now()):
        output.line(text)


@command(
    "diff",
    group=releases,
    examples=[
        ("pilothouse releases diff shop 7", "what release 7 changed"),
        ("pilothouse releases diff shop 4 7", "what differs between two releases"),
    ],
)
@options.as_json
@click.argument("app")
@click.argument("number", type=click.IntRange(min=1), metavar="RELEASE")
@click.argument("other", type=click.IntRange(min=1), required=False, metavar="[OTHER]")
def diff(*, as_json: bool, app: str, number: int, other: int | None) -> None:
    """Show field by field what a release changed, or what differs from RELEASE to OTHER.

    Contents of secrets and configs never appear; that they differ does.
    """
    client = options.client()
    found = client.release_diff(app, number) if other is None else client.release_diff(app, other, number)
    if as_json:
        output.json(found)
        return
    before = f"release {found.before}" if found.before else "nothing"
    output.line(f"{app}: from {before} to release {found.after}: {count(len(found.changes), 'field')}")
    for change in found.changes:
        output.line(f"  {outcome.change_line(change)}")


def newest(found: list[ReleaseView], app: str) -> ReleaseView:
    """Return the newest release of *app*.

    Raises:
        NotFoundError: It has none.
    """
    if not found:
        raise NotFoundError(f"{app} has no release yet: `pilothouse up` makes the first one")
    return found[0]


def kind_of(release: ReleaseView) -> str:
    """Return what made *release*, in words: "deploy", "rollback to 4 of 7"."""
    if release.copies:
        return f"rollback to {release.copies}{f', undoing {release.undoes}' * bool(release.undoes)}"
    return release.kind.value


def in_short(changes: tuple[FieldChange, ...]) -> str:
    """Return what a release changed in a few words: its first field, and how many there are."""
    if not changes:
        return ""
    first = changes[0]
    text = f"{first.path}: {first.after or 'nothing'}"
    cut = text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
    return f"{cut} and {len(changes) - 1} more" if len(changes) > 1 else cut


def shown(release: ReleaseView, now: float) -> list[str]:
    """Return everything about *release* as lines."""
    lines = [outcome.sentence(release)]
    by = f" by {release.created_by}" if release.created_by else ""
    lines.append(f"made {times.stamp(release.created_at)} ({times.ago(release.created_at, now)} ago){by}")
    lines.append(f"kind: {kind_of(release)}")
    lines += [f"message: {release.message}"] if release.message else []
    lines.append(
        f"falls back to: {f'release {release.base}' if release.base else 'nothing; none was stable before it'}"
    )
    lines += [f"rolled back by: release {release.rolled_back_by}"] if release.rolled_back_by else []
    if release.evidence is not None:
        lines += ["cause:", *(f"  {text}" for text in outcome.evidence_lines(release.evidence))]
    if release.verdicts:
        lines += ["verdicts:", *(f"  {text}" for verdict in release.verdicts for text in verdict_lines(verdict))]
    if release.changes:
        lines += ["changes:", *(f"  {outcome.change_line(change)}" for change in release.changes)]
    if release.images:
        lines += ["images:", *(f"  {name}: {image}" for name, image in sorted(release.images.items()))]
    return lines


def verdict_lines(verdict: Verdict) -> list[str]:
    """Return what the judge said of one step, and the numbers it said it for."""
    head = f"{verdict.service} step {verdict.step + 1}: {verdict.outcome}: {verdict.sentence}"
    numbers = [
        f"{name} {count(seen.requests, 'request')}, {count(seen.errors, 'error')}{_p95(p95)}"
        for name, seen, p95 in (("old", verdict.old, verdict.old_p95_ms), ("new", verdict.new, verdict.new_p95_ms))
    ]
    numbers += [
        f"{name} p = {value:.3g}"
        for name, value in (("errors", verdict.error_p), ("latency", verdict.latency_p))
        if value is not None
    ]
    return [head, f"  {'; '.join(numbers)}"]


def _p95(milliseconds: float | None) -> str:
    return f", 95 % within {milliseconds:.4g} ms" if milliseconds is not None else ""


def _row(release: ReleaseView, now: float) -> tuple[str, ...]:
    return (
        str(release.number),
        "paused" if release.paused else release.state.value,
        kind_of(release),
        times.ago(release.created_at, now),
        release.created_by,
        in_short(release.changes),
        release.message,
    )
