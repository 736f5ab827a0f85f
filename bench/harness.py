"""What the benches share: a private engine, a platform on it, and the engine driven directly as the peer.

Not a bench itself. Every bench runs as `.venv/bin/python bench/NAME.py`, needs root, and leaves nothing behind.
"""

import concurrent.futures
import contextlib
import pathlib
import statistics
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from tests import engine as engines
from tests.platform import Platform, platform

__all__ = ["CONCURRENCY", "Direct", "Platform", "median", "nginx_image", "private_engine", "progress", "whole_platform"]

# The engine's best rate on two cores is reached with four requests at once; more gains nothing.
CONCURRENCY = 4


@contextlib.contextmanager
def private_engine():
    """Have a private Docker Engine with the test images."""
    with engines.private_docker() as host:
        yield host


@contextlib.contextmanager
def whole_platform():
    """Have a private engine and a platform on it."""
    with private_engine() as host, platform(host) as made:
        yield host, made


def median(values):
    """Return the median of *values*."""
    return statistics.median(values)


def progress(text):
    """Say where the bench is, on standard error, so that the figure stays last on standard output."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Direct:
    """The same containers through the engine's API and nothing else."""

    def __init__(self, host):
        self._host = host

    def run(self, count, body, network, workers=CONCURRENCY):
        """Create and start *count* containers on a new network, four at a time; return seconds until all run."""
        begun = time.monotonic()
        self._call("POST", "/networks/create", {"Name": network})
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda n: self._one(f"{network}-{n}", body, network), range(count)))
        return time.monotonic() - begun

    def wait_healthy(self, count, network):
        """Return when *count* containers of *network* are healthy as the engine sees it."""
        query = f'/containers/json?filters={{"name":["{network}-"],"health":["healthy"]}}'.replace('"', "%22")
        engines.until(lambda: len(self._host.request("GET", query)[1]) == count, "all healthy", 120)

    def clear(self, count, network):
        """Remove what `run` made."""
        with concurrent.futures.ThreadPoolExecutor(CONCURRENCY) as pool:
            list(pool.map(lambda n: self._call("DELETE", f"/containers/{network}-{n}?force=1&v=1"), range(count)))
        self._call("DELETE", f"/networks/{network}")

    def _one(self, name, body, network):
        whole = {**body, "HostConfig": {**body.get("HostConfig", {}), "NetworkMode": network}}
        self._call("POST", f"/containers/create?name={name}", whole)
        self._call("POST", f"/containers/{name}/start")

    def _call(self, method, path, body=None):
        status, answer = self._host.request(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer


def nginx_image(host):
    """Have the image `pilothouse/bench:nginx` on *host*, made from distribution packages once and kept in .cache."""
    archive = pathlib.Path(__file__).parent.parent / ".cache" / "bench-nginx.tar"
    if not archive.exists():
        progress("making an image with nginx out of distribution packages (about a minute, once)")
        archive.parent.mkdir(exist_ok=True)
        part = archive.with_suffix(".part.tar")
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", "--include=nginx-light", _codename(), str(part)],
            check=True,
        )
        part.rename(archive)
    status, answer = host.request(
        "POST",
        f"/images/create?fromSrc=-&repo=pilothouse/bench&tag=nginx&changes={_NGINX_RUNS}",
        archive.read_bytes(),
        "application/x-tar",
    )
    if status != 200 or "error" in str(answer).lower():
        raise RuntimeError(f"the engine did not take the image: {status} {answer}")


_NGINX_RUNS = urllib.parse.quote('CMD ["/usr/sbin/nginx","-g","daemon off;"]')


def _codename():
    release = dict(
        line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    return release["VERSION_CODENAME"].strip('"')
