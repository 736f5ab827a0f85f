"""Whether a server runs, starting one, stopping it: from outside, by the lock it holds and the socket it answers on."""

import fcntl
import importlib.resources
import os
import pathlib
import select
import signal
import subprocess
import sys
from collections.abc import Callable

from pilothouse.cli import membership
from pilothouse.cli.places import Places
from pilothouse.cli.transport import Transport
from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import InvalidRequestError, PilothouseError, QuorumLostError, ServerUnavailableError
from pilothouse.model.cluster import Role

UNIT = "pilothouse.service"
AGENT_UNIT = "pilothouse-agent.service"
UNIT_DIRECTORY = pathlib.Path("/etc/systemd/system")
UNIT_PATH = UNIT_DIRECTORY / UNIT
START_SECONDS = 30.0
STOP_SECONDS = 30.0
_TICK_SECONDS = 0.05
_LOG_BYTES = 4000

Say = Callable[[str], None]


def answers(places: Places) -> bool:
    """Whether a server answers on the socket; one that says that most managers are away answers too.

    Raises:
        ServerUnavailableError: Something is there but may not be used, or does not answer in time.
    """
    try:
        Transport(places.socket, timeout_seconds=10.0).call("GET", "/healthz")
    except ServerUnavailableError as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            return False
        raise
    except QuorumLostError:
        return True
    return True


def running_pid(places: Places) -> int | None:
    """Return the process id of the server that holds the lock on the pid file, or None if none does."""
    try:
        descriptor = os.open(places.pid_file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 20).decode(errors="replace").strip()
        return int(text) if text.isdigit() else None
    else:
        return None
    finally:
        os.close(descriptor)


def ensure(places: Places, say: Say) -> None:
    """Start a server unless one answers, and say so in one line."""
    if not answers(places):
        say(start(places))


def start(places: Places) -> str:
    """Start a server, wait until it answers, and return one line that says how it was started.

    Raises:
        ServerUnavailableError: It did not come up; the message has the end of its log.
    """
    check_serves(places)
    pid = running_pid(places)
    if pid is not None:
        # It holds the lock and does not answer yet: somebody else is starting it, or it is ending.
        if _wait_answering(places, lambda: running_pid(places) is not None):
            return f"the server runs (process {pid})"
        return start(places)
    return start_unit() if has_systemd(places) else _start_background(places)


def stop(places: Places, seconds: float = STOP_SECONDS) -> int | None:
    """Stop the server and wait until it has ended; its containers run on.

    Returns:
        The process id it had, or None if none ran.

    Raises:
        ServerUnavailableError: It did not end in *seconds*, or may not be signalled by this user.
    """
    pid = running_pid(places)
    if pid is None:
        return None
    if has_systemd(places):
        for unit in (UNIT, AGENT_UNIT):
            if _unit_pid(unit) == pid:
                _systemctl("stop", unit)
                return pid
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return pid
    try:
        # The lock is looked at again while the handle pins the process: it cannot be somebody else's by now.
        if running_pid(places) == pid:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        if not waiting.poll(seconds * 1000):
            raise ServerUnavailableError(
                f"the server (process {pid}) has not ended after {seconds:g} s; its log ends with:\n{log_tail(places)}"
            )
    except PermissionError:
        raise ServerUnavailableError(
            f"you may not stop the server (process {pid}): run the command with sudo"
        ) from None
    finally:
        os.close(handle)
    return pid


def log_tail(places: Places) -> str:
    """Return the end of the log of a server in the background, or "" if there is none."""
    try:
        with places.log_file.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _LOG_BYTES))
            return log.read().decode(errors="replace").strip()
    except OSError:
        return ""


def _start_background(places: Places) -> str:
    process = spawn(places, "server", "run")

    def alive() -> bool:
        try:
            process.wait(_TICK_SECONDS)
        except subprocess.TimeoutExpired:
            return True
        # It ended; unless that was because another one is being started right now, nothing will come.
        return running_pid(places) is not None

    if not _wait_answering(places, alive):
        raise ServerUnavailableError(f"the server did not start; its log ends with:\n{log_tail(places)}")
    return f"started the server (process {process.pid}, log {places.log_file})"


def spawn(places: Places, *words: str) -> "subprocess.Popen[bytes]":
    """Start `pilothouse WORDS` in the background, logging to the log file, and return its process.

    Raises:
        ServerUnavailableError: The directories cannot be written.
    """
    command = [sys.executable, "-m", "pilothouse", "--socket", places.socket, *words]
    command += ["--data", places.data, "--run", places.run]
    try:
        os.makedirs(places.run, mode=0o755, exist_ok=True)
        log = places.log_file.open("ab")
    except OSError as error:
        raise ServerUnavailableError(
            f"no {words[0]} runs, and none can be started: {error.filename}: {error.strerror}; run the command with "
            "sudo, or choose directories with PILOTHOUSE_DATA and PILOTHOUSE_RUN"
        ) from error
    with log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
        )


def _wait_answering(places: Places, alive: Callable[[], bool], clock: Clock | None = None) -> bool:
    """Wait until the server answers; return False once *alive*, which takes a moment to tell, says it will not."""
    clock = clock or SystemClock()
    end = clock.monotonic() + START_SECONDS
    while clock.monotonic() < end:
        if answers(places):
            return True
        if not alive():
            return answers(places)
    return False


def check_serves(places: Places) -> None:
    """Accept a machine that runs a server.

    Raises:
        InvalidRequestError: It is an agent of a cluster.
    """
    known = membership.load(places.data)
    if known is not None and known.role is Role.AGENT:
        managers = ", ".join(known.managers)
        raise InvalidRequestError(
            f"this machine is an agent ({known.node_id}) of a cluster and runs no server: run the command on a manager "
            f"({managers}), or start the agent with `pilothouse agent start`"
        )


def has_systemd(places: Places) -> bool:
    """Whether this is a server for systemd: it runs this machine, we may tell it, and nothing is unusual."""
    special = {"PILOTHOUSE_ENGINE", "DOCKER_HOST"} & set(os.environ)
    return places.default and not special and os.geteuid() == 0 and os.path.isdir("/run/systemd/system")


def unit_text(executable: str, unit: str = UNIT) -> str:
    """Return the unit that runs *executable*; a path with blanks or percent signs is written as systemd wants it."""
    text = importlib.resources.files("pilothouse.cli").joinpath("units", unit).read_text()
    quoted = '"' + executable.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text.replace("ExecStart=/usr/bin/pilothouse ", f"ExecStart={quoted} -m pilothouse ")


def start_unit(unit: str = UNIT) -> str:
    """Have systemd run *unit* now and at boot, and return one line about it."""
    path = UNIT_DIRECTORY / unit
    if not path.exists():
        path.write_text(unit_text(sys.executable, unit))
        _systemctl("daemon-reload")
    other = UNIT if unit == AGENT_UNIT else AGENT_UNIT
    if (UNIT_DIRECTORY / other).exists():
        # A machine runs either; which one it is changes when it becomes a manager.
        _systemctl("disable", other)
    # The unit is of type notify: this returns once the server answers, or has failed.
    _systemctl("enable", "--now", unit)
    return f"started the server (systemd unit {unit})"


def _unit_pid(unit: str) -> int:
    shown = subprocess.run(
        ["systemctl", "show", "--property=MainPID", "--value", unit], capture_output=True, text=True, check=False
    )
    return int(shown.stdout.strip() or 0)


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerUnavailableError(
            f"systemctl {' '.join(arguments)}: {done.stderr.strip() or done.returncode}; see `journalctl -u {UNIT}`"
        )


def owned_by_systemd(places: Places) -> bool:
    """Whether the server's log is in the journal."""
    return has_systemd(places) and UNIT_PATH.exists()


def state(places: Places) -> tuple[int | None, PilothouseError | None]:
    """Return the pid of the server, None if none runs, and why it does not answer, None if it does."""
    pid = running_pid(places)
    try:
        if answers(places):
            return pid, None
        return pid, ServerUnavailableError(f"no server answers at {places.socket}")
    except ServerUnavailableError as error:
        return pid, error
