"""Makes an earlier release what runs, as a new release that repeats it: for a person, or by the platform itself.

What is restored is the content: spec, images, contents of secrets and configs, requests to restart. So a task that was
made from the earlier release and still runs is current again and is not replaced. Grants are not restored: what policy
refuses today is refused, whoever asks and whatever was granted when the release was stable.
"""

from collections.abc import Mapping

from pilothouse.errors import ConflictError, NotFoundError
from pilothouse.governance.audit.record import Entry, record, short
from pilothouse.governance.identity.principal import SYSTEM
from pilothouse.model.api import DeployRequest, DeployResult
from pilothouse.model.objects import App, Config, Secret
from pilothouse.model.release import Release, ReleaseKind, ReleaseState, file_version_id
from pilothouse.model.release_api import RollbackRequest
from pilothouse.model.states import Writer
from pilothouse.model.validate import validate
from pilothouse.server.api.context import Context
from pilothouse.server.api.problems import ManyFaultsError
from pilothouse.server.deploy import images
from pilothouse.server.deploy.pipeline import Caller, check_expected, check_policy, load, refuse, site_of
from pilothouse.server.deploy.plan import Asked, Content, Plan, Stored, plan
from pilothouse.store.interface import WriteTx

ACTION = "app.rollback"


def restored(
    stored: Stored, release: Release, *, principal: str, now: float, message: str = "", undoes: int = 0
) -> Asked:
    """Return the change that makes what is stored as *release* was.

    Args:
        stored: What the store has of the app.
        release: The one to repeat.
        principal: Who asks.
        now: Wall-clock seconds.
        message: What is said about it.
        undoes: The release that failed, and is undone even if nothing differs; 0 if a person asked.

    Raises:
        NotFoundError: The content of a file is not kept any more.
    """
    return Asked(
        spec=release.spec,
        images=release.images,
        step_images={service.name: release.step_images.get(service.name, {}) for service in release.spec.services},
        secrets=_contents(stored, release, "secret", stored.secrets, release.secret_versions),
        configs=_contents(stored, release, "config", stored.configs, release.config_versions),
        keep_orphans=False,
        spare_orphans=True,
        principal=principal,
        now=now,
        restarts={service.name: release.restarts.get(service.name, 0) for service in release.spec.services},
        kind=ReleaseKind.ROLLBACK,
        message=message,
        copies=release.number,
        undoes=undoes,
        forced=undoes > 0,
    )


def target(stored: Stored, app: App, number: int) -> Release:
    """Return the release that a rollback to *number* repeats; 0 is the newest stable one that differs from the present.

    Raises:
        NotFoundError: It is not kept, or there is no such one.
    """
    if number:
        for release in stored.releases:
            if release.number == number:
                return release
        raise NotFoundError(f"{app.id} has no release {number}; 'pilothouse releases ls {app.id}' lists those it has")
    earlier = [r for r in stored.releases if r.number < app.revision and r.state is ReleaseState.STABLE]
    for release in reversed(earlier):
        if plan(stored, restored(stored, release, principal="", now=0.0)).writes:
            return release
    raise NotFoundError(
        f"{app.id} has no stable release before release {app.revision} that differs from it; "
        "name the release to go back to, or deploy the manifest as it was"
    )


async def roll_back(context: Context, caller: Caller, app: str, request: RollbackRequest) -> DeployResult:
    """Make an earlier release of *app* what runs; nothing is written if nothing differs.

    Raises:
        NotFoundError: There is no such app or release, or the content of a file is not kept any more.
        PlanStaleError: The app is not at the release the request expects.
        PolicyDeniedError: The release has what no grant covers any more; the attempt is recorded.
        ImageMissingError: One of its images is not there any more.
        ConflictError: The app is being taken down, or changed meanwhile.
    """
    now, message = context.clock.now(), short(request.message)
    stored = await context.store.view(lambda tx: load(tx, app))
    present = _present(stored, app)
    check_expected(app, present, request.expect)
    release = target(stored, present, request.release)
    await _check(context, caller, release, stored)

    def write(tx: WriteTx) -> DeployResult:
        again = load(tx, app)
        if _present(again, app).revision != present.revision:
            raise ConflictError(f"{app} was changed while its release {release.number} was looked for; try again")
        refuse(tx, DeployRequest(spec=release.spec), now)
        asked = restored(again, release, principal=str(caller.principal), now=now, message=message)
        return _write(tx, caller, plan(again, asked), asked, f"repeats release {release.number}")

    return await context.store.update(Writer.API, write)


async def restore(context: Context, app: str, failed: int, to: int, reason: str) -> int | None:
    """Undo release *failed* of *app* by repeating release *to*, as the platform; return the number of the new one.

    None if the app is not at *failed* any more: a newer release came, which may be the one that an earlier call made.

    Raises:
        UserError: It cannot be done, and why; trying again will not help: policy refuses it (recorded), an image or a
            content is gone, the spec is not accepted any more.
        UnavailableError: Node or store did not answer; try again.
    """
    now, caller = context.clock.now(), Caller(SYSTEM, "")
    stored = await context.store.view(lambda tx: load(tx, app))
    if not _is_at(stored, failed) or stored.app is None:
        return None
    release = target(stored, stored.app, to)
    await _check(context, caller, release, stored)

    def write(tx: WriteTx) -> int | None:
        again = load(tx, app)
        if not _is_at(again, failed):
            return None
        refuse(tx, DeployRequest(spec=release.spec), now)
        asked = restored(again, release, principal=str(SYSTEM), now=now, message=short(reason), undoes=failed)
        return _write(tx, caller, plan(again, asked), asked, f"repeats release {to}, because {reason}").revision

    return await context.store.update(Writer.API, write)


def _present(stored: Stored, name: str) -> App:
    if stored.app is None:
        raise NotFoundError(f"there is no app called {name[:80]!r}; 'pilothouse ps' lists them")
    if stored.app.removing:
        raise ConflictError(f"{name} is being taken down; deploy it to have it again")
    return stored.app


def _is_at(stored: Stored, number: int) -> bool:
    return stored.app is not None and not stored.app.removing and stored.app.revision == number


async def _check(context: Context, caller: Caller, release: Release, stored: Stored) -> None:
    """Accept a release that may be repeated and whose images are on the node, or can be had again as they were."""
    if faults := validate(release.spec):
        raise ManyFaultsError(faults)
    await check_policy(context, caller, DeployRequest(spec=release.spec), ACTION)
    await images.have_again(release, await site_of(context, stored))


def _write(tx: WriteTx, caller: Caller, made: Plan, asked: Asked, what: str) -> DeployResult:
    for obj in made.writes:
        tx.put(obj)
    if made.writes:
        entry = Entry(
            at=asked.now,
            principal=str(caller.principal),
            action=ACTION,
            object=f"app/{asked.spec.name}",
            summary=f"release {made.result.revision} {what}",
            changes=made.changes,
            request_id=caller.request_id,
        )
        record(tx, entry)
    return made.result


def _contents(
    stored: Stored, release: Release, kind: str, files: Mapping[str, Secret | Config], versions: Mapping[str, str]
) -> dict[str, Content]:
    return {key: _content(stored, release, kind, files.get(key), key, version) for key, version in versions.items()}


def _content(
    stored: Stored, release: Release, kind: str, newest: Secret | Config | None, key: str, version: str
) -> Content:
    if newest is not None and newest.content_version == version:
        return Content(version, newest.sealed if isinstance(newest, Secret) else newest.content)
    older = stored.versions.get(file_version_id(kind, release.app, key, version))
    if older is None:
        raise NotFoundError(
            f"the content that the {kind} {key} had in release {release.number} of {release.app} is not kept any more; "
            "deploy the manifest as it was instead"
        )
    return Content(version, older.stored)
