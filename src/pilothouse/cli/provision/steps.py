"""The order in which a machine becomes a node, and what to say when it stops on the way.

Every step may be repeated: what is there already is not sent again, and a machine that joined is left alone.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec

from pilothouse.cli.provision import bundle, facts, preflight
from pilothouse.cli.provision.preflight import Finding, Wanted
from pilothouse.cli.provision.remote import Machine
from pilothouse.clock import Clock
from pilothouse.errors import HostUnfitError, ProvisionFailedError
from pilothouse.model.base import Value
from pilothouse.model.counts import count

JOIN_SECONDS = 100.0
READY_SECONDS = 60.0
_LOOK_SECONDS = 0.5

_IS_THERE = """
launcher=/usr/local/bin/pilothouse
if [ -e "$launcher" ] && ! grep -q /opt/pilothouse/current "$launcher"; then
    echo "$launcher is there already and not ours: move it away" >&2
    exit 1
fi
[ -e "/opt/pilothouse/$1/.whole" ] && echo yes || echo no
"""
_UNPACK = """
set -eu
umask 022
part=/opt/pilothouse/.$1.part
rm -rf "$part"
mkdir -p /opt/pilothouse
python3 -m venv --without-pip "$part"
tar -xzf - -C "$part"/lib/python3*/site-packages
: >"$part/.whole"
sync -f "$part"
rm -rf "/opt/pilothouse/$1"
mv "$part" "/opt/pilothouse/$1"
"""
_SWITCH = """
set -eu
umask 022
launcher=/usr/local/bin/pilothouse
cd /opt/pilothouse
before=$(readlink current || true)
ln -sfn "$1" .current.part
mv -T .current.part current
mkdir -p /usr/local/bin
printf '#!/bin/sh\\nexec /opt/pilothouse/current/bin/python3 -m pilothouse "$@"\\n' >"$launcher.part"
chmod 755 "$launcher.part"
mv "$launcher.part" "$launcher"
for each in *; do
    case $each in current | "$1" | "$before") ;; *) rm -rf "$each" ;; esac
done
"$launcher" --version
"""
_JOIN = """
set -eu
PATH=$PATH:/usr/local/bin
exec pilothouse join --json "$1" -
"""


class Cluster(Protocol):
    """What provisioning asks of the cluster it provisions for; it may take a while."""

    def token(self) -> str:
        """Make a token that lets one machine in."""
        ...

    def withdraw(self) -> None:
        """Take the token back; nothing happens if it was used."""
        ...

    def trouble(self, node_id: str) -> str:
        """Return why a node is not ready, or "" if it is."""
        ...


class Done(Value, frozen=True, kw_only=True):
    """What came of it; *node* is "" if the machine was not to join."""

    host: str
    findings: tuple[Finding, ...]
    installed: str = ""
    node: str = ""


class Said(Protocol):
    """Who is told how it gets on."""

    def finding(self, found: Finding) -> None:
        """Tell one result of the look at the machine."""
        ...

    def step(self, text: str) -> None:
        """Tell that a step begins."""
        ...

    def far(self, done: int, whole: int) -> None:
        """Tell how much of it is done."""
        ...


async def look(machine: Machine, wanted: Wanted, places: tuple[str, ...], clock: Clock) -> tuple[Finding, ...]:
    """Return what is to be said of the machine; *places* are those it must be able to connect to, "HOST:PORT"."""
    asked = clock.now()
    text = await machine.script(facts.QUESTIONS, *places, seconds=90.0)
    return preflight.judge(facts.parse(text, asked, clock.now()), wanted)


def insist(host: str, findings: tuple[Finding, ...]) -> None:
    """Stop here if the machine is not fit.

    Raises:
        HostUnfitError: With every reason.
    """
    against = preflight.refused(findings)
    if against:
        reasons = "".join(f"\n{each.check}: {each.message}" for each in against)
        raise HostUnfitError(
            f"{host} cannot become a node yet, {count(len(against), 'thing')} in the way; nothing was changed there:"
            f"{reasons}"
        )


async def install(machine: Machine, host: str, said: Said) -> str:
    """Put this installation on the machine and make it its current one; return its name.

    Raises:
        ProvisionFailedError: It could not be put there; what ran before is still the current one.
    """
    made = await asyncio.to_thread(bundle.bundle)
    with _stopping("install", host, "at most a part of it in /opt/pilothouse, which the next attempt removes"):
        if await machine.script(_IS_THERE, made.name) != "yes":
            said.step(f"sending Pilothouse {made.name} ({made.size_bytes >> 20} MiB unpacked)")
            await _send(machine, made, said)
        version = await machine.script(_SWITCH, made.name)
    said.step(f"installed: {version}")
    return made.name


async def _send(machine: Machine, made: bundle.Bundle, said: Said) -> None:
    with tempfile.TemporaryFile() as archive:
        await asyncio.to_thread(bundle.write, made, archive)
        whole, gone = archive.tell(), 0
        archive.seek(0)

        def sent(size: int) -> None:
            nonlocal gone
            gone += size
            said.far(gone, whole)

        await machine.send(archive, _UNPACK, made.name, sent=sent)


async def join(machine: Machine, host: str, manager: str, cluster: Cluster, clock: Clock, said: Said) -> str:
    """Have the machine join by the manager at *manager*, wait until its node is ready, and return the node's id.

    Raises:
        ProvisionFailedError: It did not join, or its node is not ready after `READY_SECONDS`.
    """
    said.step(f"joining by {manager}")
    with _stopping("join", host, "Pilothouse, installed and not started"):
        token = await asyncio.to_thread(cluster.token)
        try:
            node_id = _joined(await machine.hand(f"{token}\n", _JOIN, manager, seconds=JOIN_SECONDS))
        except ProvisionFailedError:
            await asyncio.to_thread(cluster.withdraw)
            raise
    left = f"the node {node_id}, which joined; its own log, there: pilothouse server logs"
    with _stopping("wait", host, left):
        end = clock.monotonic() + READY_SECONDS
        while trouble := await asyncio.to_thread(cluster.trouble, node_id):
            if clock.monotonic() > end:
                raise ProvisionFailedError(f"its node is not ready after {READY_SECONDS:g} s: {trouble}")
            await clock.sleep(_LOOK_SECONDS)
    said.step(f"node {node_id} is ready")
    return node_id


def _joined(text: str) -> str:
    """Return the id of the node in what `pilothouse join --json` printed."""
    try:
        return msgspec.json.decode(text, type=_Joined).node_id
    except msgspec.DecodeError as error:
        raise ProvisionFailedError(f"what `pilothouse join` said there is not understood: {text[:300]}") from error


class _Joined(Value, frozen=True, kw_only=True, forbid_unknown_fields=False):
    node_id: str


@contextmanager
def _stopping(step: str, host: str, left: str) -> Iterator[None]:
    """Add to an error at which step it stopped and what was left on the machine."""
    try:
        yield
    except ProvisionFailedError as error:
        raise ProvisionFailedError(
            f"{host}: stopped at the step {step}: {error}; left there: {left}. Run the same command again to go on"
        ) from error
