"""Where things are on this machine: data, sockets, logs, the engine. Decided from options and the environment, once."""

import os
import pathlib
from collections.abc import Mapping

from pilothouse.errors import InvalidRequestError
from pilothouse.model.base import Value

DEFAULT_DATA = "/var/lib/pilothouse"
DEFAULT_RUN = "/run/pilothouse"
_ENGINES = ("/var/run/docker.sock", "/run/podman/podman.sock")

MANIFESTS = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
"""The loader's own names (`compose.discover.NAMES`), known here so that looking for a file imports no loader."""


class Places(Value, frozen=True, kw_only=True):
    """Absolute paths.

    Attributes:
        data: What must survive: the store, keys, secrets' seal, the archive of logs.
        run: What may vanish with a reboot: sockets, the pid file, the log of a server in the background.
        socket: The API's Unix socket.
    """

    data: str
    run: str
    socket: str

    @property
    def default(self) -> bool:
        """Whether these are the places a system service uses."""
        return (self.data, self.run, self.socket) == (DEFAULT_DATA, DEFAULT_RUN, f"{DEFAULT_RUN}/api.sock")

    @property
    def pid_file(self) -> pathlib.Path:
        """The file a running server holds a lock on; it contains its process id."""
        return pathlib.Path(self.run, "server.pid")

    @property
    def log_file(self) -> pathlib.Path:
        """Where a server in the background writes its log."""
        return pathlib.Path(self.run, "server.log")


def places(
    environment: Mapping[str, str], *, data: str | None = None, run: str | None = None, socket: str | None = None
) -> Places:
    """Return the places that options and *environment* name; an option wins over a variable over the default."""
    run = run or environment.get("PILOTHOUSE_RUN") or DEFAULT_RUN
    socket = socket or environment.get("PILOTHOUSE_SOCKET") or f"{run}/api.sock"
    data = data or environment.get("PILOTHOUSE_DATA") or DEFAULT_DATA
    return Places(data=os.path.abspath(data), run=os.path.abspath(run), socket=os.path.abspath(socket))


class TcpPlace(Value, frozen=True, kw_only=True):
    """Where the API listens beside its Unix socket; absolute paths of PEM files and of the token's file."""

    host: str
    port: int
    certificate: str
    key: str
    token_file: str


def tcp_place(address: str | None, certificate: str | None, key: str | None, token_file: str | None) -> TcpPlace | None:
    """Return where to listen on TCP, or None if nothing was asked for.

    Raises:
        InvalidRequestError: Only a part of it was given, or the address is not HOST:PORT.
    """
    given = {"--tcp": address, "--tls-certificate": certificate, "--tls-key": key, "--token-file": token_file}
    if not any(given.values()):
        return None
    if not (address and certificate and key and token_file):
        missing = ", ".join(name for name, value in given.items() if not value)
        raise InvalidRequestError(f"the API is served over TCP only with TLS and a token; give {missing} as well")
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise InvalidRequestError(
            f"--tcp {address[:80]!r} is not HOST:PORT; write for example 10.0.0.5:7443 or [::1]:7443"
        )
    paths = (os.path.abspath(each) for each in (certificate, key, token_file))
    return TcpPlace(
        host=host.strip("[]"), port=int(port), **dict(zip(("certificate", "key", "token_file"), paths, strict=True))
    )


def token_file(environment: Mapping[str, str]) -> pathlib.Path | None:
    """Return the file with the token of requests over TCP, if there is to be one."""
    named = environment.get("PILOTHOUSE_TOKEN_FILE")
    return pathlib.Path(os.path.abspath(named)) if named else None


def manifest_above(directory: str) -> bool:
    """Whether there is a Compose file in *directory* or above it."""
    while True:
        if any(os.path.isfile(os.path.join(directory, name)) for name in MANIFESTS):
            return True
        above = os.path.dirname(directory)
        if above == directory:
            return False
        directory = above


def engine_socket(environment: Mapping[str, str]) -> str:
    """Return the path of the container engine's socket: PILOTHOUSE_ENGINE, DOCKER_HOST, Docker's, else Podman's."""
    named = environment.get("PILOTHOUSE_ENGINE") or environment.get("DOCKER_HOST") or ""
    if named:
        return named.removeprefix("unix://")
    return next((path for path in _ENGINES if os.path.exists(path)), _ENGINES[0])
