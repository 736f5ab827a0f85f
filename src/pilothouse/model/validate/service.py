"""One service: how many tasks, how they restart and change, their hooks and probes; its container is judged beside."""

import re
from collections.abc import Iterator

from pilothouse.model.base import Value
from pilothouse.model.spec import Hook, Mode, Probe, ProbeKind, ServiceSpec, UpdatePolicy
from pilothouse.model.validate.container import container
from pilothouse.model.validate.files import granted, mounts
from pilothouse.model.validate.grammar import Finding, image, one_of, within
from pilothouse.model.validate.limits import limits, reservations
from pilothouse.model.validate.networks import attachments, fixed_addresses, resolver
from pilothouse.model.validate.placement import placement
from pilothouse.model.validate.ports import ports
from pilothouse.model.validate.release import release
from pilothouse.model.validate.sharing import sharing

LONGEST_WAIT = 10 * 365 * 86400.0
LONGEST_PROBE = 86400.0
_ACTIONS = frozenset({"", "continue", "pause", "rollback"})
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_PRINTABLE = re.compile(r"[\x20-\x7e]*\Z")


class Names(Value, frozen=True, kw_only=True):
    """What the app defines, for everything that refers to it by key."""

    services: frozenset[str]
    networks: frozenset[str]
    volumes: frozenset[str]
    secrets: frozenset[str]
    configs: frozenset[str]


def service(path: str, spec: ServiceSpec, names: Names) -> Iterator[Finding]:
    """Yield what is wrong with one service."""
    body = spec.task.container
    yield from container(path, body)
    yield from limits(path, body)
    yield from reservations(path, spec.task.reservations)
    yield from mounts(path, body, names.volumes)
    yield from granted(path, body, names.secrets, names.configs)
    yield from attachments(path, spec, names.networks)
    yield from resolver(path, body)
    yield from sharing(path, spec, names.services)
    yield from ports(path, spec)
    yield from _alone(path, spec)
    yield from _policies(path, spec)
    yield from placement(path, spec, names.services)
    yield from release(path, spec)
    for place, hooks in (
        ("pre_start", spec.task.pre_start),
        ("post_start", spec.task.post_start),
        ("pre_stop", spec.task.pre_stop),
    ):
        for index, hook in enumerate(hooks):
            yield from _hook(f"{path}.{place}[{index}]", hook, place == "pre_start")
    for name, probe in (
        ("startup", spec.task.probes.startup),
        ("live", spec.task.probes.live),
        ("ready", spec.task.probes.ready),
    ):
        if probe is not None:
            yield from _probe(f"{path}.x-pilothouse.probes.{name}", probe)


def _alone(path: str, spec: ServiceSpec) -> Iterator[Finding]:
    """Yield what only one task can have, if there are more."""
    if spec.mode not in {Mode.REPLICATED, Mode.REPLICATED_JOB} or spec.replicas <= 1:
        return
    body = spec.task.container
    single = [*fixed_addresses(body), *(["container_name"] if body.container_name else [])]
    for key in single:
        yield f"{path}.{key}", f"can belong to one container only, and there are {spec.replicas} replicas; leave it out"


def _policies(path: str, spec: ServiceSpec) -> Iterator[Finding]:
    restart, deploy = spec.restart, f"{path}.deploy"
    yield from _wait(f"{deploy}.restart_policy.delay", restart.delay_seconds)
    yield from _wait(f"{deploy}.restart_policy.window", restart.window_seconds)
    yield from _count(f"{deploy}.restart_policy.max_attempts", restart.max_attempts)
    yield from one_of(f"{deploy}.endpoint_mode", spec.endpoint_mode, frozenset({"vip", "dnsrr"}))
    yield from _update(f"{deploy}.update_config", spec.update, _ACTIONS)
    yield from _update(f"{deploy}.rollback_config", spec.rollback, _ACTIONS - {"rollback"})


def _update(path: str, policy: UpdatePolicy, actions: frozenset[str]) -> Iterator[Finding]:
    yield from _count(f"{path}.parallelism", policy.parallelism)
    yield from _wait(f"{path}.delay", policy.delay_seconds)
    yield from _wait(f"{path}.monitor", policy.monitor_seconds)
    yield from one_of(f"{path}.failure_action", policy.failure_action, actions)
    if policy.max_failure_ratio is not None:
        yield from within(f"{path}.max_failure_ratio", policy.max_failure_ratio, 0, 1)


def _wait(path: str, seconds: float | None) -> Iterator[Finding]:
    if seconds is not None:
        yield from within(path, seconds, 0, LONGEST_WAIT)


def _count(path: str, number: int | None) -> Iterator[Finding]:
    if number is not None:
        yield from within(path, number, 0, 1_000_000)


def _hook(path: str, hook: Hook, before: bool) -> Iterator[Finding]:
    if hook.image:
        yield from image(f"{path}.image", hook.image)
    if not hook.command and not (before and hook.image):
        yield f"{path}.command", "is needed; write the program and its arguments"
    if not before and (hook.image or hook.per_replica):
        yield path, "image and per_replica belong to pre_start only; remove them"
    if hook.working_dir and not hook.working_dir.startswith("/"):
        yield f"{path}.working_dir", "must be an absolute path"
    for name in hook.environment:
        if not name or "=" in name:
            yield f"{path}.environment", f"{name[:80]!r} cannot be the name of a variable"


def _probe(path: str, probe: Probe) -> Iterator[Finding]:
    if probe.kind is ProbeKind.EXEC:
        if not probe.command or not probe.command[0]:
            yield f"{path}.exec.command", 'is needed; write the program and its arguments, such as ["ready"]'
    else:
        yield from within(f"{path}.{probe.kind.value}.port", probe.port, 1, 65535)
    if not probe.path.startswith("/") or not _PRINTABLE.match(probe.path) or " " in probe.path:
        yield f"{path}.http.path", f"{probe.path[:80]!r} must begin with / and hold no blanks; write %20 for one"
    for name, value in probe.headers.items():
        if not _HEADER.match(name) or not _PRINTABLE.match(value):
            yield f"{path}.http.headers", f"{name[:80]!r} and its value must be plain ASCII on one line"
    yield from within(f"{path}.interval", probe.interval_seconds, 0.05, LONGEST_PROBE)
    yield from within(f"{path}.timeout", probe.timeout_seconds, 0.01, LONGEST_PROBE)
    yield from within(f"{path}.failures", probe.failures, 1, 1000)
    yield from within(f"{path}.successes", probe.successes, 1, 1000)
