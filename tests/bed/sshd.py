"""An SSH server in a host of the bed: its own keys, its own configuration, nothing of the machine's."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess

from tests.engine import until

PORT = 2222
_CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {keys}/host
AuthorizedKeysFile {keys}/authorized
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
"""


class Sshd:
    """A running server.

    Attributes:
        identity: The file with a private key that is let in.
        known_hosts: A file that knows the server's key.
        fingerprint: Of the server's key.
    """

    def __init__(self, host):
        self.host = host
        self._keys = pathlib.Path(host.directory, "ssh")
        self._keys.mkdir(exist_ok=True)
        for name in ("host", "user"):
            if not (self._keys / name).exists():
                make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", self._keys / name]
                subprocess.run(make, check=True)
        self.identity = self._keys / "user"
        (self._keys / "authorized").write_text((self._keys / "user.pub").read_text())
        self.known_hosts = self._keys / "known_hosts"
        self.known_hosts.write_text(f"[{host.address}]:{PORT} {(self._keys / 'host.pub').read_text()}")
        shown = subprocess.run(
            ["ssh-keygen", "-lf", self._keys / "host.pub"], capture_output=True, text=True, check=True
        )
        self.fingerprint = shown.stdout.split()[1]
        config = self._keys / "config"
        config.write_text(_CONFIG.format(port=PORT, address=host.address, keys=self._keys))
        host.run("mkdir", "-p", "/run/sshd")
        # Without our environment: who logs in has only what the machine gives.
        self._process = host.spawn("sshd.log", "env", "-i", "/usr/sbin/sshd", "-D", "-e", "-f", config)
        until(self._answers, "sshd listens")

    def url(self, user="root"):
        """The address for `pilothouse provision`."""
        return f"ssh://{user}@{self.host.address}:{PORT}"

    def close(self):
        """End the server; sessions under way end with it."""
        for pid in self.host.find("sshd:") + self.host.find("/usr/sbin/sshd"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self):
        assert self._process.poll() is None, (self.host.directory / "sshd.log").read_text()
        with self.host.inside(), contextlib.suppress(OSError):
            socket.create_connection((self.host.address, PORT), 1).close()
            return True
        return False


@contextlib.contextmanager
def sshd(host):
    """Have an SSH server in *host*."""
    made = Sshd(host)
    try:
        yield made
    finally:
        made.close()
