"""Whether a machine can become a node: facts in, findings out; asks nobody and changes nothing."""

import enum
import re

from pilothouse.cli.provision.facts import DATA, INSTALLED, Facts
from pilothouse.model.base import Value
from pilothouse.model.cluster import Role

KERNEL = (4, 18)
DOCKER = (20, 10)
PODMAN = (4, 0)
GLIBC = (2, 28)
CLOCK_SECONDS = 1.0
"""From here on it is said; renewals and logs of the machines no longer agree about when."""
CLOCK_LIMIT_SECONDS = 60.0
"""From here on it is refused: certificates of the cluster could be not yet valid there, or no longer."""
MTU = 1280
"""IPv6 needs as much."""
USUAL_MTU = 1450
INSTALL_BYTES = 600 << 20
DATA_BYTES = 1 << 30
ROOMY_DATA_BYTES = 5 << 30
MEMORY_BYTES = 512 << 20


class Verdict(enum.Enum):
    """What a finding means: nothing to do, worth knowing, or it stops here."""

    GOOD = "good"
    WARNING = "warning"
    REFUSED = "refused"


class Finding(Value, frozen=True, kw_only=True):
    """One check; *message* says what was found and, unless it is good, what to do."""

    check: str
    verdict: Verdict
    message: str


class Wanted(Value, frozen=True, kw_only=True):
    """What the machine is to become, and what we have to put there.

    Attributes:
        python, machine: What our installation was made for: "3.11", "x86_64"; "" if it is not sent.
        ports: TCP ports that will be listened on there.
        managers: "HOST:PORT" of what it was asked to connect to.
        joins: It is to become a node; otherwise it only gets an installation.
    """

    role: Role
    python: str
    machine: str
    ports: tuple[int, ...] = ()
    managers: tuple[str, ...] = ()
    joins: bool = True


def judge(facts: Facts, wanted: Wanted) -> tuple[Finding, ...]:
    """Return a finding for every check, in the order in which a person would look."""
    return (
        _root(facts),
        _kernel(facts),
        _platform(facts, wanted),
        _python(facts, wanted),
        _cgroups(facts),
        _engine(facts),
        _restore(facts),
        _clock(facts),
        _mtu(facts),
        _reach(facts, wanted),
        _ports(facts, wanted),
        _disk(facts),
        _memory(facts),
        _member(facts, wanted),
    )


def refused(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the findings that stop it."""
    return tuple(each for each in findings if each.verdict is Verdict.REFUSED)


def _root(facts: Facts) -> Finding:
    if facts.uid == 0:
        return _good("root", "commands run as root")
    return _refused(
        "root",
        f"commands run as user {facts.uid}: log in as root, or let the user run `sudo -n sh` without a password",
    )


def _kernel(facts: Facts) -> Finding:
    if facts.system != "Linux":
        return _refused("kernel", f"{facts.system or 'the system'} is not Linux: choose a Linux machine")
    if _version(facts.kernel) < KERNEL:
        return _refused("kernel", f"Linux {facts.kernel} is too old: {_dotted(KERNEL)} or newer is needed")
    return _good("kernel", f"Linux {facts.kernel}")


def _platform(facts: Facts, wanted: Wanted) -> Finding:
    if wanted.machine and facts.machine != wanted.machine:
        return _refused(
            "platform",
            f"it is {facts.machine}, and what is installed here is for {wanted.machine}: provision it from a machine "
            "of its own kind, or install Pilothouse there by hand and give --no-install",
        )
    if not facts.libc.startswith("glibc") or _version(facts.libc.removeprefix("glibc")) < GLIBC:
        return _refused(
            "platform", f"it has {facts.libc or 'no glibc'}: a distribution with glibc {_dotted(GLIBC)} is needed"
        )
    return _good("platform", f"{facts.machine}, {facts.libc}")


def _python(facts: Facts, wanted: Wanted) -> Finding:
    if not wanted.python:
        return _good("python", f"Python {facts.python}" if facts.python else "not needed")
    if facts.python != wanted.python:
        return _refused(
            "python",
            f"{f'it has Python {facts.python}' if facts.python else 'it has no python3'}, and what is installed here "
            f"is for {wanted.python}: install python{wanted.python} as python3 there, or install Pilothouse there by "
            "hand and give --no-install",
        )
    if not facts.venv:
        return _refused("python", "its Python has no module venv: install the package python3-venv there")
    return _good("python", f"Python {facts.python}")


def _cgroups(facts: Facts) -> Finding:
    if not facts.cgroups:
        return _refused("cgroups", "no control groups are mounted at /sys/fs/cgroup: containers could not be limited")
    return _good("cgroups", f"control groups version {facts.cgroups}")


def _engine(facts: Facts) -> Finding:
    least = PODMAN if facts.engine == "podman" else DOCKER
    if not facts.engine:
        return _refused(
            "engine",
            f"no container engine answers: install and start Docker Engine {_dotted(DOCKER)} or newer there, or "
            f"Podman {_dotted(PODMAN)} or newer with its socket",
        )
    if _version(facts.engine_version) < least:
        return _refused(
            "engine", f"{facts.engine} {facts.engine_version} is too old: {_dotted(least)} or newer is needed"
        )
    return _good("engine", f"{facts.engine} {facts.engine_version}")


def _restore(facts: Facts) -> Finding:
    if facts.engine != "docker" or facts.live_restore:
        return _good("live restore", "containers survive a restart of the engine")
    return _warning(
        "live restore",
        'a restart of the engine stops every container: write "live-restore": true into /etc/docker/daemon.json there '
        "and reload the engine",
    )


def _clock(facts: Facts) -> Finding:
    apart = abs(facts.offset_seconds)
    said = f"its clock is {apart:.1f} s {'ahead of' if facts.offset_seconds > 0 else 'behind'} this machine's"
    if apart > CLOCK_LIMIT_SECONDS:
        return _refused("clock", f"{said}: set it, and keep it set with a time service such as chrony")
    if apart > CLOCK_SECONDS:
        return _warning("clock", f"{said}: keep both set with a time service such as chrony")
    return _good("clock", f"within {max(apart, 0.1):.1f} s of this machine's")


def _mtu(facts: Facts) -> Finding:
    if not facts.mtu:
        return _warning("mtu", "how large its packets may be is not known: its interface could not be found")
    if facts.mtu < MTU:
        return _refused("mtu", f"its interface sends {facts.mtu} bytes at most: {MTU} are needed")
    if facts.mtu < USUAL_MTU:
        return _warning("mtu", f"its interface sends {facts.mtu} bytes at most, which is less than usual")
    return _good("mtu", f"{facts.mtu} bytes")


def _reach(facts: Facts, wanted: Wanted) -> Finding:
    if not facts.unreachable:
        found = ", ".join(wanted.managers)
        return _good("managers", f"it reaches {found}" if found else "no cluster to reach was named")
    found = "; ".join(f"{place} ({why})" for place, why in facts.unreachable)
    return _refused("managers", f"it cannot connect to {found}: open the ports between them, TCP")


def _ports(facts: Facts, wanted: Wanted) -> Finding:
    taken = sorted(facts.listening & set(wanted.ports)) if not facts.joined else []
    if taken:
        return _refused("ports", f"something listens on port {', '.join(map(str, taken))} already: end it there")
    if not wanted.ports:
        return _good("ports", "an agent listens on none")
    return _good("ports", f"{', '.join(map(str, wanted.ports))} are free")


def _disk(facts: Facts) -> Finding:
    for place, free, least in (
        (INSTALLED, facts.disk_install_bytes, INSTALL_BYTES),
        (DATA, facts.disk_data_bytes, DATA_BYTES),
    ):
        if free < least:
            return _refused("disk", f"{_mib(free)} are free for {place}: {_mib(least)} are needed")
    if facts.disk_data_bytes < ROOMY_DATA_BYTES:
        return _warning("disk", f"{_mib(facts.disk_data_bytes)} are free for {DATA}: logs and volumes may fill it soon")
    return _good("disk", f"{_mib(facts.disk_data_bytes)} free")


def _memory(facts: Facts) -> Finding:
    if facts.memory_bytes < MEMORY_BYTES:
        return _warning("memory", f"it has {_mib(facts.memory_bytes)}: that leaves little for apps")
    return _good("memory", _mib(facts.memory_bytes))


def _member(facts: Facts, wanted: Wanted) -> Finding:
    if facts.joined and not wanted.joins:
        return _good("member", "it is a member of a cluster and stays one: restart it there to run what is installed")
    if facts.joined:
        return _refused(
            "member",
            f"it is a member of a cluster already: remove it from there first, and its {DATA} with it",
        )
    return _good("member", "it belongs to no cluster yet")


def _version(text: str) -> tuple[int, ...]:
    found = re.match(r"\s*(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _mib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 10 << 30 else f"{size >> 20} MiB"


def _good(check: str, message: str) -> Finding:
    return Finding(check=check, verdict=Verdict.GOOD, message=message)


def _warning(check: str, message: str) -> Finding:
    return Finding(check=check, verdict=Verdict.WARNING, message=message)


def _refused(check: str, message: str) -> Finding:
    return Finding(check=check, verdict=Verdict.REFUSED, message=message)
