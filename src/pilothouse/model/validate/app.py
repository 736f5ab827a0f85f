"""The whole app: its names, what its parts refer to, and the size of it."""

from collections.abc import Callable, Iterable, Iterator

from pilothouse.errors import InvalidRequestError
from pilothouse.model.names import check_app_name, check_key
from pilothouse.model.spec import AppSpec, FileSpec, Mode, NetworkSpec, VolumeSpec
from pilothouse.model.validate.dependencies import dependencies
from pilothouse.model.validate.grammar import ENGINE_NAME, Finding, numbers_and_texts
from pilothouse.model.validate.networks import network, overlapping
from pilothouse.model.validate.placement import together
from pilothouse.model.validate.ports import shared_ports
from pilothouse.model.validate.service import Names, service

MAX_REPLICAS = 100_000
MAX_TASKS = 1_000_000
"""What no cluster runs; what the nodes that there are can run is not known here."""


def validate(spec: AppSpec) -> tuple[str, ...]:
    """Return what is wrong with *spec*, each as "PATH: what, and what to write instead"; empty means nothing is."""
    malformed = tuple(numbers_and_texts(spec, ""))
    found = malformed or tuple(_app(spec))
    return tuple(dict.fromkeys(f"{path}: {message}" for path, message in found))


def _app(spec: AppSpec) -> Iterator[Finding]:
    yield from _named("name", check_app_name, spec.name)
    yield from _keys("services", "service", [s.name for s in spec.services])
    for place, kind, parts in (
        ("networks", "network", spec.networks),
        ("volumes", "volume", spec.volumes),
        ("secrets", "secret", spec.secrets),
        ("configs", "config", spec.configs),
    ):
        yield from _keys(place, kind, [part.key for part in parts])
        yield from _engine_names(place, parts)
    names = Names(
        services=frozenset(s.name for s in spec.services),
        networks=frozenset(n.key for n in spec.networks),
        volumes=frozenset(v.key for v in spec.volumes),
        secrets=frozenset(s.key for s in spec.secrets),
        configs=frozenset(c.key for c in spec.configs),
    )
    for one in spec.services:
        yield from service(f"services.{one.name}", one, names)
    for net in spec.networks:
        yield from network(f"networks.{net.key}", net)
    yield from overlapping(spec.networks)
    yield from dependencies(spec.services)
    yield from together(spec)
    yield from shared_ports(spec.services)
    yield from _container_names(spec)
    yield from _sizes(spec)


def _named(path: str, check: Callable[[str], str], name: str) -> Iterator[Finding]:
    try:
        check(name)
    except InvalidRequestError as problem:
        yield path, str(problem)


def _keys(place: str, kind: str, keys: list[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for key in keys:
        yield from _named(f"{place}.{key[:80]}", lambda written: check_key(kind, written), key)
        if key in seen:
            yield f"{place}.{key}", f"there are two {place} of this name; rename one of them"
        seen.add(key)


def _engine_names(place: str, parts: Iterable[NetworkSpec | VolumeSpec | FileSpec]) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for part in parts:
        if not ENGINE_NAME.match(part.name):
            yield (
                f"{place}.{part.key}.name",
                f"{part.name[:80]!r} cannot be used; write 2 to 255 letters, digits, '.', '_' and '-', "
                "beginning with a letter or a digit",
            )
        other = owners.setdefault(part.name, part.key)
        if other != part.key:
            yield f"{place}.{part.key}.name", f"{part.name!r} is also the name of {place}.{other}; use one of the two"


def _container_names(spec: AppSpec) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for one in spec.services:
        name = one.task.container.container_name
        other = owners.setdefault(name, one.name) if name else one.name
        if other != one.name:
            yield f"services.{one.name}.container_name", f"{name!r} is also that of services.{other}; change one"


def _sizes(spec: AppSpec) -> Iterator[Finding]:
    tasks = 0
    for one in spec.services:
        if one.mode in {Mode.REPLICATED, Mode.REPLICATED_JOB}:
            tasks += max(one.replicas, 0)
            if not 0 <= one.replicas <= MAX_REPLICAS:
                message = f"{one.replicas} are more than any cluster runs; write 0 to {MAX_REPLICAS:,}"
                message = "there cannot be fewer than none; write 0 or more" if one.replicas < 0 else message
                yield f"services.{one.name}.deploy.replicas", message
    if tasks > MAX_TASKS:
        yield "services", f"{tasks:,} replicas in all are more than any cluster runs; at most {MAX_TASKS:,} can"
