"""What a machine is, as asked by one shell script and read from its answers; nothing is judged here."""

import re
from collections.abc import Mapping

import msgspec

from pilothouse.errors import RuntimeUnavailableError
from pilothouse.model.base import Value

INSTALLED = "/opt/pilothouse"
DATA = "/var/lib/pilothouse"

QUESTIONS = r"""
say() { printf '%s=%s\n' "$1" "$2"; }
space() { at=$1; until [ -d "$at" ]; do at=$(dirname "$at"); done; df -Pk "$at" | awk 'NR == 2 { print $4 }'; }
say uid "$(id -u)"
say system "$(uname -s)"
say kernel "$(uname -r)"
say machine "$(uname -m)"
say hostname "$(uname -n)"
say time "$(date +%s.%N)"
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
say memory_kib "$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)"
say disk_data_kib "$(space /var/lib/pilothouse)"
say disk_install_kib "$(space /opt/pilothouse)"
listening() { cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { n = split($2, p, ":"); print p[n] }'; }
say listening "$(listening | tr '\n' ' ')"
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then say cgroups 2
elif grep -q '^[^ ]* /sys/fs/cgroup/memory ' /proc/mounts; then say cgroups 1
fi
address=$(echo "$SSH_CONNECTION" | cut -d ' ' -f 3)
device=$(ip -o address 2>/dev/null | awk -v at="$address" 'index($4, at "/") == 1 { print $2; exit }')
say mtu "$(ip -o link show dev "$device" 2>/dev/null | sed -n 's/.* mtu \([0-9]*\) .*/\1/p')"
say installed "$(readlink /opt/pilothouse/current 2>/dev/null)"
[ -e /var/lib/pilothouse/membership.json ] && say joined yes
command -v python3 >/dev/null 2>&1 || exit 0
python3 - "$@" <<'PYTHON'
import http.client, json, os, socket, sys
def say(key, value): print("%s=%s" % (key, value))
say("python", "%d.%d" % sys.version_info[:2])
try:
    import venv
    say("venv", "yes")
except ImportError:
    pass
class Engine(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)
def ask(path, what):
    engine = Engine(path)
    engine.request("GET", what)
    return json.loads(engine.getresponse().read())
for path in ("/var/run/docker.sock", "/run/podman/podman.sock"):
    try:
        version = ask(path, "/version")
        names = [each.get("Name", "") for each in version.get("Components") or ()]
        say("engine", "podman" if any("Podman" in name for name in names) else "docker")
        say("engine_version", version.get("Version", ""))
        say("live_restore", "yes" if ask(path, "/info").get("LiveRestoreEnabled") else "no")
        break
    except (OSError, ValueError, http.client.HTTPException):
        pass
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 5).close()
    except OSError as error:
        say("unreachable", json.dumps([place, error.strerror or str(error)]))
PYTHON
"""
"""A script for `sh -s -- PLACE…` that prints KEY=VALUE lines; each PLACE is a HOST:PORT to be reached from there."""


_PORT = re.compile(r"\b[0-9A-F]{4}\b")


class Facts(Value, frozen=True, kw_only=True):
    """What the machine answered; "" and 0 are "it did not say".

    Attributes:
        offset_seconds: How far its clock is ahead of ours.
        libc: As getconf says it: "glibc 2.36".
        cgroups: Version 1 or 2.
        listening: TCP ports that something listens on.
        installed: Which installation of Pilothouse is its current one.
        joined: It is a member of a cluster already.
        unreachable: (HOST:PORT, why) of what it could not connect to.
    """

    uid: int
    offset_seconds: float
    system: str = ""
    kernel: str = ""
    machine: str = ""
    hostname: str = ""
    libc: str = ""
    python: str = ""
    venv: bool = False
    engine: str = ""
    engine_version: str = ""
    live_restore: bool = False
    cgroups: int = 0
    mtu: int = 0
    memory_bytes: int = 0
    disk_data_bytes: int = 0
    disk_install_bytes: int = 0
    listening: frozenset[int] = frozenset()
    installed: str = ""
    joined: bool = False
    unreachable: tuple[tuple[str, str], ...] = ()


def parse(text: str, asked_at: float, answered_at: float) -> Facts:
    """Return the facts in what `QUESTIONS` printed.

    Args:
        text: Its output; lines that are no answers, a shell's greeting for example, are passed over.
        asked_at: Our clock before it ran.
        answered_at: Our clock after it.

    Raises:
        RuntimeUnavailableError: It did not even say who it is.
    """
    pairs = [line.partition("=") for line in text.splitlines()]
    said = {key: value.strip() for key, sign, value in pairs if sign}
    if not said.get("uid", "").isdigit():
        raise RuntimeUnavailableError(
            f"the machine did not answer what it was asked; its shell said: {text.strip()[:300] or 'nothing'}"
        )
    return Facts(
        uid=int(said["uid"]),
        offset_seconds=_offset(said.get("time", ""), asked_at, answered_at),
        system=said.get("system", ""),
        kernel=said.get("kernel", ""),
        machine=said.get("machine", ""),
        hostname=said.get("hostname", ""),
        libc=said.get("libc", ""),
        python=said.get("python", ""),
        venv=said.get("venv") == "yes",
        engine=said.get("engine", ""),
        engine_version=said.get("engine_version", ""),
        live_restore=said.get("live_restore") == "yes",
        cgroups=_number(said, "cgroups"),
        mtu=_number(said, "mtu"),
        memory_bytes=_number(said, "memory_kib") * 1024,
        disk_data_bytes=_number(said, "disk_data_kib") * 1024,
        disk_install_bytes=_number(said, "disk_install_kib") * 1024,
        listening=frozenset(int(each, 16) for each in _PORT.findall(said.get("listening", ""))),
        installed=said.get("installed", ""),
        joined=said.get("joined") == "yes",
        unreachable=tuple(_place(value) for key, sign, value in pairs if sign and key == "unreachable"),
    )


def _number(said: Mapping[str, str], key: str) -> int:
    text = said.get(key, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _offset(text: str, asked_at: float, answered_at: float) -> float:
    """Return how far the other clock is ahead; nothing if it may have been read between asking and answering."""
    try:
        # A `date` that knows no nanoseconds writes the letter.
        there = float(text.removesuffix(".%N").removesuffix(".N"))
    except ValueError:
        return 0.0
    if there < asked_at:
        return there - asked_at
    return max(0.0, there - answered_at)


def _place(text: str) -> tuple[str, str]:
    try:
        return msgspec.json.decode(text, type=tuple[str, str])
    except msgspec.DecodeError:
        return text, "cause unknown"
