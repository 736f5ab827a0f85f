"""The connection to a machine over SSH: its key is checked before anything is sent. The only user of AsyncSSH."""

import asyncio
import os
import pathlib
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import asyncssh
from asyncssh.known_hosts import KnownHostsArg

from pilothouse.errors import HostUnfitError, InvalidRequestError, ProvisionFailedError
from pilothouse.model.base import Value

_BLOCK = 1 << 17
_CONNECT_SECONDS = 15.0
_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[^@/:\s]+)@)?(?P<host>\[[0-9a-fA-F:]+\]|[^@/:\[\]\s-][^@/:\[\]\s]*)(?::(?P<port>\d+))?/?"
)


class Address(Value, frozen=True, kw_only=True):
    """Where a machine answers SSH; *user* "" leaves it to the user's SSH configuration."""

    host: str
    port: int = 22
    user: str = ""


class Trust(Value, frozen=True, kw_only=True):
    """What says that the machine is the one that is meant, and who we are there.

    Attributes:
        known_hosts: A file in OpenSSH's format; "" is the user's own.
        fingerprint: The machine's key has this one ("SHA256:…"), whatever the file says; "" asks the file.
        identity: A file with the private key to log in with; "" is the agent's and the user's own.
    """

    known_hosts: str = ""
    fingerprint: str = ""
    identity: str = ""


def address(text: str) -> Address:
    """Return the address in "ssh://[USER@]HOST[:PORT]".

    Raises:
        InvalidRequestError: It is none.
    """
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"] or 22) if found else 0
    if not found or not 0 < port < 65536:
        raise InvalidRequestError(
            f"{text[:80]!r} is not ssh://[USER@]HOST[:PORT]; write for example ssh://root@10.0.0.7"
        )
    return Address(host=found["host"].strip("[]"), port=port, user=found["user"] or "")


class Machine:
    """A machine that was logged in to; commands run as root, directly or through sudo."""

    def __init__(self, connection: asyncssh.SSHClientConnection, place: Address) -> None:
        self._connection = connection
        self._place = place
        self._prefix = ""

    async def become_root(self) -> None:
        """Find out whether commands need sudo; a machine that does not let us is found out by its facts."""
        if (await self._run("id -u", "")).strip() != "0" and await self._succeeds("sudo -n true"):
            self._prefix = 'sudo -n env SSH_CONNECTION="$SSH_CONNECTION" '

    async def script(self, text: str, *arguments: str, seconds: float = 60.0) -> str:
        """Run a shell script and return what it printed.

        Raises:
            ProvisionFailedError: It failed, with what it said; or took longer; or the connection ended.
        """
        return await self._run(f"{self._prefix}sh -s -- {shlex.join(arguments)}", text, seconds)

    async def hand(self, secret: str, text: str, *arguments: str, seconds: float = 60.0) -> str:
        """Run a shell script that reads *secret* from its standard input, where no list of processes has it.

        Raises:
            ProvisionFailedError: As for `script`.
        """
        return await self._run(f"{self._prefix}sh -c {shlex.quote(text)} sh {shlex.join(arguments)}", secret, seconds)

    async def send(self, content: BinaryIO, text: str, *arguments: str, sent: Callable[[int], None]) -> str:
        """Run a shell script that reads *content* from its standard input; *sent* is told how many bytes went."""
        command = f"{self._prefix}sh -c {shlex.quote(text)} sh {shlex.join(arguments)}"
        with self._told():
            async with self._connection.create_process(command, encoding=None) as process:
                try:
                    while block := content.read(_BLOCK):
                        process.stdin.write(block)
                        await process.stdin.drain()
                        sent(len(block))
                    process.stdin.write_eof()
                except (BrokenPipeError, ConnectionResetError):
                    # The script ended first; why stands in its output.
                    pass
                return _output(await process.wait(check=False))

    async def _run(self, command: str, given: str, seconds: float = 60.0) -> str:
        with self._told():
            return _output(await self._connection.run(command, input=given, check=False, timeout=seconds))

    async def _succeeds(self, command: str) -> bool:
        with self._told():
            return (await self._connection.run(command, check=False, timeout=60.0)).exit_status == 0

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except asyncssh.TimeoutError as error:
            raise ProvisionFailedError(f"it was not done in time; so far it said: {_text(error.stdout)}") from error
        except (asyncssh.Error, OSError) as error:
            raise ProvisionFailedError(f"the connection to {self._place.host} ended: {error}") from error


class Connecting:
    """A connection as a context: `async with Connecting(place, trust) as machine`."""

    def __init__(self, place: Address, trust: Trust) -> None:
        self._place = place
        self._trust = trust

    async def __aenter__(self) -> Machine:
        """Connect, check the machine's key, log in.

        Raises:
            HostUnfitError: Its key is not known, or another one.
            ProvisionFailedError: It cannot be reached or does not let us in.
        """
        place, trust = self._place, self._trust
        try:
            known = await self._known()
            self._connection = await asyncssh.connect(
                place.host,
                place.port,
                known_hosts=known,
                connect_timeout=_CONNECT_SECONDS,
                login_timeout=_CONNECT_SECONDS,
                keepalive_interval=15,
                **({"username": place.user} if place.user else {}),
                **({"client_keys": [trust.identity]} if trust.identity else {}),
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise HostUnfitError(await self._unknown(str(error))) from error
        except asyncssh.PermissionDenied as error:
            raise ProvisionFailedError(
                f"{place.host} does not let us in as {place.user or 'this user'}: put the key into its "
                "authorized_keys, and name it with --identity unless an agent holds it"
            ) from error
        except (asyncssh.Error, asyncssh.KeyImportError, OSError) as error:
            raise ProvisionFailedError(f"{place.host} port {place.port} cannot be reached by SSH: {error}") from error
        machine = Machine(self._connection, place)
        await machine.become_root()
        return machine

    async def __aexit__(self, *_: object) -> None:
        self._connection.close()
        await self._connection.wait_closed()

    async def _known(self) -> KnownHostsArg:
        """Return what AsyncSSH is to compare the machine's key with."""
        if self._trust.fingerprint:
            key = await self._key()
            found = key.get_fingerprint() if key else "none"
            if found != self._trust.fingerprint:
                raise HostUnfitError(
                    f"the host key of {self._place.host} has the fingerprint {found}, not "
                    f"{self._trust.fingerprint}: it is another machine, or somebody sits in between; nothing was sent"
                )
            return ([key] if key else [], [], [], [], [], [], [])
        return _known_hosts(self._trust.known_hosts)

    async def _key(self) -> asyncssh.SSHKey | None:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await asyncssh.get_server_host_key(self._place.host, self._place.port)

    async def _unknown(self, why: str) -> str:
        """Return what to say of a key that is not known, with its fingerprint to compare."""
        try:
            key = await self._key()
        except (asyncssh.Error, OSError):
            key = None
        shown = key.get_fingerprint() if key else "unknown"
        where = self._trust.known_hosts or os.path.join("~", ".ssh", "known_hosts")
        return (
            f"the host key of {self._place.host} is not trusted ({why}; {where}): compare its fingerprint {shown} with "
            "what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says on the machine itself, and if it is the same "
            f"give --host-key {shown}; nothing was sent"
        )


def _known_hosts(name: str) -> KnownHostsArg:
    """Return the file *name*, the user's own for ""; no key is known where there is no file."""
    path = pathlib.Path(name or "~/.ssh/known_hosts").expanduser()
    return str(path) if path.exists() else ([], [], [], [], [], [], [])


def _output(done: asyncssh.SSHCompletedProcess) -> str:
    if done.exit_status != 0:
        said = _text(done.stderr) or _text(done.stdout) or "nothing"
        raise ProvisionFailedError(f"the machine said: {said[-2000:]} (exit {done.exit_status})")
    return _text(done.stdout)


def _text(output: object) -> str:
    return output.decode(errors="replace").strip() if isinstance(output, bytes) else str(output or "").strip()
