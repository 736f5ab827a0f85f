"""How long the loader takes to refuse a hostile manifest: bombs, circles, deep nesting, paths out of the project.

Prints the slowest of each kind, then the slowest of all against the limit of 50 ms.

    .venv/bin/python bench/manifest_limits.py [ROUNDS]
"""

import os
import pathlib
import resource
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from tests.compose.test_limits import ESCAPES, HOSTILE

from pilothouse.compose.load import LoadOptions, load
from pilothouse.errors import InvalidManifestError

LIMIT_SECONDS = 0.050


def documents():
    for name, (content, _) in HOSTILE.items():
        yield name, content if isinstance(content, bytes) else content.encode()
    for path in ESCAPES:
        yield f"path {path}", f"services: {{a: {{image: x, env_file: [{path}]}}}}".encode()
        yield f"include {path}", f"include: [{path}]\nservices: {{a: {{image: x}}}}".encode()


def refuse(directory, content):
    """Return the seconds it takes to refuse content."""
    (directory / "compose.yaml").write_bytes(content)
    options = LoadOptions(current_directory=str(directory), project_name="p", environment={"HOME": "/"})
    start = time.perf_counter()
    try:
        load(options)
    except InvalidManifestError:
        return time.perf_counter() - start
    raise SystemExit(f"loaded, but must be refused: {content[:80]!r}")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    slowest = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        os.symlink("/", directory / "link")
        (directory / "link-to-file").symlink_to("/etc/passwd")
        refuse(directory, b"services: []")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name, content in documents():
            worst = max(refuse(directory, content) for _ in range(rounds))
            slowest = max(slowest, worst)
            print(f"{name:32} {len(content):>9} bytes   refused in {worst * 1000:6.1f} ms")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"memory grew by {grown:.1f} MiB")
    print(f"slowest refusal of {rounds} rounds, limit {LIMIT_SECONDS * 1000:.0f} ms: {slowest * 1000:.1f} ms")


if __name__ == "__main__":
    main()
