"""Walks an app's spec through the tables of rules and takes away what active grants cover."""

import shlex
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pilothouse.governance.policy import containers, resources
from pilothouse.governance.policy.asks import NOT_GRANTABLE, Ask, Rule, Where, ask
from pilothouse.governance.policy.kinds import GRANT_KINDS
from pilothouse.model.api import Refusal
from pilothouse.model.base import Value
from pilothouse.model.container import ContainerSpec
from pilothouse.model.objects import Grant
from pilothouse.model.spec import AppSpec, Hook, ServiceSpec

HOOKS = ("pre_start", "post_start", "pre_stop")


def refusals(
    spec: AppSpec, grants: Iterable[Grant], now: float, taken: frozenset[tuple[str, str]] = frozenset()
) -> tuple[Refusal, ...]:
    """Return everything *spec* asks for that no grant active at *now* covers; empty means it may run.

    Args:
        spec: The app.
        grants: Those recorded, of any app and age.
        now: Wall-clock seconds.
        taken: ("volume" or "network", engine-wide name) of what another app already has.
    """
    usable = [grant for grant in grants if grant.app == spec.name and active(grant, now)]
    asked = (*asks(spec), *_taken(spec, taken))
    return tuple(_refusal(spec.name, found) for found in asked if not _granted(found, usable))


def active(grant: Grant, now: float) -> bool:
    """Whether a grant counts at *now*: neither taken back nor ended."""
    return grant.revoked_at is None and (grant.until is None or grant.until > now)


def asks(spec: AppSpec) -> Iterator[Ask]:
    """Yield everything in *spec* that needs a grant, in the manifest's order."""
    whole = Where(app=spec.name, services=frozenset(service.name for service in spec.services))
    for service in spec.services:
        prefix = f"services.{service.name}"
        yield from _service(msgspec.structs.replace(whole, service=service.name, prefix=prefix), service)
    for network in spec.networks:
        yield from resources.network(msgspec.structs.replace(whole, prefix=f"networks.{network.key}"), network)
    for volume in spec.volumes:
        yield from resources.volume(msgspec.structs.replace(whole, prefix=f"volumes.{volume.key}"), volume)


def _taken(spec: AppSpec, taken: frozenset[tuple[str, str]]) -> Iterator[Ask]:
    reason = "another app has one of that name, so the two would share it"
    for volume in spec.volumes:
        if not volume.external and ("volume", volume.name) in taken:
            where = Where(app=spec.name, prefix=f"volumes.{volume.key}")
            yield ask(where, "name", "external-volume", volume.name, reason)
    for network in spec.networks:
        if not network.external and ("network", network.name) in taken:
            where = Where(app=spec.name, prefix=f"networks.{network.key}")
            yield ask(where, "name", "external-network", network.name, reason)


def _service(where: Where, service: ServiceSpec) -> Iterator[Ask]:
    task = service.task
    yield from _container(where, task.container)
    for name in HOOKS:
        hooks: tuple[Hook, ...] = getattr(task, name)
        for number, hook in enumerate(hooks):
            yield from table(_below(where, f"{name}[{number}]"), hook, containers.HOOK)


def _container(where: Where, spec: ContainerSpec) -> Iterator[Ask]:
    shared = {"network": spec.network_mode, "ipc": spec.privileges.ipc}
    reaching = frozenset(name for name, value in shared.items() if value == "host" or value.startswith("container:"))
    place = msgspec.structs.replace(where, host_namespaces=reaching)
    yield from table(place, spec, containers.CONTAINER, containers.NESTED)
    yield from table(place, spec.privileges, containers.PRIVILEGES)
    yield from table(place, spec.limits, containers.LIMITS)
    yield from table(place, spec.logging, containers.LOGGING)
    for attachment in spec.networks:
        yield from table(_below(place, f"networks.{attachment.network}"), attachment, containers.ATTACHMENT)


def table(
    where: Where, value: Value, rules: Mapping[str, Rule], elsewhere: frozenset[str] = frozenset()
) -> Iterator[Ask]:
    """Yield what the rules say of each field; a field without a rule is refused unless it has its default."""
    defaults = dict(zip(reversed(value.__struct_fields__), reversed(value.__struct_defaults__), strict=False))
    for field in value.__struct_fields__:
        content = getattr(value, field)
        if field in elsewhere:
            continue
        if field in rules:
            yield from rules[field](where, content)
        elif content != _default(defaults.get(field)):
            yield ask(where, field, NOT_GRANTABLE, str(content)[:80], "policy does not know this key, so it is refused")


def _default(raw: object) -> object:
    """Return the value of a struct's default; msgspec keeps empty containers as factories."""
    factory = getattr(raw, "factory", None)
    return factory() if callable(factory) else raw


def _below(where: Where, name: str) -> Where:
    return msgspec.structs.replace(where, prefix=f"{where.prefix}.{name}")


def _granted(found: Ask, grants: list[Grant]) -> bool:
    kind = GRANT_KINDS.get(found.kind)
    if kind is None:
        return False
    return any(
        grant.kind == found.kind and grant.service in {"", found.service} and kind.covers(grant.value, found.value)
        for grant in grants
    )


def _refusal(app: str, found: Ask) -> Refusal:
    return Refusal(
        service=found.service,
        key=found.key,
        value=found.shown,
        grant=found.kind,
        reason=found.reason,
        command=command(app, found) if found.kind else "",
    )


def command(app: str, found: Ask) -> str:
    """Return the command that would record the grant for *found*; the reason is left for a person to write."""
    words = ["pilothouse", "grant", "create", app, found.kind]
    if found.value:
        words.append(found.value)
    if found.service:
        words += ["--service", found.service]
    return " ".join(shlex.quote(word) for word in words) + ' --reason "WHY"'
