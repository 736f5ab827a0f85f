"""One host of the bed: its namespaces, its engine, and commands and processes in it."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys

from tests.bed.cable import NETWORK
from tests.engine import EngineHost, held, until
from tests.platform import call

ROOT = pathlib.Path(__file__).parent.parent.parent
_OWN = ("etc", "opt", "root", "usr/local", "var/lib")
"""Directories whose changes a host keeps for itself, besides /run and /var/lib/pilothouse."""
_SETUP = """\
echo "$NAME" >/proc/sys/kernel/hostname
ip link set lo up
for at in $OWN; do
    name=$(echo "$at" | tr / -)
    mkdir -p "$DISK/upper/$name" "$DISK/scratch/$name"
    mount -t overlay -o "lowerdir=/$at,upperdir=$DISK/upper/$name,workdir=$DISK/scratch/$name" overlay "/$at"
done
mkdir -p /var/lib/pilothouse
mount --bind "$DISK/state" /var/lib/pilothouse
mount --bind "$DISK/run" /run
"""
_DOCKERD = [
    "dockerd",
    "--data-root={dir}/docker",
    "--host=unix:///run/docker.sock",
    "--config-file={dir}/daemon.json",
    "--cgroup-parent=/{cgroup}",
]
_ENGINE_SETTINGS = '{"live-restore": true}'
_OURS = "ph-spawned"
_PARENT = '"$@" & wait $!'
"""Stands between nsenter and a process: nsenter stops itself with a child that is stopped, and misses its end."""
_NAMESPACES = ("net", "uts", "ipc", "pid", "mount")


class Host(EngineHost):
    """One host.

    Attributes:
        number: Its place on the cable, from 1.
        name: Its host name.
        address: Where the other hosts reach it.
    """

    def __init__(self, number, cable):
        self.number = number
        self.name = f"h{number}"
        self.address = f"{NETWORK}.{number}"
        self._cable = cable
        ranges = [f"--bip=10.{150 + number}.0.1/24", f"--default-address-pool=base=10.{200 + number}.0.0/16,size=24"]
        super().__init__("host", [*_DOCKERD, *ranges])
        self.socket = self.directory / "run" / "docker.sock"
        (self.directory / "daemon.json").write_text(_ENGINE_SETTINGS)

    # Namespaces

    def _hold(self):
        """Nothing holds a host that is switched off."""

    @property
    def on(self):
        """Whether it has power."""
        return self._holder is not None

    @property
    def init(self):
        """The process id, as this machine sees it, of the host's first process."""
        children = pathlib.Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        return int(children.read_text().split()[0])

    def enter(self, *command):
        """Return *command* as an argument list that runs in the host, in this directory."""
        flags = [f"--{each}" for each in _NAMESPACES]
        where = f"--chdir={self.directory}"
        return ["nsenter", "--target", str(self.init), *flags, "--", "env", where, *map(str, command)]

    # Power

    def boot(self):
        """Switch it on: an empty /run, its disk as it was, its engine running."""
        self.switch_on()
        self.wait_up()

    def load(self, images):
        """Wait until its engine answers, and give it the images of an archive."""
        self.wait_up()
        status, answer = self.request("POST", "/images/load", images, "application/x-tar")
        assert status == 200, answer

    def switch_on(self):
        """Switch it on and start its engine. It is switched off when the thread that called ends."""
        assert not self.on
        for each in ("run", "state"):
            (self.directory / each).mkdir(exist_ok=True)
        unshare = ["unshare", *(f"--{each}" for each in _NAMESPACES), "--propagation", "private", "--mount-proc"]
        said = {"NAME": self.name, "OWN": " ".join(_OWN), "DISK": str(self.directory)}
        with (self.directory / "power.log").open("ab") as log:
            self._holder = held([*unshare, "--kill-child"], _SETUP, said, log)
        self._cable.plug(self.number, self.init)
        self.launch()

    def launch(self):
        """Start the engine's daemon."""
        self._daemon = self.spawn("log", *self._command, environment={"PATH": os.environ["PATH"]})

    def power_cut(self):
        """End every process of the host, its engine's and its containers', at one instant."""
        os.kill(self.init, signal.SIGKILL)
        self._holder.wait()
        self._holder = None
        self._daemon.wait()
        self._cable.unplug(self.number)
        # What was in memory is gone.
        shutil.rmtree(self.directory / "run")
        left = self._remove_cgroups()
        assert left == [], left

    def kill(self):
        """Kill the engine's daemon as a crash would, and wait until it is gone; containers run on."""
        for pid in self.find("dockerd"):
            os.kill(pid, signal.SIGKILL)
        self._daemon.wait()
        # It takes its containerd with it, whose number could be somebody else's by the time the next one looks.
        self.wait_gone("containerd", "--config")
        (self.directory / "run" / "docker" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def close(self):
        """Clear the engine, switch the host off, and return what it left on this machine, as sentences."""
        if self.on:
            if self._daemon is not None and self._daemon.poll() is None:
                self.clear()
            self.power_cut()
        left = [f"mount {each}" for each in self._mounts()]
        left += [f"process {pid}: {line}" for pid, line in self._processes().items()]
        for each in self._mounts():
            subprocess.run(["umount", "-l", each], capture_output=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        return left

    # Processes

    def processes(self):
        """Return the command line of every process of the host, those in containers too, by this machine's pid."""
        if not self.on:
            return {}
        within = os.readlink(f"/proc/{self.init}/ns/pid")
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                # It may end while it is looked at.
                with contextlib.suppress(OSError):
                    inside = os.readlink(entry / "ns/pid") == within
                    if inside or f"/{self.cgroup}/" in (entry / "cgroup").read_text():
                        line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                        if f" {_OURS} " not in line:
                            found[int(entry.name)] = line.strip()
        return found

    def find(self, *words):
        """Return the pids of the host's processes whose command line has *words*, one after the other."""
        wanted = f" {' '.join(words)} "
        return [pid for pid, line in self.processes().items() if wanted in f" {line} "]

    def signal(self, sent, *words):
        """Send a signal to each process that `find` finds; fail if there is none."""
        pids = self.find(*words)
        assert pids, f"no process {words} on {self.name}"
        for pid in pids:
            os.kill(pid, sent)
        return pids

    # Pilothouse

    @property
    def environment(self):
        """What a command in the host has: nothing that would lead it away from the default places."""
        passed_on = ("PATH", "LANG", "PYTHONPYCACHEPREFIX")
        kept = {key: os.environ[key] for key in passed_on if key in os.environ}
        return {**kept, "HOME": "/root", "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}

    @property
    def api_socket(self):
        """The socket of its API, from outside."""
        return self.directory / "run" / "pilothouse" / "api.sock"

    def api(self, method, path, body=None):
        """Return (status, decoded answer) of one call of the host's own API."""
        return call(self.api_socket, method, f"/v1{path}", body)

    def run(self, *command, check=True, seconds=120, given="", environment=None):
        """Run a command in the host to its end and return it as subprocess.run does."""
        done = subprocess.run(
            self.enter(*command),
            capture_output=True,
            text=True,
            input=given,
            env={**self.environment, **(environment or {})},
            timeout=seconds,
        )
        assert not check or done.returncode == 0, (
            f"{self.name}: {command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def pilothouse(self, *arguments, **options):
        """Run one `pilothouse` command in the host to its end."""
        return self.run(sys.executable, "-m", "pilothouse", *arguments, **options)

    def spawn(self, name, *command, environment=None):
        """Start a process in the host whose output goes to the file *name*; it ends with the host at the latest."""
        with (self.directory / name).open("ab") as log:
            return subprocess.Popen(
                self.enter("sh", "-c", _PARENT, _OURS, *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environment, **(environment or {})},
                start_new_session=True,
            )

    def begin(self, *arguments, environment=None):
        """Start a `pilothouse` command that runs on, as "server run" does; its log is named after its first word."""
        command = [sys.executable, "-m", "pilothouse", *arguments]
        return self.spawn(f"{arguments[0]}.log", *command, environment=environment)

    def file(self, name, text):
        """Write a file that the host's commands find by its name, and return its path."""
        path = self.directory / name
        path.write_text(text)
        return path

    def wait_gone(self, *words, seconds=10.0):
        """Wait until no process of the host has *words* in its command line."""
        until(lambda: not self.find(*words), f"{self.name}: {' '.join(words)} has ended", seconds)
