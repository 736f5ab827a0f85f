"""A plan as people read it, and what differs between two plans of one app. Pure."""

from collections.abc import Iterator, Mapping

from pilothouse.cli.failure import refusal_lines
from pilothouse.cli.output import paint
from pilothouse.model.counts import count
from pilothouse.model.objects import FieldChange
from pilothouse.model.release_api import PlannedAction, PlannedService, PlanView

_MARKS = {
    PlannedAction.CREATE: ("+", "green"),
    PlannedAction.REPLACE: ("~", "yellow"),
    PlannedAction.SCALE: ("~", "yellow"),
    PlannedAction.ADJUST: ("~", "yellow"),
    PlannedAction.REMOVE: ("-", "red"),
    PlannedAction.KEEP: ("=", "grey"),
}
_CONTAINER = "task.container."
_REASONS = 5
"""So many reasons for places are told, each for so many tasks; `--json` has a hundred."""


def refused(plan: PlanView) -> bool:
    """Whether the deployment would be refused as it is."""
    return bool(plan.refusals or plan.errors)


def lines(plan: PlanView, builds: Mapping[str, str] | None = None, *, colour: bool = False) -> list[str]:
    """Return the whole plan: a block for each service that changes, those that are kept in one line.

    Args:
        plan: The plan.
        builds: The command that builds an image, by the image's reference.
        colour: Whether to use colours.
    """
    found = [_head(plan)]
    if plan.supersedes:
        found.append(f"{paint('!', 'red', on=colour)} {plan.supersedes}")
    found += [f"{paint('!', 'yellow', on=colour)} {warning}" for warning in plan.warnings]
    found += [f"  {_change(change)}" for change in plan.changes]
    told: dict[str, str] = {}
    for service in plan.services:
        if service.action is not PlannedAction.KEEP:
            found += _block(service, told, colour=colour)
    if kept := [s for s in plan.services if s.action is PlannedAction.KEEP]:
        found.append(f"{paint('=', 'grey', on=colour)} kept: {', '.join(s.name for s in kept)}")
        found += [f"    {s.name}: {s.rollout}" for s in kept if s.rollout]
    found += list(_refused(plan, builds or {}, colour=colour))
    found.append(_end(plan))
    return found


def in_short(plan: PlanView) -> str:
    """Return what the plan would do in one line, with how many risks there are."""
    parts = []
    for action, word in (
        (PlannedAction.CREATE, "create"),
        (PlannedAction.REPLACE, "replace"),
        (PlannedAction.SCALE, "scale"),
        (PlannedAction.ADJUST, "adjust"),
        (PlannedAction.REMOVE, "remove"),
        (PlannedAction.KEEP, "keep"),
    ):
        if names := [service.name for service in plan.services if service.action is action]:
            parts.append(f"{word} {', '.join(names)}")
    what = "; ".join(parts) or "no services"
    head = f"{plan.app} release {plan.release}: {what}" if plan.release != plan.base else f"{plan.app}: {what}"
    risks = sum(len(service.risks) for service in plan.services)
    which = "it" if risks == 1 else "them"
    return head + (f" ({count(risks, 'risk')}: `pilothouse plan` tells {which} beforehand)" if risks else "")


def differences(planned: PlanView, now: PlanView) -> tuple[str, ...]:
    """Return what would be done now and was not planned, or the reverse, each as one sentence; () if nothing."""
    if planned.app != now.app:
        return (f"the plan is of {planned.app}, and the file of {now.app}",)
    then, present = ({service.name: service for service in plan.services} for plan in (planned, now))
    found = list(_of_changes("the app", planned.changes, now.changes))
    for name in sorted({*then, *present}):
        old, new = then.get(name), present.get(name)
        if old is None or new is None:
            found.append(f"{name} is in the plan and not in the file" if new is None else f"{name} is not in the plan")
        elif old.action is not new.action:
            found.append(f"{name}: planned to {old.action.value} it, and now it is to {new.action.value}")
        else:
            # What an image that was not there yet would mean could not be planned.
            known = [tuple(c for c in each.changes if old.image or c.path != "image") for each in (old, new)]
            found += _of_changes(name, *known)
    return tuple(found)


def moved_images(planned: PlanView, now: PlanView) -> tuple[str, ...]:
    """Return which services' images mean something else than when *planned* was made, each as one sentence."""
    then = {service.name: service.image for service in planned.services}
    return tuple(
        f"{service.name}: its image means {_id(service.image)} now and meant {_id(then[service.name])}"
        for service in now.services
        if service.image and then.get(service.name) and then[service.name] != service.image
    )


def _of_changes(name: str, old: tuple[FieldChange, ...], new: tuple[FieldChange, ...]) -> Iterator[str]:
    then, now = {c.path: c for c in old}, {c.path: c for c in new}
    for path in sorted({*then, *now}):
        if then.get(path) == now.get(path):
            continue
        if path not in now:
            yield f"{name}: {_path(path)} is in the plan and would not change now"
        elif path not in then:
            yield f"{name}: {_change(now[path])} is not in the plan"
        else:
            yield f"{name}: {_change(now[path])}, but the plan says {_change(then[path])}"


def _head(plan: PlanView) -> str:
    if refused(plan):
        return f"{plan.app}: it would be refused, and nothing would be changed"
    if plan.release == plan.base:
        return f"{plan.app}: nothing would change (release {plan.base})"
    after = f" after release {plan.base}" if plan.base else ", its first"
    return f"{plan.app}: it would be release {plan.release}{after}"


def _block(service: PlannedService, told: dict[str, str], *, colour: bool) -> list[str]:
    """Return one service; *told* has who was the first to be rolled out in a way, so that it is told once."""
    mark, shade = _MARKS[service.action]
    had, gets = service.tasks
    tasks = count(gets, "task") if had == gets or service.action is PlannedAction.CREATE else f"{had} → {gets} tasks"
    found = [paint(f"{mark} {service.name}: {service.action.value}, {tasks}", shade, on=colour)]
    found += [f"    {_change(change)}" for change in service.changes]
    found += [f"    waits for {sentence}" for sentence in service.waits_for]
    found += [f"    once, before it: {step}" for step in service.steps]
    first = told.setdefault(service.rollout, service.name)
    how = service.rollout if first == service.name else f"as {first}"
    found += [f"    how: {how}"] if service.rollout else []
    where = [f"{name} ({number})" if number > 1 else name for name, number in service.nodes.items()]
    found += [f"    where: {', '.join(where)}"] if where else []
    found += _reasons(service)
    found += [f"    {paint('! risk', 'red', on=colour)}: {sentence}" for sentence in service.risks]
    return found


def _reasons(service: PlannedService) -> Iterator[str]:
    """Yield for each new task why it would go where it would, equal reasons once; what waits is told as a risk."""
    told: dict[str, list[str]] = {}
    for place in service.places:
        if place.node and not place.displaces:
            told.setdefault(place.sentence, []).append(place.task)
    for sentence, tasks in list(told.items())[:_REASONS]:
        yield f"      {', '.join(tasks[:_REASONS])}{' …' if len(tasks) > _REASONS else ''}: {sentence}"


def _refused(plan: PlanView, builds: Mapping[str, str], *, colour: bool) -> Iterator[str]:
    for error in plan.errors:
        yield f"{paint('refused', 'red', on=colour)}: {error}"
        yield from (f"    build it: {how}" for ref, how in builds.items() if f"the image {ref} " in error)
    if plan.refusals:
        number = len(plan.refusals)
        yield f"{paint('refused', 'red', on=colour)}: {count(number, 'thing')} in the manifest would need a grant"
        for refusal in plan.refusals:
            yield from refusal_lines(refusal)


def _end(plan: PlanView) -> str:
    """Return what the plan comes to, in numbers."""
    stopped = sum(len(service.stops) for service in plan.services)
    changing = sum(1 for service in plan.services if service.action is not PlannedAction.KEEP)
    risks = sum(len(service.risks) for service in plan.services)
    said = f"{count(changing, 'service')} would change, {count(stopped, 'running task')} would be stopped"
    return said + (f", {count(risks, 'risk')}" if risks else "")


def _change(change: FieldChange) -> str:
    path = _path(change.path)
    if not change.before:
        return f"{path}: {change.after}"
    return f"{path}: {_id(change.before)} → {_id(change.after) or 'nothing'}"


def _path(path: str) -> str:
    return path.removeprefix(_CONTAINER)


def _id(text: str) -> str:
    """Return an image's id short enough to be compared by eye; any other text as it is."""
    head, at, digest = text.rpartition("sha256:")
    return f"{head}{at}{digest[:12]}" if at and len(digest) == 64 else text
