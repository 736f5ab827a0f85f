"""A member of the replicated store as a process of this host: started, found again, ended. It outlives the server.

What runs is told by a file in the member's directory: the pid, when that process began, and with which arguments. A pid
that was given to another program since is not taken for it. Who is a member of which cluster is `membership`'s affair.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Mapping

import msgspec

from pilothouse.clock import Clock
from pilothouse.errors import InvalidRequestError, StoreUnavailableError
from pilothouse.model.identity import SERVER_NAME
from pilothouse.processes import began
from pilothouse.store.directory import private_file, sync_directory
from pilothouse.store.etcd import revocations
from pilothouse.store.etcd.client import EtcdClient, Security, plain, read_security

VARIABLE = "PILOTHOUSE_ETCD"
MISSING = (
    "etcd, which keeps the state of several managers, is not installed: install etcd-server 3.4 or newer (3.5.28 or "
    f"newer is recommended), or set {VARIABLE} to the path of its program"
)
MAX_OPERATIONS = 8192
MAX_REQUEST_BYTES = 16 << 20
QUOTA_BYTES = 4 << 30
HEARTBEAT_MS, ELECTION_MS = 100, 1000
KEPT_HISTORY = "10m"
_LOG_BYTES = 8 << 20
_SETTINGS, _PROCESS, _LOG, _DATA = "member.json", "process.json", "etcd.log", "data"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The member's configuration file.

    Attributes:
        name: Unlike every other member's; a manager's node id.
        peer, client: "HOST:PORT" where other members and managers reach it; it listens there.
        cluster: What it is told of the members at its first start, itself included: names and peers.
        joins: The others run already and know of it; otherwise they begin together.
        cluster_name: Its id, so that members of two never mix.
        others: URLs where managers reach the other members, as last heard.
        id: Of the member, in hexadecimal, if it was let in by others; "" for one of those that began.
        authorities, certificate, key: Paths of PEM files; "" for none, which is for tests on the loopback device.
    """

    name: str
    peer: str
    client: str
    cluster: dict[str, str]
    joins: bool = False
    cluster_name: str = "pilothouse"
    others: tuple[str, ...] = ()
    id: str = ""
    authorities: str = ""
    certificate: str = ""
    key: str = ""

    def url(self, place: str) -> str:
        """Return the URL of a place, by whether there are certificates."""
        return f"https://{place}" if self.certificate else f"http://{place}"


class Running(msgspec.Struct, frozen=True):
    """One process.

    Attributes:
        began: In the kernel's ticks since the machine started.
        build: What it was made from.
        reads: What stood in the file of authorities, which etcd reads once only.
        revoked: The certificates that opened it no more by then; who shows one revoked later stays connected.
    """

    pid: int
    began: int
    build: str
    reads: str = ""
    revoked: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether it runs still, and is not another that has its pid now."""
        return began(self.pid) == self.began


def find_binary(environment: Mapping[str, str]) -> str:
    """Return the path of etcd's program, or "" if there is none; the variable wins over the search path."""
    named = environment.get(VARIABLE, "")
    if named:
        return os.path.abspath(named) if os.access(named, os.X_OK) else ""
    return shutil.which("etcd") or ""


def arguments(settings: Settings, data: pathlib.Path) -> list[str]:
    """Return what the program is started with."""
    peer, client = settings.url(settings.peer), settings.url(settings.client)
    known = ",".join(f"{name}={settings.url(place)}" for name, place in sorted(settings.cluster.items()))
    chosen = {
        "name": settings.name,
        "data-dir": str(data),
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "initial-cluster": known,
        "initial-cluster-state": "existing" if settings.joins else "new",
        "initial-cluster-token": settings.cluster_name,
        "max-txn-ops": str(MAX_OPERATIONS),
        "max-request-bytes": str(MAX_REQUEST_BYTES),
        "quota-backend-bytes": str(QUOTA_BYTES),
        "heartbeat-interval": str(HEARTBEAT_MS),
        "election-timeout": str(ELECTION_MS),
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": KEPT_HISTORY,
        "enable-grpc-gateway": "false",
        "pre-vote": "true",
        "logger": "zap",
        "log-outputs": "stderr",
    }
    if settings.certificate:
        for kind in ("", "peer-"):
            chosen[f"{kind}cert-file"] = settings.certificate
            chosen[f"{kind}key-file"] = settings.key
            chosen[f"{kind}trusted-ca-file"] = settings.authorities
            chosen[f"{kind}client-cert-auth"] = "true"
            # Agents have certificates of the same authority, and no business here.
        chosen["client-crl-file"] = chosen["peer-crl-file"] = str(data.parent / revocations.FILE)
        chosen["client-cert-allowed-hostname"] = chosen["peer-cert-allowed-hostname"] = SERVER_NAME
        # A member calls from any address of its machine; what it may do is told by the authority of its certificate.
        chosen["experimental-peer-skip-client-san-verification"] = "true"
    return [f"--{name}={value}" for name, value in chosen.items()]


class Member:
    """The member whose files are in *directory*.

    Attributes:
        directory: Made when it is configured.
        log_file: Where etcd writes; cut when it grows too long.
    """

    def __init__(self, directory: pathlib.Path, binary: str, clock: Clock) -> None:
        self.directory = directory
        self.log_file = directory / _LOG
        self._binary = binary
        self._clock = clock

    @property
    def settings(self) -> Settings | None:
        """The configuration, or None if this machine has no member.

        Raises:
            InvalidRequestError: The file cannot be read.
        """
        path = self.directory / _SETTINGS
        try:
            return msgspec.json.decode(path.read_bytes(), type=Settings)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise InvalidRequestError(f"{path} cannot be read ({error}); restore it, or remove the member") from error

    def configure(self, settings: Settings) -> None:
        """Keep the configuration; a member that runs takes it over when it is started next."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(_SETTINGS, msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n")

    @property
    def data(self) -> pathlib.Path:
        """Where etcd keeps what it keeps."""
        return self.directory / _DATA

    def find(self) -> Running | None:
        """Return the process that runs, whoever started it, or None."""
        try:
            known = msgspec.json.decode((self.directory / _PROCESS).read_bytes(), type=Running)
        except (OSError, msgspec.MsgspecError):
            return None
        return known if known.alive else None

    async def ensure(self) -> Running:
        """Have the member run with its present configuration: adopt it, start it, or start it anew.

        Raises:
            StoreUnavailableError: etcd is not installed, or does not start; the message has its last words.
        """
        settings = self.settings
        if settings is None:
            raise InvalidRequestError(f"{self.directory} holds no member's configuration")
        if not self._binary:
            raise StoreUnavailableError(MISSING)
        command = [self._binary, *arguments(settings, self.data)]
        build = hashlib.sha256("\0".join(command).encode()).hexdigest()[:16]
        running = self.find()
        self._cut_log()
        if running is not None and running.build == build:
            return running
        if running is not None:
            await self.stop()
        return self._start(command, build, settings)

    async def stop(self, grace_seconds: float = 10.0) -> None:
        """End the process: asked first, then killed; return when it is gone."""
        for what in (signal.SIGTERM, signal.SIGKILL):
            running = self.find()
            if running is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, what)
                os.kill(running.pid, signal.SIGCONT)
            until = self._clock.monotonic() + grace_seconds
            while self.find() is not None and self._clock.monotonic() < until:
                await self._clock.sleep(0.02)
        (self.directory / _PROCESS).unlink(missing_ok=True)

    async def remove(self) -> None:
        """End the process and delete what it kept."""
        await self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def last_words(self) -> str:
        """Return the end of what etcd wrote, or ""."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(max(0, self.log_file.stat().st_size - 4096))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        telling = [line for line in lines if '"fatal"' in line or '"error"' in line] or lines
        return telling[-1][:600] if telling else ""

    @property
    def outdated(self) -> bool:
        """Whether the process that runs would trust others, or have others connected, if it were started anew."""
        running, settings = self.find(), self.settings
        if running is None or settings is None or not settings.certificate:
            return False
        revoked = revocations.kept(self.directory) or frozenset()
        return running.reads != _reads(settings) or not revoked <= set(running.revoked)

    async def restart(self) -> Running:
        """End the process and start it anew; the others must be able to do without it for a moment."""
        await self.stop()
        return await self.ensure()

    def _start(self, command: list[str], build: str, settings: Settings) -> Running:
        if settings.certificate and revocations.kept(self.directory) is None:
            # Without the file etcd would refuse everybody.
            revocations.keep(self.directory, (), self._clock)
        reads, revoked = _reads(settings), tuple(sorted(revocations.kept(self.directory) or ()))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ETCD_")}
        # The shell ends at once, so the member is no child of this process and outlives it.
        began_by = subprocess.run(
            ["sh", "-c", '"$@" >>"$0" 2>&1 </dev/null & echo $!', str(self.log_file), *command],
            stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, cwd=self.directory, env=environment,
            check=False, umask=0o077,
        )  # fmt: skip
        pid = int(began_by.stdout or 0)
        began_at = began(pid) if pid else None
        if began_at is None:
            raise StoreUnavailableError(
                f"etcd cannot be started: {began_by.stderr.decode(errors='replace')[-300:] or self.last_words()}"
            )
        running = Running(pid, began_at, build, reads, revoked)
        self._write(_PROCESS, msgspec.json.encode(running))
        return running

    def _write(self, name: str, content: bytes) -> None:
        part = private_file(self.directory / f"{name}.part")
        part.write_bytes(content)
        part.rename(self.directory / name)
        sync_directory(self.directory)

    def _cut_log(self) -> None:
        with contextlib.suppress(OSError):
            if self.log_file.stat().st_size > _LOG_BYTES:
                kept = self.log_file.read_bytes()[-_LOG_BYTES // 4 :]
                # etcd appends, so it goes on at the new end.
                with self.log_file.open("r+b") as file:
                    file.truncate(0)
                with self.log_file.open("ab") as file:
                    file.write(kept)


def _reads(settings: Settings) -> str:
    """Return a digest of the authorities that a member would trust, "" if it proves nothing."""
    if not settings.certificate:
        return ""
    return hashlib.sha256(pathlib.Path(settings.authorities).read_bytes()).hexdigest()[:16]


def client_of(member: Member, clock: Clock) -> EtcdClient:
    """Return a client that asks the member of this machine first.

    Raises:
        InvalidRequestError: It is not configured.
    """
    settings = member.settings
    if settings is None:
        raise InvalidRequestError(f"{member.directory} holds no member's configuration")
    known = settings

    def security() -> Security:
        authorities, certificate, key = map(pathlib.Path, (known.authorities, known.certificate, known.key))
        return read_security(authorities, certificate, key, SERVER_NAME)

    endpoints = [known.url(known.client), *known.others]
    return EtcdClient(endpoints, clock, security if known.certificate else plain)
