"""A whole Pilothouse on a private engine: the real command, the real server process, the real engine.

The server and every command run as subprocesses inside the engine's network namespace, as a user would run them on a
host of their own. Used by the end-to-end scenarios and by the benches.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from pilothouse.agent.proxy.binary import find_binary
from pilothouse.agent.proxy.process import Process
from pilothouse.clock import SystemClock
from tests.engine import _UnixConnection, until

ROOT = pathlib.Path(__file__).parent.parent


def exchange(path_of_socket, method, path, body=None, seconds=None):
    """Return (status, headers in lower case, decoded answer) of one call of the API that listens on a Unix socket.

    Args:
        seconds: How long any step of it may take; None is the connection's own.
    """
    connection = _UnixConnection(path_of_socket)
    if seconds is not None:
        connection.timeout = seconds
    try:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Host": "localhost"} | ({"Content-Type": "application/json"} if data else {})
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}, json.loads(text or "null")


def call(path_of_socket, method, path, body=None):
    """Return (status, decoded answer) of one call of the API that listens on a Unix socket."""
    status, _, answer = exchange(path_of_socket, method, path, body)
    return status, answer


class Platform:
    """One server on one private engine, with directories of its own."""

    def __init__(self, host):
        self.host = host
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ph-platform-"))
        # As /run is: the proxy's user has to pass.
        self.directory.chmod(0o711)
        host.proxies.append(self.directory / "run" / "proxy")
        self.socket = self.directory / "run" / "api.sock"
        self.environment = {
            **{
                key: os.environ[key]
                for key in ("PATH", "LANG", "PYTHONPATH", "PYTHONPYCACHEPREFIX")
                if key in os.environ
            },
            "HOME": str(self.directory),
            "PYTHONPATH": str(ROOT / "src"),
            "PILOTHOUSE_DATA": str(self.directory / "data"),
            "PILOTHOUSE_RUN": str(self.directory / "run"),
            "PILOTHOUSE_SOCKET": str(self.socket),
            "PILOTHOUSE_ENGINE": host.url,
            "DOCKER_HOST": host.url,
        }
        self._server = None

    @property
    def pid(self):
        """The server's process id."""
        return self._server.pid

    @property
    def log(self):
        """The file the server's log goes to."""
        return self.directory / "server.log"

    def start(self):
        """Start the server and wait until its API answers."""
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "TERM",
                    *self.host.enter(sys.executable, "-m", "pilothouse", "server", "run"),
                ],
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        until(self._answers, f"the server answers; its log ends with: {self._log_tail}")

    def stop(self):
        """Ask the server to end and wait until it has; its containers run on."""
        self._server.send_signal(signal.SIGTERM)
        self._server.wait(30)

    def kill(self):
        """Kill the server as a crash would."""
        self._server.kill()
        self._server.wait()

    def command(self, *arguments, check=True, directory=None, environment=None):
        """Run one `pilothouse` command to its end and return it as subprocess.run does."""
        done = subprocess.run(
            self.host.enter(sys.executable, "-m", "pilothouse", *arguments),
            capture_output=True,
            text=True,
            env={**self.environment, **(environment or {})},
            cwd=directory or self.directory,
            stdin=subprocess.DEVNULL,
            timeout=300,
        )
        assert not check or done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def begin(self, *arguments, environment=None):
        """Start one `pilothouse` command and return its process; the caller waits for it."""
        # Whoever started the tests may have had them ignore interrupts; a user's shell does not.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "pilothouse", *arguments]
        return subprocess.Popen(
            self.host.enter(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self.environment, **(environment or {})},
            cwd=self.directory,
        )

    def manifest(self, text, name="compose.yaml"):
        """Write *text* as a manifest into the platform's directory and return its path."""
        path = self.directory / name
        path.write_text(text)
        return path

    def up(self, path, *arguments, **options):
        """Deploy the manifest at *path* and return the finished command."""
        return self.command("up", "-f", path, *arguments, **options)

    def api(self, method, path, body=None):
        """Return (status, decoded answer) of one call of the server's API."""
        return call(self.socket, method, path, body)

    def tasks(self, app, *, everything=False):
        """Return the TaskViews of *app*: the live ones, or with *everything* the dead ones too."""
        status, page = self.api("GET", f"/v1/tasks?app={app}&all={str(everything).lower()}&limit=1000")
        assert status == 200, page
        return page["items"]

    def close(self):
        """Stop the server and its proxy and remove its directories; return mounts it left, after removing them."""
        if self._server is not None and self._server.poll() is None:
            self.stop()
        # The proxy goes on for apps that are still up, as it should; here nobody is left to serve.
        proxy = Process(self.directory / "run" / "proxy", find_binary(os.environ), SystemClock())
        for running in proxy.find():
            asyncio.run(proxy.end(running))
        self.host.proxies.remove(self.directory / "run" / "proxy")
        left = []
        for line in reversed(pathlib.Path("/proc/mounts").read_text().splitlines()):
            where = line.split(" ")[1]
            if where.startswith(str(self.directory)):
                left.append(f"mount {where}")
                subprocess.run(["umount", "-l", where], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
        return left

    def _answers(self):
        assert self._server.poll() is None, f"the server ended: {self._log_tail()}"
        with contextlib.suppress(OSError):
            return self.api("GET", "/v1/info")[0] == 200
        return False

    def _log_tail(self):
        return self.log.read_text()[-3000:] if self.log.exists() else "(no log)"


@contextlib.contextmanager
def platform(host):
    """Have a running platform on *host*; fail at the end if it left a mount behind."""
    made = Platform(host)
    try:
        made.start()
        yield made
    finally:
        left = made.close()
    assert left == [], left


def settled(made, app, seconds=60.0):
    """Wait until *app* has converged or failed and return its AppView."""

    def view():
        status, found = made.api("GET", f"/v1/apps/{app}")
        return found if status == 200 and (found.get("converged") or found.get("failed")) else None

    return until(view, f"{app} settles", seconds)


def now():
    """Return the monotonic time in seconds, for benches."""
    return time.monotonic()
