"""`x-pilothouse`: what a manifest says to Pilothouse alone, typed and decoded strictly.

`compose/docs/x-pilothouse.yml` is its commented example and reference. Only what is honoured stands here: a field of a
later release is refused by name, never ignored.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from pilothouse.compose.quantities import seconds
from pilothouse.compose.reader import Reader, join
from pilothouse.model.container import Port
from pilothouse.model.spec import Ownership, Probe, ProbeKind, Probes

KEY = "x-pilothouse"

# Words of the plan; each says "not yet" instead of "unknown".
LATER = frozenset(
    {
        "backup",
        "cron",
        "egress",
        "max_age",
        "policy",
        "scale",
        "secrets",
    }
)


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything below `x-pilothouse`."""


class Http(Strict, frozen=True, kw_only=True):
    """GET *path* on *port* answers 200 to 399."""

    port: int
    path: str = "/"
    headers: dict[str, str] = {}


class Tcp(Strict, frozen=True, kw_only=True):
    """A connection to *port* is accepted."""

    port: int


class Grpc(Strict, frozen=True, kw_only=True):
    """The standard gRPC health service on *port* answers SERVING for *service*."""

    port: int
    service: str = ""


class Exec(Strict, frozen=True, kw_only=True):
    """*command*, run in the container, ends with 0."""

    command: tuple[str, ...]


class ProbeBlock(Strict, frozen=True, kw_only=True):
    """One probe: exactly one of http, tcp, grpc, exec, and how often it is asked."""

    http: Http | None = None
    tcp: Tcp | None = None
    grpc: Grpc | None = None
    exec: Exec | None = None
    interval: str = "5s"
    timeout: str = "2s"
    failures: int = 3
    successes: int = 1


class ProbesBlock(Strict, frozen=True, kw_only=True):
    """The three questions, apart."""

    startup: ProbeBlock | None = None
    live: ProbeBlock | None = None
    ready: ProbeBlock | None = None


class TrafficBlock(Strict, frozen=True, kw_only=True):
    """How the proxy hands requests and connections to a service."""

    client_address: str = ""


class StepBlock(Strict, frozen=True, kw_only=True):
    """One step of a canary: *weight* percent of the traffic, watched for *hold* at least."""

    weight: int
    hold: str = msgspec.field(name="for", default="30s")


class JudgeBlock(Strict, frozen=True, kw_only=True):
    """What new tasks may be worse by."""

    error_rate: float | str = "1%"
    p95: float | str = "1.5x"
    requests: int = 50


class ReleaseBlock(Strict, frozen=True, kw_only=True):
    """How new tasks take over from old ones."""

    strategy: str = "rolling"
    steps: tuple[StepBlock, ...] = ()
    judge: JudgeBlock | None = None
    settle: str = ""
    deadline: str = ""


class TolerateBlock(Strict, frozen=True, kw_only=True):
    """A taint that is no hindrance; without *value* whatever its value is."""

    key: str
    value: str = ""


class PreferBlock(Strict, frozen=True, kw_only=True):
    """Nodes that meet *constraint* are preferred, or avoided with a negative *weight*."""

    constraint: str
    weight: int = 50


class TogetherBlock(Strict, frozen=True, kw_only=True):
    """Near to, or apart from, the tasks of *service*; a rule without *weight*, else a wish."""

    service: str
    level: str = "node"
    weight: int = 0


class SpreadBlock(Strict, frozen=True, kw_only=True):
    """Tasks are divided over the values of *level*, evenly or as *targets* say."""

    level: str
    targets: dict[str, int | str] = {}


class PlacementBlock(Strict, frozen=True, kw_only=True):
    """Which nodes suit, beside what `deploy.placement` says."""

    tolerate: tuple[TolerateBlock, ...] = ()
    prefer: tuple[PreferBlock, ...] = ()
    near: tuple[TogetherBlock, ...] = ()
    apart: tuple[TogetherBlock, ...] = ()
    spread: tuple[SpreadBlock, ...] = ()
    pool: str = ""
    packing: str = ""
    priority: int | str = "normal"
    preemptible: bool = True


class CutOffBlock(Strict, frozen=True, kw_only=True):
    """A node that is cut off stops the tasks after *stop*."""

    stop: str


PROXY_PROTOCOL = "proxy-protocol"

# Words of the plan that belong below one block only.
LATER_BELOW: Mapping[type[Strict], frozenset[str]] = {
    TrafficBlock: frozenset({"circuit", "client_ip", "host", "path", "rate_limit", "retries", "timeout", "tls"}),
}

Block = TypeVar("Block", bound=Strict)


class AppBlock(Strict, frozen=True, kw_only=True):
    """`x-pilothouse` at the top of a manifest."""

    owner: str = ""
    oncall: str = ""
    tier: str = ""
    data_class: str = ""
    runbook: str = ""


class ServiceBlock(Strict, frozen=True, kw_only=True):
    """`x-pilothouse` of a service."""

    probes: ProbesBlock | None = None
    traffic: TrafficBlock | None = None
    release: ReleaseBlock | None = None
    placement: PlacementBlock | None = None
    cut_off: str | CutOffBlock | None = None


def ownership(project: Reader) -> Ownership:
    """Return who answers for the app."""
    block = _decode(project, AppBlock) or AppBlock()
    if block.runbook and not block.runbook.startswith(("https://", "http://")):
        project.error(f"{KEY}.runbook", "must be an address that begins with https:// or http://")
    return Ownership(
        owner=block.owner, oncall=block.oncall, tier=block.tier, data_class=block.data_class, runbook=block.runbook
    )


def service_block(service: Reader) -> ServiceBlock:
    """Return the block of *service*; an empty one if none is written, or after its findings were noted."""
    return _decode(service, ServiceBlock) or ServiceBlock()


def probes(service: Reader) -> Probes:
    """Return the probes of *service*."""
    block = service_block(service).probes or ProbesBlock()
    return Probes(
        startup=_probe(service, "startup", block.startup),
        live=_probe(service, "live", block.live),
        ready=_probe(service, "ready", block.ready),
    )


def traffic(service: Reader, ports: tuple[Port, ...]) -> tuple[Port, ...]:
    """Return *ports* of *service* with what its `traffic` block says of them."""
    asked = (service_block(service).traffic or TrafficBlock()).client_address
    if not asked:
        return ports
    if asked != PROXY_PROTOCOL:
        service.error(f"{KEY}.traffic.client_address", f"{asked[:80]!r} is not known; write {PROXY_PROTOCOL}")
    elif not any(_raw(port) for port in ports):
        service.error(
            f"{KEY}.traffic.client_address",
            "is for raw TCP ports that the proxy serves, and the service publishes none; remove it, or publish one "
            "with `mode: ingress`, TCP and a single host port",
        )
    return tuple(msgspec.structs.replace(port, client_address=asked) if _raw(port) else port for port in ports)


def _raw(port: Port) -> bool:
    """Whether raw TCP may be spoken on *port* through the proxy; HTTP carries the address in a header."""
    return port.ingress and port.app_protocol in {"", "tcp"}


def _probe(service: Reader, name: str, block: ProbeBlock | None) -> Probe | None:
    if block is None:
        return None
    path = f"{KEY}.probes.{name}"
    ways = [way for way in (block.http, block.tcp, block.grpc, block.exec) if way is not None]
    if len(ways) != 1:
        service.error(path, "needs exactly one of http, tcp, grpc and exec")
        return None
    interval, timeout = (_seconds(service, f"{path}.{key}", getattr(block, key)) for key in ("interval", "timeout"))
    way = ways[0]
    return Probe(
        kind=ProbeKind(type(way).__name__.lower()),
        port=0 if isinstance(way, Exec) else way.port,
        path=way.path if isinstance(way, Http) else "/",
        headers=way.headers if isinstance(way, Http) else {},
        service=way.service if isinstance(way, Grpc) else "",
        command=way.command if isinstance(way, Exec) else (),
        interval_seconds=interval,
        timeout_seconds=timeout,
        failures=block.failures,
        successes=block.successes,
    )


def _seconds(service: Reader, path: str, value: str) -> float:
    try:
        return seconds(value)
    except ValueError as problem:
        service.error(path, str(problem))
        return 1.0


def _decode(place: Reader, block: type[Block]) -> Block | None:
    """Return the block written at *place*, or None after its findings were noted."""
    value = place.raw(KEY)
    if value is None:
        return None
    findings = list(_unknown(value, block, KEY))
    for path, message in findings:
        place.error(path, message)
    if findings:
        return None
    try:
        return msgspec.convert(value, block)
    except UnicodeEncodeError:
        place.error(KEY, "holds half of a surrogate pair, which is no text; write the character itself")
        return None
    except msgspec.ValidationError as problem:
        message, _, where = str(problem).partition(" - at `$")
        place.error(f"{KEY}{where.removesuffix('`')}", message[0].lower() + message[1:])
        return None


def _unknown(value: object, block: type[Strict], path: str) -> Iterator[tuple[str, str]]:
    """Yield path and message of every field that is not one of *block*, at any depth."""
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unknown(inner, block, f"{path}[{index}]")
    if not isinstance(value, dict):
        return
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(block)}
    for key, inner in value.items():
        where = join(path, str(key))
        below = struct_in(fields.get(key))
        if key in fields and below is not None:
            yield from _unknown(inner, below, where)
        elif key not in fields and key in (LATER | LATER_BELOW.get(block, frozenset())):
            yield where, "is not supported yet; remove it until a release honours it"
        elif key not in fields:
            near = difflib.get_close_matches(str(key), sorted(fields), 1)
            known = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(fields))}"
            yield where, f"is not known; {known}"


def struct_in(annotation: object) -> type[Strict] | None:
    """Return the struct a field may hold, if it may hold one."""
    kinds = getattr(annotation, "__args__", (annotation,))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Strict)), None)


__all__ = [
    "KEY",
    "LATER",
    "AppBlock",
    "CutOffBlock",
    "JudgeBlock",
    "PlacementBlock",
    "ProbeBlock",
    "ReleaseBlock",
    "ServiceBlock",
    "StepBlock",
    "TogetherBlock",
    "ownership",
    "probes",
    "service_block",
    "struct_in",
    "traffic",
]
