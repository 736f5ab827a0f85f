"""What a deployment would do, before it does it, as a pure function of what is stored and what is asked for.

Nothing is written, and nothing is decided here that is decided elsewhere: what is stored afterwards comes from
`server.deploy.plan`, what becomes of tasks from the orchestrator's own view of that.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pilothouse.model.api import Refusal
from pilothouse.model.base import Object
from pilothouse.model.diff import diff
from pilothouse.model.objects import App, Config, FieldChange, Network, Secret, Volume
from pilothouse.model.placement_api import Planned
from pilothouse.model.release import Release, ReleaseState, release_id
from pilothouse.model.release_api import PlannedService, PlanView
from pilothouse.model.spec import AppSpec, Ownership
from pilothouse.server.deploy.overlay import Overlay
from pilothouse.server.deploy.pace import rollout_sentence
from pilothouse.server.deploy.plan import Asked, Stored, plan
from pilothouse.server.deploy.prospect import Prospect, once_steps, prospects, waits_for
from pilothouse.server.deploy.risks import risks
from pilothouse.server.deploy.room import Around, around
from pilothouse.server.placing.foretell import MOST_SHOWN, Ground, apart, places, unplaced
from pilothouse.store.interface import ReadTx

_KINDS: tuple[type[Network] | type[Volume], ...] = (Network, Volume)
_FILES: tuple[type[Secret] | type[Config], ...] = (Secret, Config)


def foresee(
    tx: ReadTx,
    stored: Stored,
    asked: Asked,
    *,
    refusals: tuple[Refusal, ...] = (),
    errors: tuple[str, ...] = (),
    warnings: Sequence[str] = (),
    digest: str = "",
) -> PlanView:
    """Return what *asked* would do now.

    Args:
        tx: The snapshot that *stored* was read from; tasks, nodes and other apps are looked up in it.
        stored: What the store has of the app.
        asked: The deployment, with everything resolved as far as could be without changing anything.
        refusals: What policy does not let it do.
        errors: Why else it would be refused.
        warnings: What was found while resolving.
        digest: Stands for what is asked for; see `PlanView.digest`.
    """
    made = plan(stored, asked)
    then = Overlay(tx, made.writes)
    found = prospects(tx, then, asked.spec.name)
    release = next((obj for obj in made.writes if isinstance(obj, Release)), None)
    here = around(tx, asked.spec.name, release.base if release else 0, then.find(Volume))
    ground = Ground(nodes=here.nodes, live=here.live, then=then)
    planned = places(found, ground, here.base) if ground.several else {}
    return PlanView(
        app=asked.spec.name,
        base=stored.app.revision if stored.app else 0,
        release=made.result.revision,
        changes=tuple(_app_changes(tx, then, asked.spec.name)),
        services=_services(found, here, planned),
        refusals=refusals,
        errors=errors,
        warnings=(*warnings, *made.result.warnings, *(apart(found, planned, ground) if ground.several else ())),
        supersedes=_supersedes(tx, stored.app) if made.writes else "",
        digest=digest,
    )


def unplannable(spec: AppSpec, app: App | None, errors: tuple[str, ...]) -> PlanView:
    """Return the view of a deployment that could not be tried: its manifest has faults."""
    number = app.revision if app else 0
    return PlanView(app=spec.name, base=number, release=number, errors=errors)


def _services(
    found: Sequence[Prospect], here: Around, planned: Mapping[str, tuple[Planned, ...]]
) -> tuple[PlannedService, ...]:
    actions = {prospect.name: prospect.action for prospect in found}
    dependents: dict[str, tuple[str, ...]] = {}
    for prospect in found:
        for edge in prospect.spec.depends_on if prospect.after else ():
            dependents[edge.service] = (*dependents.get(edge.service, ()), prospect.name)
    return tuple(
        PlannedService(
            name=prospect.name,
            action=prospect.action,
            changes=prospect.changes,
            tasks=(prospect.has, len(prospect.wanted)),
            rollout=rollout_sentence(prospect, here.base),
            waits_for=waits_for(prospect, actions),
            steps=once_steps(prospect),
            risks=(*risks(prospect, here, dependents), *unplaced(planned.get(prospect.name, ()))),
            image=prospect.after.image.id if prospect.after else "",
            stops=tuple(sorted(task.id for task in prospect.stops)),
            nodes=dict(sorted(Counter(each.node for each in planned.get(prospect.name, ()) if each.node).items())),
            places=planned.get(prospect.name, ())[:MOST_SHOWN],
        )
        for prospect in found
    )


def _app_changes(now: ReadTx, then: ReadTx, app: str) -> Iterator[FieldChange]:
    """Yield what differs of the app beside its services."""
    for kind in _KINDS:
        old = {o.spec.key: o for o in now.find(kind, app=app) if not o.removing}
        new = {o.spec.key: o for o in then.find(kind, app=app) if not o.removing}
        for key in sorted({*old, *new}):
            path = f"{_plural(kind)}.{key}"
            if key in old and key in new:
                yield from diff(old[key].spec, new[key].spec, path)
            else:
                yield _one_sided(path, old.get(key), new.get(key))
    for files in _FILES:
        had = {o.spec.key: o for o in now.find(files, app=app) if not o.removing}
        gets = {o.spec.key: o for o in then.find(files, app=app) if not o.removing}
        for key in sorted({*had, *gets}):
            path = f"{_plural(files)}.{key}"
            if key not in had or key not in gets:
                yield _one_sided(path, had.get(key), gets.get(key))
                continue
            yield from diff(had[key].spec, gets[key].spec, path)
            if had[key].content_version != gets[key].content_version:
                yield FieldChange(path=path, after="content changed")
    before, after = now.get(App, app), then.get(App, app)
    owned = before.spec.ownership if before and not before.removing else Ownership()
    yield from diff(owned, after.spec.ownership if after else Ownership(), "ownership")


def _one_sided(path: str, old: Object | None, new: Object | None) -> FieldChange:
    before = "" if old is None else "there"
    return FieldChange(path=path, before=before, after="" if new is None else "made new")


def _plural(kind: type[Object]) -> str:
    return f"{kind.__name__.lower()}s"


def _supersedes(tx: ReadTx, app: App | None) -> str:
    """Return which rollout is still going on and would be superseded, or ""."""
    release = tx.get(Release, release_id(app.id, app.revision)) if app and not app.removing else None
    if app is None or release is None or release.state.over:
        return ""
    how = "paused" if app.paused else "rolled back" if release.state is ReleaseState.ROLLING_BACK else "rolled out"
    is_being = "is" if app.paused else "is being"
    lifted = "; the pause ends with it" if app.paused else ""
    who = f", deployed by {release.created_by}," if release.created_by else ""
    return f"release {release.number}{who} {is_being} {how} and would be superseded where it is{lifted}"
