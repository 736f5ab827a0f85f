"""Real engines for tests: a private dockerd, a private Podman service, and tiny images made from busybox.

Each engine lives in a network namespace of its own, so the host's interfaces and firewall are never touched, and in a
temporary directory; it dies with the test process. Its Unix socket can be used from anywhere. Its containers' addresses
and published ports exist only inside the namespace, so whoever must reach them goes in: a subprocess with
`host.enter(...)` (`pilothouse server` in end-to-end tests), a test with `with host.inside():`.

Fixtures: `docker_host`, `podman_host` (one per session, engine tests only) and `nothing_left_behind`.
"""

import contextlib
import ctypes
import hashlib
import http.client
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time

import pytest

from pilothouse.agent.runtime.specimens import BROKEN, DEAF, HEALTHY, HOSTILE, REPOSITORY, SLEEPER, SPARE, SPEAKER

BASE = f"{REPOSITORY}:1"
WEB = f"{REPOSITORY}:web"
ORDINARY_USER = f"{REPOSITORY}:user"
_SECOND = 1_000_000_000
_UNTIL_TERM = ["sh", "-c", "trap exit TERM; while :; do sleep 1000 & wait $!; done"]
IMAGES = {
    BASE: {"Cmd": _UNTIL_TERM},
    SLEEPER: {"Cmd": _UNTIL_TERM},
    DEAF: {"Cmd": ["sleep", "1000000"]},
    SPEAKER: {"Cmd": ["sh", "-c", "echo one; echo two; exit 3"]},
    HEALTHY: {
        "Cmd": _UNTIL_TERM,
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": _SECOND, "Timeout": 5 * _SECOND, "Retries": 2},
    },
    BROKEN: {"Cmd": ["/no/such/command"]},
    SPARE: {"Cmd": ["true"]},
    HOSTILE: {"Cmd": _UNTIL_TERM, "Labels": {"io.pilothouse.task": "somebody-else"}},
    WEB: {"Cmd": ["httpd", "-f", "-p", "80", "-h", "/www"], "ExposedPorts": {"80/tcp": {}}},
    ORDINARY_USER: {"Cmd": _UNTIL_TERM, "User": "app"},
}
DEADLINE_SECONDS = 30.0
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def until(condition, what, seconds=DEADLINE_SECONDS, every=0.02):
    """Return the first true value of *condition*, asked every 20 ms unless said otherwise; fail after *seconds*."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(every)
    return value


def busybox_file():
    """Return the program that all images are made of."""
    return pathlib.Path(shutil.which("busybox") or "/bin/busybox").read_bytes()


def root_filesystem():
    """Return the tar of a root file system that is busybox, two users and one web page."""
    busybox = pathlib.Path(shutil.which("busybox") or "/bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    files = {
        "bin/busybox": busybox.read_bytes(),
        "etc/passwd": b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n",
        "etc/group": b"root:x:0:\napp:x:1000:\n",
        "www/index.html": b"hello from busybox\n",
    }
    links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
    return tar_of(files, links, {"tmp": 0o1777, "root": 0o700})


def image_archive(images):
    """Return what `docker save` would write of *images*, a map of reference to image config, on one shared layer."""
    layer = root_filesystem()
    root = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    files, manifest = {"layer.tar": layer}, []
    for ref, config in images.items():
        environment = ["PATH=/bin"]
        whole = {"architecture": "amd64", "os": "linux", "rootfs": root, "config": {"Env": environment, **config}}
        content = json.dumps({**whole, "history": [{"created_by": ref}]}).encode()
        name = f"{hashlib.sha256(content).hexdigest()}.json"
        files[name] = content
        manifest.append({"Config": name, "RepoTags": [ref], "Layers": ["layer.tar"]})
    return tar_of({**files, "manifest.json": json.dumps(manifest).encode()}, {}, {})


def tar_of(files, links, directories):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in directories.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(entry, io.BytesIO(content))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return buffer.getvalue()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("engine", timeout=DEADLINE_SECONDS)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def held(unshare, script, environment=None, stderr=None):
    """Return a process that did *script* in the namespaces that *unshare* makes, and keeps them until it is killed."""
    # Ignoring SIGCHLD, it leaves no zombies where it is the first process of a namespace.
    shell = ["sh", "-ec", f"{script}\necho up\nexec env --ignore-signal=CHLD sleep 1000000"]
    holder = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *unshare, *shell],
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    assert holder.stdout.readline() == b"up\n", script
    holder.stdout.close()
    return holder


class EngineHost:
    """One private engine: its socket, its namespace, and the hands of an administrator on it."""

    def __init__(self, kind, command, environment=None):
        self.kind = kind
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"ph-{kind}-"))
        self.socket = self.directory / "engine.sock"
        self.cgroup = f"ph-{self.directory.name}"
        self._command = [part.format(dir=self.directory, cgroup=self.cgroup) for part in command]
        self._environment = {**os.environ, **{k: v.format(dir=self.directory) for k, v in (environment or {}).items()}}
        self._daemon = None
        self.proxies = []
        self._holder = self._hold()

    @property
    def url(self):
        """The address for DOCKER_HOST."""
        return f"unix://{self.socket}"

    @property
    def pid(self):
        """The daemon's process id."""
        return self._daemon.pid

    def _hold(self):
        """Return the process that keeps the namespace while the daemon is killed and started again."""
        return held(["unshare", "--net"], "ip link set lo up")

    def enter(self, *command):
        """Return *command* as an argument list that runs in the engine's network namespace."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *map(str, command)]

    @contextlib.contextmanager
    def inside(self):
        """Have the calling thread, and sockets it opens, in the engine's network namespace."""
        with open("/proc/thread-self/ns/net") as outside, open(f"/proc/{self._holder.pid}/ns/net") as within:
            assert _LIBC.setns(within.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert _LIBC.setns(outside.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())

    def start(self):
        """Start the daemon and wait until it answers."""
        self.launch()
        self.wait_up()

    def launch(self):
        """Start the daemon; it ends with the thread that called."""
        log = (self.directory / "log").open("ab")
        self._daemon = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *self.enter(*self._command)],
            stdout=log,
            stderr=log,
            env=self._environment,
            start_new_session=True,
        )
        log.close()

    def wait_up(self):
        """Wait until the daemon answers."""
        until(self._answers, f"{self.kind} answers; see {self.directory}/log")

    def kill(self):
        """Kill the daemon as a crash would, and wait until it is gone; containers may run on."""
        self._daemon.kill()
        self._daemon.wait()
        # Dockerd takes its containerd with it; where nobody reaps orphans its number would look alive to the next one.
        until(lambda: not any(" --config " in line for line in self._processes().values()), "containerd is gone")
        (self.directory / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def request(self, method, path, body=None, content_type="application/json"):
        """Return (status, decoded answer) of one call of the engine's API; text if it is not JSON."""
        connection = _UnixConnection(self.socket)
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": content_type} if data is not None else {})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text) if text else None
        except json.JSONDecodeError:
            return answer.status, text

    def build(self, images):
        """Make *images*: reference to image config ("Cmd", "Labels", "Healthcheck" …), all on busybox."""
        status, answer = self.request("POST", "/images/load", image_archive(images), "application/x-tar")
        assert status == 200, answer
        missing = [ref for ref in images if self.request("GET", f"/images/{ref}/json")[0] != 200]
        assert missing == [], answer

    def inventory(self):
        """Return "KIND NAME" of every container, volume and network that is not the engine's own."""
        containers = self.request("GET", "/containers/json?all=1")[1]
        volumes = self.request("GET", "/volumes")[1]["Volumes"] or []
        networks = self.request("GET", "/networks")[1]
        found = {f"container {each['Names'][0]}" for each in containers}
        found |= {f"volume {each['Name']}" for each in volumes}
        return found | {
            f"network {n['Name']}" for n in networks if n["Name"] not in {"bridge", "host", "none", "podman"}
        }

    def envoys(self):
        """Return the pids of the proxies in the engine's network namespace, which are no children of anybody."""
        here = os.stat(f"/proc/{self._holder.pid}/ns/net").st_ino
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                named = entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(b"envoy\0")
                if named and os.stat(entry / "ns/net").st_ino == here:
                    found.append(int(entry.name))
        return found

    def proxy_traces(self):
        """Return what is there of a proxy: processes, and files that tell one of a port."""
        kinds = ("*.json", "config/[er]ds-*")
        files = [str(path) for at in self.proxies for kind in kinds for path in at.glob(kind)]
        return sorted([f"process envoy {pid}" for pid in self.envoys()] + files)

    def clear(self):
        """Remove every container, volume and network, whoever made them."""
        for kind, name in (entry.split(" ", 1) for entry in sorted(self.inventory())):
            path = f"/{kind}s/{name.strip('/')}"
            self.request("DELETE", f"{path}?force=1&v=1")

    def close(self):
        """Stop everything and return what would not go by itself, as sentences; then make it go."""
        if self._daemon.poll() is None:
            self.clear()
            self._daemon.terminate()
            try:
                self._daemon.wait(DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()
        self._holder.kill()
        self._holder.wait()
        with contextlib.suppress(AssertionError):
            until(lambda: not self._processes(), "processes are gone", 5.0)
        left = [f"process {pid}: {line}" for pid, line in self._processes().items()]
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self._processes(), "killed processes are gone")
        mounts = self._mounts()
        # Both engines mount their store on itself; Podman, and a killed dockerd, leave it so. It is no sign of a leak.
        own = {f"{self.directory}/store/overlay", f"{self.directory}/data"}
        left += [f"mount {each}" for each in mounts if each not in own]
        for each in mounts:
            subprocess.run(["umount", "-l", each], check=False, capture_output=True)
        left += self._remove_cgroups()
        shutil.rmtree(self.directory, ignore_errors=True)
        return left

    def _answers(self):
        assert self._daemon.poll() is None, (self.directory / "log").read_text()[-2000:]
        try:
            return self.request("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def _processes(self):
        """Return the command line of every process that names our directory, by pid."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if str(self.directory) in line:
                        found[int(entry.name)] = line.strip()
        return found

    def _mounts(self):
        lines = pathlib.Path("/proc/mounts").read_text().splitlines()
        mounted = [line.split(" ")[1] for line in lines if str(self.directory) in line.split(" ")[1]]
        return sorted(set(mounted), reverse=True)

    def _remove_cgroups(self):
        root = pathlib.Path("/sys/fs/cgroup")
        tops = [p / self.cgroup for p in (root, *root.iterdir()) if (p / self.cgroup).is_dir()]
        left = []
        for top in tops:
            for each in sorted((p for p in (top, *top.rglob("*")) if p.is_dir()), reverse=True):
                try:
                    each.rmdir()
                except OSError as error:
                    left.append(f"cgroup {each}: {error.strerror}")
        return left


_DOCKERD = [
    "dockerd",
    "--max-download-attempts=1",
    "--data-root={dir}/data",
    "--exec-root={dir}/exec",
    "--pidfile={dir}/pid",
    "--host=unix://{dir}/engine.sock",
    "--config-file={dir}/daemon.json",
    "--bip=10.213.0.1/24",
    "--default-address-pool=base=10.214.0.0/16,size=24",
    "--cgroup-parent=/{cgroup}",
]
_PODMAN = ["podman", "--root={dir}/store", "--runroot={dir}/run", "system", "service", "--time=0"]
_CONTAINERS_CONF = """\
[containers]
default_ulimits = []
cgroup_parent = "/{cgroup}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
exit_command_delay = 1
runtime = "runc"
tmp_dir = "{dir}/tmp"
volume_path = "{dir}/volumes"
[network]
network_backend = "netavark"
network_config_dir = "{dir}/networks"
default_subnet = "10.215.0.0/24"
default_subnet_pools = [{{"base" = "10.216.0.0/16", "size" = 24}}]
"""


@contextlib.contextmanager
def engine(host, files):
    """Have *host*'s engine run with every test image; fail at the end if it left anything on the machine."""
    for name, content in files.items():
        (host.directory / name).write_text(content.format(dir=host.directory, cgroup=host.cgroup))
    try:
        host.start()
        host.build(IMAGES)
        yield host
    finally:
        left = host.close()
    assert left == [], left


def private_docker():
    """Have a dockerd of one's own, as it comes out of the package: without live restore."""
    return engine(EngineHost("docker", _DOCKERD), {"daemon.json": "{{}}"})


def private_podman():
    """Have a Podman service of one's own, on runc."""
    environment = {"CONTAINERS_CONF": "{dir}/containers.conf"}
    host = EngineHost("podman", [*_PODMAN, "unix://{dir}/engine.sock"], environment)
    return engine(host, {"containers.conf": _CONTAINERS_CONF})


@pytest.fixture(scope="session")
def docker_host():
    """A private dockerd for the whole session."""
    with private_docker() as host:
        yield host


@pytest.fixture(scope="session")
def podman_host():
    """A private Podman service for the whole session."""
    with private_podman() as host:
        yield host


@pytest.fixture
def nothing_left_behind(request):
    """Fail the test if an engine it used has a container, volume, network or proxy more than before; then remove it.

    A proxy ends by itself a moment after the last task it served.
    """
    hosts = [request.getfixturevalue(n) for n in ("docker_host", "podman_host") if n in request.fixturenames]
    before = {host: host.inventory() for host in hosts}
    yield
    left = {host.kind: sorted(host.inventory() - had) for host, had in before.items()}
    for host in hosts:
        with contextlib.suppress(AssertionError):
            until(lambda host=host: not host.proxy_traces(), "its proxy has ended", 10.0)
        left[host.kind] += host.proxy_traces()
    for host in hosts:
        if left[host.kind]:
            host.clear()
    assert not any(left.values()), left
