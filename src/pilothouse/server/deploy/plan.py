"""What a deployment writes, as a pure function of what is stored and what is asked for.

What is equal is not written: deploying the same app twice changes nothing, not even the app's revision.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from pilothouse.governance.audit.record import changes_of
from pilothouse.model.api import DeployResult
from pilothouse.model.base import Object
from pilothouse.model.objects import App, Config, FieldChange, Network, ResolvedImage, Secret, Service, Volume
from pilothouse.model.spec import AppSpec, ServiceSpec
from pilothouse.server.deploy.describe import describe

F = TypeVar("F", Secret, Config)
N = TypeVar("N", Network, Volume)


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
        secrets, configs: The contents that came with the request, by key.
    """

    spec: AppSpec
    images: Mapping[str, ResolvedImage]
    secrets: Mapping[str, Content]
    configs: Mapping[str, Content]
    keep_orphans: bool
    principal: str
    now: float


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What the store has of the app, by name or key."""

    app: App | None = None
    services: Mapping[str, Service] = {}
    networks: Mapping[str, Network] = {}
    volumes: Mapping[str, Volume] = {}
    secrets: Mapping[str, Secret] = {}
    configs: Mapping[str, Config] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to write, in order; the result's revision is the app's after it."""

    writes: tuple[Object, ...]
    result: DeployResult
    changes: tuple[FieldChange, ...] = ()


def plan(stored: Stored, asked: Asked) -> Plan:
    """Return what makes the stored app the one asked for."""
    goes = not asked.keep_orphans
    secrets, configs = _secrets(stored, asked), _configs(stored, asked)
    services = {spec.name: _service(stored.services.get(spec.name), spec, asked) for spec in asked.spec.services}
    orphans = [s for name, s in sorted(stored.services.items()) if name not in services and not s.removing and goes]
    networks = {
        spec.key: Network(id=_id(asked, spec.key), app=asked.spec.name, spec=spec) for spec in asked.spec.networks
    }
    volumes = {spec.key: Volume(id=_id(asked, spec.key), app=asked.spec.name, spec=spec) for spec in asked.spec.volumes}
    written_networks = _resources(stored.networks, networks, goes=goes)
    written_volumes = _resources(stored.volumes, volumes, goes=False)  # a volume outlives the manifest that named it
    children: tuple[Object, ...] = (
        *written_networks,
        *written_volumes,
        *_changed(stored.secrets, secrets, goes=goes),
        *_changed(stored.configs, configs, goes=goes),
        *(s for name, s in services.items() if s != stored.services.get(name)),
        *(replace(s, removing=True) for s in orphans),
    )
    app = _app(stored.app, asked, changed=bool(children))
    result = replace(
        _sorted_services(stored, asked, services, _renewed(stored, secrets, configs)),
        revision=app.revision if app else stored.app.revision if stored.app else 0,
        removed=tuple(s.name for s in orphans),
        warnings=(*_kept(stored.networks, written_networks), *_kept(stored.volumes, written_volumes)),
    )
    if app is None:
        return Plan(writes=(), result=result)
    before = describe(stored.app.spec, stored.services, stored.secrets, stored.configs) if stored.app else {}
    after = describe(asked.spec, services, secrets, configs)
    return Plan(writes=(app, *children), result=result, changes=changes_of(before, after))


def _id(asked: Asked, key: str) -> str:
    return f"{asked.spec.name}/{key}"


def _app(app: App | None, asked: Asked, *, changed: bool) -> App | None:
    """Return the app to write, or None if nothing of it changes."""
    if app is None:
        return App(id=asked.spec.name, spec=asked.spec, deployed_at=asked.now, deployed_by=asked.principal)
    if app.spec == asked.spec and not app.removing and not changed:
        return None
    return replace(
        app,
        spec=asked.spec,
        revision=app.revision + 1,
        deployed_at=asked.now,
        deployed_by=asked.principal,
        removing=False,
        remove_volumes=False,
    )


def _service(before: Service | None, spec: ServiceSpec, asked: Asked) -> Service:
    image, app = asked.images[spec.name], asked.spec.name
    if before is None:
        return Service(id=_id(asked, spec.name), app=app, name=spec.name, spec=spec, image=image, updated_at=asked.now)
    if before.spec == spec and before.image == image and not before.removing:
        return before
    return replace(before, spec=spec, image=image, removing=False, updated_at=asked.now)


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
        elif before != after or files & renewed:
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


def _changed(stored: Mapping[str, F], wanted: Mapping[str, F], *, goes: bool) -> tuple[F, ...]:
    written: list[F] = [after for key, after in wanted.items() if after != stored.get(key)]
    if goes:
        written += [replace(o, removing=True) for k, o in sorted(stored.items()) if k not in wanted and not o.removing]
    return tuple(written)


def _renewed(stored: Stored, secrets: Mapping[str, Secret], configs: Mapping[str, Config]) -> set[tuple[str, str]]:
    """Return the files whose content differs from the stored one."""
    found = {("secret", k) for k, s in secrets.items() if _version(stored.secrets.get(k)) != s.content_version}
    return found | {("config", k) for k, c in configs.items() if _version(stored.configs.get(k)) != c.content_version}


def _version(file: Secret | Config | None) -> str:
    return file.content_version if file else ""


def _resources(stored: Mapping[str, N], wanted: Mapping[str, N], *, goes: bool) -> tuple[N, ...]:
    written: list[N] = []
    for key, new in wanted.items():
        after = replace(stored.get(key, new), spec=new.spec, removing=False)
        if after != stored.get(key):
            written.append(after)
    if goes:
        written += [replace(o, removing=True) for k, o in sorted(stored.items()) if k not in wanted and not o.removing]
    return tuple(written)


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
