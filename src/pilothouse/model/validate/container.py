"""One container's own settings: image, command, environment, user, health check, privileges, logging."""

import re
from collections.abc import Iterator

from pilothouse.model.container import ContainerSpec, Healthcheck, Privileges
from pilothouse.model.names import RESERVED_LABEL_PREFIX
from pilothouse.model.validate.grammar import ENGINE_NAME, Finding, image, one_of, within

LONGEST_CHECK = 30 * 86400.0
LONGEST_GRACE = 7 * 86400.0
LARGEST_BLOCK = 1_048_576  # environment plus arguments that a kernel passes to a program, halved
_USER = re.compile(r"[^\s:]{1,64}(?::[^\s:]{1,64})?\Z")
_GROUP = re.compile(r"[^\s:]{1,64}\Z")
_PLATFORM = re.compile(r"[a-z0-9_]+(?:/[a-z0-9_]+){0,2}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+/:-]{0,127}\Z")
_POLICY = re.compile(r"(?:always|missing|never|daily|weekly|refresh|every_(?:\d{1,6}[smhdw])+)?\Z", re.ASCII)
_SIGNAL = re.compile(
    r"(?:SIG)?(?:ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS"
    r"|TERM|TRAP|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN(?:\+(?:[1-9]|1[0-5]))?"
    r"|RTMAX(?:-(?:[1-9]|1[0-4]))?)\Z|(?:[1-9]|[1-5]\d|6[0-4])\Z"
)
_EXPOSE = re.compile(r"\d{1,5}(?:-\d{1,5})?(?:/(?:tcp|udp|sctp))?\Z", re.ASCII)
_CAPABILITY = re.compile(r"(?:CAP_)?[A-Z0-9_]{2,40}\Z", re.IGNORECASE)
_SYSCTL = re.compile(r"[a-z0-9_-]+(?:[./][A-Za-z0-9_*-]+)+\Z")
_PERMISSIONS = re.compile(r"[rwm]{1,3}\Z")
_CGROUP_RULE = re.compile(r"[acb] (?:\d+|\*):(?:\d+|\*) [rwm]{1,3}\Z", re.ASCII)


def container(path: str, body: ContainerSpec) -> Iterator[Finding]:
    """Yield what is wrong with the container itself."""
    yield from image(f"{path}.image", body.image)
    yield from _environment(path, body)
    yield from _labels(path, body)
    yield from _process(path, body)
    yield from _choices(path, body)
    if body.healthcheck is not None:
        yield from _healthcheck(f"{path}.healthcheck", body.healthcheck)
    yield from _privileges(path, body.privileges)
    yield from _devices(path, body)


def _environment(path: str, body: ContainerSpec) -> Iterator[Finding]:
    for name in body.environment:
        if not name or "=" in name:
            yield f"{path}.environment", f"{name[:80]!r} cannot be the name of a variable"
    words = (*(body.command or ()), *(body.entrypoint or ()))
    size = sum(len(n) + len(v) + 2 for n, v in body.environment.items()) + sum(len(word) + 1 for word in words)
    if size > LARGEST_BLOCK:
        yield (
            f"{path}.environment",
            f"is {size:,} characters with the command; at most {LARGEST_BLOCK:,} can be passed on",
        )


def _labels(path: str, body: ContainerSpec) -> Iterator[Finding]:
    for key, labels in (("labels", body.labels), ("annotations", body.annotations)):
        for name in labels:
            if not name:
                yield f"{path}.{key}", "a label needs a name"
            elif name.startswith(RESERVED_LABEL_PREFIX):
                yield f"{path}.{key}.{name[:80]}", f"labels that begin with {RESERVED_LABEL_PREFIX} are the platform's"


def _process(path: str, body: ContainerSpec) -> Iterator[Finding]:
    if body.user and not _USER.match(body.user):
        yield f"{path}.user", f"{body.user[:80]!r} is no user; write NAME, UID, or UID:GID"
    for index, group in enumerate(body.group_add):
        if not _GROUP.match(group):
            yield f"{path}.group_add[{index}]", f"{group[:80]!r} is no group; write a name or a number"
    if body.working_dir and not body.working_dir.startswith("/"):
        yield f"{path}.working_dir", f"{body.working_dir[:80]!r} must be an absolute path"
    if body.stop_signal and not _SIGNAL.match(body.stop_signal.upper()):
        yield f"{path}.stop_signal", f"{body.stop_signal[:80]!r} is no signal; write one such as SIGTERM"
    yield from within(f"{path}.stop_grace_period", body.stop_grace_seconds, 0, LONGEST_GRACE)
    if body.container_name and not ENGINE_NAME.match(body.container_name):
        yield f"{path}.container_name", f"{body.container_name[:80]!r} must be letters, digits, '.', '_' and '-'"


def _choices(path: str, body: ContainerSpec) -> Iterator[Finding]:
    if body.platform and not _PLATFORM.match(body.platform):
        yield f"{path}.platform", f"{body.platform[:80]!r} is no platform; write OS/ARCH such as linux/amd64"
    if body.runtime and not _NAME.match(body.runtime):
        yield f"{path}.runtime", f"{body.runtime[:80]!r} is no name of a runtime"
    if body.logging.driver and not _NAME.match(body.logging.driver):
        yield f"{path}.logging.driver", f"{body.logging.driver[:80]!r} is no name of a driver"
    if not _POLICY.match(body.pull_policy):
        yield (
            f"{path}.pull_policy",
            f"{body.pull_policy[:80]!r} is not known; write always, missing, never, daily, weekly or every_12h",
        )
    for index, port in enumerate(body.expose):
        if not _EXPOSE.match(port):
            yield f"{path}.expose[{index}]", f"{port[:80]!r} is no port; write PORT or PORT/udp"


def _healthcheck(path: str, check: Healthcheck) -> Iterator[Finding]:
    if check.test:
        yield from one_of(f"{path}.test", check.test[0], frozenset({"NONE", "CMD", "CMD-SHELL"}))
        expected = {"NONE": len(check.test) == 1, "CMD-SHELL": len(check.test) == 2, "CMD": len(check.test) > 1}
        if not expected.get(check.test[0], True):
            yield f"{path}.test", 'must be ["NONE"], ["CMD", PROGRAM, ...] or ["CMD-SHELL", LINE]'
    for key in ("interval", "timeout", "start_period", "start_interval"):
        seconds: float | None = getattr(check, f"{key}_seconds")
        if seconds:
            yield from within(f"{path}.{key}", seconds, 0.001, LONGEST_CHECK)
    if check.retries is not None:
        yield from within(f"{path}.retries", check.retries, 0, 10_000)


def _privileges(path: str, asked: Privileges) -> Iterator[Finding]:
    for key, names in (("cap_add", asked.cap_add), ("cap_drop", asked.cap_drop)):
        for index, name in enumerate(names):
            if not _CAPABILITY.match(name):
                yield f"{path}.{key}[{index}]", f"{name[:80]!r} is no capability; write one such as NET_ADMIN"
    yield from _kernel(path, asked)


def _kernel(path: str, asked: Privileges) -> Iterator[Finding]:
    for index, option in enumerate(asked.security_opt):
        if not option.strip():
            yield f"{path}.security_opt[{index}]", "is empty; remove it"
    for index, rule in enumerate(asked.device_cgroup_rules):
        if not _CGROUP_RULE.match(rule):
            yield f"{path}.device_cgroup_rules[{index}]", f"{rule[:80]!r} is no rule; write one such as 'c 1:3 mr'"
    for name in asked.sysctls:
        if not _SYSCTL.match(name):
            yield f"{path}.sysctls", f"{name[:80]!r} is no kernel setting; write one such as net.core.somaxconn"


def _devices(path: str, body: ContainerSpec) -> Iterator[Finding]:
    for index, device in enumerate(body.privileges.devices):
        where = f"{path}.devices[{index}]"
        if not _PERMISSIONS.match(device.permissions):
            yield f"{where}.permissions", f"{device.permissions[:80]!r} must be of the letters r, w and m"
        if not device.source or not device.target:
            yield where, "needs a source and a target, such as /dev/ttyUSB0:/dev/ttyUSB0"
    for index, request in enumerate(body.gpus):
        where = f"{path}.gpus[{index}]"
        if not request.capabilities:
            yield f"{where}.capabilities", "is needed; write for example [gpu]"
        if request.count is not None and (request.count < -1 or request.count == 0):
            yield f"{where}.count", f"{request.count} is no count; write a number from 1, or all"
        if request.count is not None and request.device_ids:
            yield f"{where}.count", "and device_ids exclude each other; write one of them"
