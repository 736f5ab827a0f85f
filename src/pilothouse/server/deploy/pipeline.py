"""A deployment from request to commit: validate, policy, images, then one transaction. Nothing is written before."""

import msgspec

from pilothouse.errors import InvalidManifestError, NotFoundError, PlanStaleError
from pilothouse.governance import policy
from pilothouse.governance.audit.record import REFUSED, Entry, record, short
from pilothouse.governance.identity.principal import Principal
from pilothouse.model.api import DeployRequest, DeployResult, Refusal
from pilothouse.model.node import Node
from pilothouse.model.objects import App, Config, Grant, Network, ResolvedImage, Secret, Service, Volume
from pilothouse.model.release import FileVersion, Release
from pilothouse.model.spec import FileSpec
from pilothouse.model.states import Writer
from pilothouse.model.validate import validate
from pilothouse.server.api.context import Context
from pilothouse.server.api.problems import DeniedError, ManyFaultsError
from pilothouse.server.deploy import images
from pilothouse.server.deploy.crowding import crowded
from pilothouse.server.deploy.plan import Asked, Content, Plan, Stored, plan
from pilothouse.server.deploy.taken import taken_names
from pilothouse.server.deploy.whereabouts import Site
from pilothouse.store.interface import ReadTx, WriteTx


class Caller(msgspec.Struct, frozen=True):
    """On whose behalf a change is made, and by which request."""

    principal: Principal
    request_id: str


async def deploy(context: Context, caller: Caller, request: DeployRequest, action: str = "app.deploy") -> DeployResult:
    """Make the request's app the stored one, whole or not at all.

    Raises:
        InvalidManifestError: The spec does not make sense, or a content is missing.
        PolicyDeniedError: It asks for what no grant covers; the attempt is recorded.
        PlanStaleError: The app is not at the release the request expects.
        ImageMissingError: An image is not there; nothing was changed.
    """
    if not request.dry_run:
        return await commit(context, caller, request, await prepare(context, caller, request, action), action)
    stored = await check(context, caller, request, action)
    seen = await images.look(request.spec, await site_of(context, stored))
    result = plan(stored, asked_of(context, caller, request, seen.found)).result
    return msgspec.structs.replace(result, warnings=(*seen.refused, *seen.warnings, *result.warnings))


async def check(context: Context, caller: Caller, request: DeployRequest, action: str) -> Stored:
    """Return what is stored of the app if the request may be carried out as far as can be told without the node."""
    faults = validate(request.spec)
    if faults:
        raise ManyFaultsError(faults)
    stored, nodes = await context.store.view(lambda tx: (load(tx, request.spec.name), tx.find(Node)))
    check_expected(request.spec.name, stored.app, request.expect)
    check_contents(request, stored)
    if faults := crowded(request.spec, nodes):
        raise ManyFaultsError(faults)
    await check_policy(context, caller, request, action)
    return stored


async def prepare(context: Context, caller: Caller, request: DeployRequest, action: str) -> Asked:
    """Return the request with everything resolved; images are pulled, and nothing is written but a refusal."""
    stored = await check(context, caller, request, action)
    found = await images.resolve(request.spec, await site_of(context, stored))
    asked = asked_of(context, caller, request, found.images)
    return msgspec.structs.replace(asked, warnings=found.warnings)


async def site_of(context: Context, stored: Stored) -> Site:
    """Return the nodes that can be asked for the images of an app, and what it has there."""
    return Site(context.nodes, await context.store.view(lambda tx: tx.find(Node)), dict(stored.services))


async def commit(
    context: Context, caller: Caller, request: DeployRequest, asked: Asked, action: str = "app.deploy"
) -> DeployResult:
    """Write what was asked for, in one transaction with its record."""

    def write(tx: WriteTx) -> DeployResult:
        # A grant may have been taken back while images were pulled, so policy has its last word here.
        refuse(tx, request, asked.now)
        stored = load(tx, request.spec.name)
        check_expected(request.spec.name, stored.app, request.expect)
        made = plan(stored, asked)
        for obj in made.writes:
            tx.put(obj)
        if made.writes:
            record(tx, _entry(caller, request, action, made, asked.now))
        return made.result

    return await context.store.update(Writer.API, write)


def load(tx: ReadTx, app: str) -> Stored:
    """Return what the store has of an app."""
    return Stored(
        app=tx.get(App, app),
        services={s.name: s for s in tx.find(Service, app=app)},
        networks={n.spec.key: n for n in tx.find(Network, app=app)},
        volumes={v.spec.key: v for v in tx.find(Volume, app=app)},
        secrets={s.spec.key: s for s in tx.find(Secret, app=app)},
        configs={c.spec.key: c for c in tx.find(Config, app=app)},
        releases=tuple(tx.find(Release, app=app)),
        versions={v.id: v for v in tx.find(FileVersion, app=app)},
    )


def check_expected(name: str, app: App | None, expected: int | None) -> None:
    """Accept a change that was planned at the app's present release.

    Raises:
        PlanStaleError: *expected* is not its number; 0 is that there is no such app, None does not care.
    """
    number = app.revision if app else 0
    if expected is not None and expected != number:
        now = f"is at release {number}" if app else "does not exist"
        then = f"release {expected}" if expected else "a time when there was no such app"
        raise PlanStaleError(f"{name} {now} and the plan is of {then}; make the plan again and look at it")


async def take_down(context: Context, caller: Caller, app: str, *, volumes: bool) -> None:
    """Mark an app and everything of it as going; its volumes only if *volumes*. Asking again changes nothing.

    Raises:
        NotFoundError: There is no such app.
    """
    now = context.clock.now()

    def write(tx: WriteTx) -> None:
        stored = load(tx, app)
        if stored.app is None:
            raise NotFoundError(f"there is no app called {app[:80]!r}; 'pilothouse ps' lists them")
        if stored.app.removing and (stored.app.remove_volumes or not volumes):
            return
        tx.put(msgspec.structs.replace(stored.app, removing=True, remove_volumes=volumes or stored.app.remove_volumes))
        groups = (stored.services, stored.networks, stored.secrets, stored.configs, stored.volumes if volumes else {})
        for group in groups:
            for obj in group.values():
                tx.put(msgspec.structs.replace(obj, removing=True))
        summary = "taken down with its volumes" if volumes else "taken down; its volumes stay"
        entry = Entry(
            at=now,
            principal=str(caller.principal),
            action="app.down",
            object=f"app/{app}",
            summary=summary,
            request_id=caller.request_id,
        )
        record(tx, entry)

    await context.store.update(Writer.API, write)


async def check_policy(context: Context, caller: Caller, request: DeployRequest, action: str) -> None:
    """Accept a request that policy accepts now; a refusal is recorded unless it is of a dry run."""
    now = context.clock.now()
    try:
        await context.store.view(lambda tx: refuse(tx, request, now))
    except DeniedError as denied:
        if not request.dry_run:
            entry = Entry(
                at=now,
                principal=str(caller.principal),
                action=action,
                object=f"app/{request.spec.name}",
                outcome=REFUSED,
                summary=str(denied),
                request_id=caller.request_id,
            )
            await context.store.update(Writer.API, lambda tx: record(tx, entry))
        raise


def refuse(tx: ReadTx, request: DeployRequest, now: float) -> None:
    """Accept a request that policy accepts at the revision of *tx*."""
    refused = refusals(tx, request, now)
    if refused:
        raise DeniedError(request.spec.name, refused)


def refusals(tx: ReadTx, request: DeployRequest, now: float) -> tuple[Refusal, ...]:
    """Return everything policy does not let *request* do."""
    spec = request.spec
    return policy.refusals(spec, tx.find(Grant, app=spec.name), now, taken_names(tx, spec))


def check_contents(request: DeployRequest, stored: Stored) -> None:
    """Accept a request that brings the content of every file it names.

    Raises:
        InvalidManifestError: One is missing, or is external and nobody has ever brought it.
    """
    _check_files("secret", request.spec.secrets, request.secrets, set(stored.secrets))
    _check_files("config", request.spec.configs, request.configs, set(stored.configs))


def _check_files(kind: str, specs: tuple[FileSpec, ...], contents: dict[str, bytes], known: set[str]) -> None:
    for spec in specs:
        if spec.external and spec.key not in known:
            raise InvalidManifestError(
                f"{kind}s.{spec.key} is external, but this platform keeps {kind}s with their app; "
                "give it a file, an environment variable or a content instead"
            )
        if not spec.external and spec.key not in contents:
            raise InvalidManifestError(f"{kind}s.{spec.key} has no content; the request must bring it")
    unknown = sorted(set(contents) - {spec.key for spec in specs})
    if unknown:
        raise InvalidManifestError(
            f"the request brings the content of a {kind} that the app has not: {unknown[0][:80]!r}"
        )


def asked_of(
    context: Context, caller: Caller, request: DeployRequest, found: dict[images.Need, ResolvedImage]
) -> Asked:
    """Return what *request* asks for, with its images as they were *found* and its contents as they are stored."""
    app, vault = request.spec.name, context.vault
    secrets: dict[str, Content] = {}
    for key, content in request.secrets.items():
        version = vault.content_version(app, key, content)
        secrets[key] = Content(version, vault.seal(app, key, version, content))
    configs = {k: Content(vault.content_version(app, k, c), c) for k, c in request.configs.items()}
    return Asked(
        spec=request.spec,
        images={s.name: found[images.need_of(request.spec, s.name)] for s in request.spec.services},
        step_images={s.name: images.of_steps(s.task, found) for s in request.spec.services},
        secrets=secrets,
        configs=configs,
        keep_orphans=request.keep_orphans,
        principal=str(caller.principal),
        now=context.clock.now(),
        message=short(request.message),
    )


def _entry(caller: Caller, request: DeployRequest, action: str, made: Plan, now: float) -> Entry:
    result = made.result
    groups = (("new", result.created), ("changed", result.changed), ("gone", result.removed))
    parts = [f"{word}: {', '.join(names)}" for word, names in groups if names]
    return Entry(
        at=now,
        principal=str(caller.principal),
        action=action,
        object=f"app/{request.spec.name}",
        summary=f"release {result.revision}" + (f"; {'; '.join(parts)}" if parts else ""),
        changes=made.changes,
        request_id=caller.request_id,
    )
