"""What a deployment writes, as a pure function of what is stored and what is asked for.

What is equal is not written: deploying the same app twice changes nothing, not even the app's revision. What changes
anything is a release (`server.deploy.releases`), also if it restores an earlier one or only restarts tasks.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from pilothouse.governance.audit.record import bounded, changes_of
from pilothouse.model.api import DeployResult
from pilothouse.model.base import Object
from pilothouse.model.objects import App, Config, FieldChange, Network, ResolvedImage, Secret, Service, Volume
from pilothouse.model.release import FileVersion, Release, ReleaseKind, release_id
from pilothouse.model.spec import AppSpec, ServiceSpec
from pilothouse.server.deploy.describe import describe
from pilothouse.server.deploy.releases import replaced_contents, stable_base

N = TypeVar("N", Network, Volume)
R = TypeVar("R", Service, Network, Secret, Config)


class Content(msgspec.Struct, frozen=True):
    """One file's content as it is stored; *stored* is sealed for a secret."""

    version: str
    stored: bytes

    def __repr__(self) -> str:
        """Leave the content out, so that no log line can hold it."""
        return f"Content({self.version!r})"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment with everything resolved.

    Attributes:
        images: What each service's image resolved to, by service name.
        step_images: What the images of its steps resolved to, by service name and reference; they stay where missing.
        secrets, configs: The contents that came with the request, by key.
        keep_orphans: Leave alone what is stored and not in the spec.
        spare_orphans: Leave alone what is stored and neither in the spec nor in the one that is replaced.
        restarts: `Service.restarts_requested` of each service, by name; it stays where it is missing.
        kind, message, copies, undoes: As in `model.release.Release`.
        forced: Make a release even if nothing differs.
        warnings: What was found while resolving, each as one sentence.
    """

    spec: AppSpec
    images: Mapping[str, ResolvedImage]
    secrets: Mapping[str, Content]
    configs: Mapping[str, Content]
    keep_orphans: bool
    principal: str
    now: float
    step_images: Mapping[str, Mapping[str, ResolvedImage]] = {}
    spare_orphans: bool = False
    restarts: Mapping[str, int] = {}
    kind: ReleaseKind = ReleaseKind.DEPLOY
    message: str = ""
    copies: int = 0
    undoes: int = 0
    forced: bool = False
    warnings: tuple[str, ...] = ()


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What the store has of the app, by name or key; *releases* oldest first, *versions* by id."""

    app: App | None = None
    services: Mapping[str, Service] = {}
    networks: Mapping[str, Network] = {}
    volumes: Mapping[str, Volume] = {}
    secrets: Mapping[str, Secret] = {}
    configs: Mapping[str, Config] = {}
    releases: tuple[Release, ...] = ()
    versions: Mapping[str, FileVersion] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to write, in order; the result's revision is the app's after it."""

    writes: tuple[Object, ...]
    result: DeployResult
    changes: tuple[FieldChange, ...] = ()


def plan(stored: Stored, asked: Asked) -> Plan:
    """Return what makes the stored app the one asked for."""
    secrets, configs = _secrets(stored, asked), _configs(stored, asked)
    services = {spec.name: _service(stored.services.get(spec.name), spec, asked) for spec in asked.spec.services}
    networks = {
        spec.key: Network(id=_id(asked, spec.key), app=asked.spec.name, spec=spec) for spec in asked.spec.networks
    }
    volumes = {spec.key: Volume(id=_id(asked, spec.key), app=asked.spec.name, spec=spec) for spec in asked.spec.volumes}
    names = _leaving(stored, asked)
    orphans = _going(stored.services, services, names["services"])
    gone_secrets = _going(stored.secrets, secrets, names["secrets"])
    gone_configs = _going(stored.configs, configs, names["configs"])
    written_networks = _resources(stored.networks, networks)
    written_volumes = _resources(stored.volumes, volumes)  # a volume outlives the manifest that named it
    kept = _orphans(stored, services, orphans, asked)
    children: tuple[Object, ...] = (
        *written_networks,
        *(replace(n, removing=True) for n in _going(stored.networks, networks, names["networks"])),
        *written_volumes,
        *_changed(stored.secrets, secrets),
        *(replace(s, removing=True) for s in gone_secrets),
        *_changed(stored.configs, configs),
        *(replace(c, removing=True) for c in gone_configs),
        *_changed(stored.services, {**services, **kept}),
        *(replace(s, removing=True) for s in orphans),
    )
    app = _app(stored.app, asked, changed=any(not _is_elsewhere(stored, child) for child in children))
    result = replace(
        _sorted_services(stored, asked, services, _renewed(stored, secrets, configs)),
        revision=app.revision if app else stored.app.revision if stored.app else 0,
        removed=tuple(s.name for s in orphans),
        warnings=(*asked.warnings, *_kept(stored.networks, written_networks), *_kept(stored.volumes, written_volumes)),
    )
    if app is None:
        # On which nodes an image is, is no part of a release.
        return Plan(writes=children, result=result)
    before = describe(stored.app.spec, stored.services, stored.secrets, stored.configs) if stored.app else {}
    after = describe(asked.spec, services, secrets, configs)
    changes = changes_of(before, after)
    release = _release(stored, asked, app, services, secrets, configs, changes)
    replaced = replaced_contents(stored.versions, stored.secrets, secrets, gone_secrets)
    replaced += replaced_contents(stored.versions, stored.configs, configs, gone_configs)
    flags = _rolled(stored, {**services, **kept}, orphans, back=asked.kind is ReleaseKind.ROLLBACK)
    others = tuple(obj for obj in children if not (isinstance(obj, Service) and obj.name in flags))
    return Plan(writes=(app, *others, *flags.values(), *replaced, release), result=result, changes=changes)


def _id(asked: Asked, key: str) -> str:
    return f"{asked.spec.name}/{key}"


def _leaving(stored: Stored, asked: Asked) -> dict[str, Collection[str] | None]:
    """Return what may leave with this change, by the name of the spec's field; None is whatever is not in the spec."""
    fields = ("services", "networks", "secrets", "configs")
    if asked.keep_orphans or (asked.spare_orphans and stored.app is None):
        return dict.fromkeys(fields, ())
    if stored.app is None or not asked.spare_orphans:
        return dict.fromkeys(fields)
    spec = stored.app.spec
    return {
        "services": {s.name for s in spec.services},
        "networks": {n.key for n in spec.networks},
        "secrets": {s.key for s in spec.secrets},
        "configs": {c.key for c in spec.configs},
    }


def _going(stored: Mapping[str, R], wanted: Collection[str], names: Collection[str] | None) -> list[R]:
    """Return what is stored, not wanted, and one of *names*."""
    return [
        obj
        for key, obj in sorted(stored.items())
        if key not in wanted and not obj.removing and (names is None or key in names)
    ]


def _app(app: App | None, asked: Asked, *, changed: bool) -> App | None:
    """Return the app to write, or None if nothing of it changes."""
    if app is None:
        return App(id=asked.spec.name, spec=asked.spec, deployed_at=asked.now, deployed_by=asked.principal)
    if app.spec == asked.spec and not app.removing and not changed and not asked.forced:
        return None
    return replace(
        app,
        spec=asked.spec,
        revision=app.revision + 1,
        deployed_at=asked.now,
        deployed_by=asked.principal,
        paused=False,
        paused_by="",
        removing=False,
        remove_volumes=False,
    )


def _service(before: Service | None, spec: ServiceSpec, asked: Asked) -> Service:
    image, app = asked.images[spec.name], asked.spec.name
    steps = dict(asked.step_images.get(spec.name, {} if before is None else before.step_images))
    if before is None:
        fresh = Service(id=_id(asked, spec.name), app=app, name=spec.name, spec=spec, image=image, step_images=steps)
        before = replace(fresh, updated_at=asked.now)
    before = _restarted(before, asked)
    if before.spec == spec and before.image == image and not before.removing:
        return before
    return replace(before, spec=spec, image=image, step_images=steps, removing=False, updated_at=asked.now)


def _restarted(service: Service, asked: Asked) -> Service:
    return replace(service, restarts_requested=asked.restarts.get(service.name, service.restarts_requested))


def _orphans(
    stored: Stored, services: Mapping[str, Service], going: Iterable[Service], asked: Asked
) -> dict[str, Service]:
    """Return the services that stay although the spec does not name them."""
    others = {name: s for name, s in stored.services.items() if name not in services and not s.removing}
    gone = {service.name for service in going}
    return {name: _restarted(service, asked) for name, service in others.items() if name not in gone}


def _rolled(
    stored: Stored, services: Mapping[str, Service], going: Iterable[Service], *, back: bool
) -> dict[str, Service]:
    """Return the services that stay and are written, knowing whether the newest release is a rollback."""
    found = {name: replace(service, rolling_back=back) for name, service in services.items()}
    gone = {service.name for service in going}
    return {name: s for name, s in found.items() if name not in gone and s != stored.services.get(name)}


def _release(
    stored: Stored,
    asked: Asked,
    app: App,
    services: Mapping[str, Service],
    secrets: Mapping[str, Secret],
    configs: Mapping[str, Config],
    changes: tuple[FieldChange, ...],
) -> Release:
    """Return the release that *app* is by this change."""
    return Release(
        id=release_id(app.id, app.revision),
        app=app.id,
        number=app.revision,
        kind=asked.kind,
        spec=asked.spec,
        images={name: service.image for name, service in services.items()},
        step_images={name: service.step_images for name, service in services.items() if service.step_images},
        secret_versions={key: secret.content_version for key, secret in secrets.items()},
        config_versions={key: config.content_version for key, config in configs.items()},
        restarts={name: s.restarts_requested for name, s in services.items() if s.restarts_requested},
        base=0 if stored.app is None or stored.app.removing else stable_base(stored.releases),
        copies=asked.copies,
        undoes=asked.undoes,
        created_at=asked.now,
        created_by=asked.principal,
        message=asked.message,
        changes=bounded(changes),
        since=asked.now,
    )


def _sorted_services(
    stored: Stored, asked: Asked, services: Mapping[str, Service], renewed: set[tuple[str, str]]
) -> DeployResult:
    created: list[str] = []
    changed: list[str] = []
    unchanged: list[str] = []
    for name, after in services.items():
        before = stored.services.get(name)
        container = after.spec.task.container
        files = {("secret", g.source) for g in container.secrets} | {("config", g.source) for g in container.configs}
        if before is None or before.removing:
            created.append(name)
        elif (before != after and not _is_elsewhere(stored, after)) or files & renewed:
            changed.append(name)
        else:
            unchanged.append(name)
    return DeployResult(
        app=asked.spec.name,
        revision=0,
        created=tuple(created),
        changed=tuple(changed),
        unchanged=tuple(unchanged),
    )


def _is_elsewhere(stored: Stored, after: Object) -> bool:
    """Whether *after* is a service that differs from what is stored only in what is known of where its image is."""
    before = stored.services.get(after.name) if isinstance(after, Service) else None
    if before is None or not isinstance(after, Service):
        return False
    known = replace(before.image, nodes=after.image.nodes, platform=after.image.platform)
    return before != after and replace(before, image=known, updated_at=after.updated_at) == after


def _secrets(stored: Stored, asked: Asked) -> dict[str, Secret]:
    made: dict[str, Secret] = {}
    for spec in asked.spec.secrets:
        fresh = Secret(id=_id(asked, spec.key), app=asked.spec.name, spec=spec)
        after = replace(stored.secrets.get(spec.key, fresh), spec=spec, removing=False)
        content = asked.secrets.get(spec.key)
        # Sealing twice gives two texts; the stored one stays as long as it means the same.
        if content is not None and content.version != after.content_version:
            after = replace(after, content_version=content.version, sealed=content.stored)
        made[spec.key] = after
    return made


def _configs(stored: Stored, asked: Asked) -> dict[str, Config]:
    made: dict[str, Config] = {}
    for spec in asked.spec.configs:
        fresh = Config(id=_id(asked, spec.key), app=asked.spec.name, spec=spec)
        after = replace(stored.configs.get(spec.key, fresh), spec=spec, removing=False)
        content = asked.configs.get(spec.key)
        if content is not None and content.version != after.content_version:
            after = replace(after, content_version=content.version, content=content.stored)
        made[spec.key] = after
    return made


def _changed(stored: Mapping[str, R], wanted: Mapping[str, R]) -> tuple[R, ...]:
    return tuple(after for key, after in wanted.items() if after != stored.get(key))


def _renewed(stored: Stored, secrets: Mapping[str, Secret], configs: Mapping[str, Config]) -> set[tuple[str, str]]:
    """Return the files whose content differs from the stored one."""
    found = {("secret", k) for k, s in secrets.items() if _version(stored.secrets.get(k)) != s.content_version}
    return found | {("config", k) for k, c in configs.items() if _version(stored.configs.get(k)) != c.content_version}


def _version(file: Secret | Config | None) -> str:
    return file.content_version if file else ""


def _resources(stored: Mapping[str, N], wanted: Mapping[str, N]) -> tuple[N, ...]:
    after = {key: replace(stored.get(key, new), spec=new.spec, removing=False) for key, new in wanted.items()}
    return tuple(obj for key, obj in after.items() if obj != stored.get(key))


def _kept(stored: Mapping[str, N], written: Iterable[N]) -> Iterable[str]:
    """Yield a warning for each network or volume that exists and keeps the options it was made with."""
    for obj in written:
        before = stored.get(obj.spec.key)
        if before is None or obj.removing or before.removing or before.spec.name != obj.spec.name:
            continue
        if replace(before.spec, labels=obj.spec.labels) != obj.spec:
            yield (
                f"the {type(obj).__name__.lower()} {obj.spec.name} exists and keeps the options it was made with; "
                "remove it (take the app down, for a volume with --volumes) to have it made anew"
            )
