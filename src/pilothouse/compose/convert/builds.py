"""What a person runs to build the images of `build:` sections: nothing is built here, so an image that is missing must
say how it comes to be."""

import shlex
from collections.abc import Iterable, Mapping

from pilothouse.compose.reader import Reader

_PLAIN = frozenset({"context", "dockerfile", "target", "args"})
"""The keys of a build that the engine's own command takes as they are."""


def commands(app: str, services: Iterable[tuple[str, Reader]]) -> dict[str, str]:
    """Return the command that builds each image with a `build:` section, by the image's reference."""
    found: dict[str, str] = {}
    for name, service in services:
        build = service.raw("build")
        if isinstance(build, Mapping):
            image = service.raw("image")
            ref = image if isinstance(image, str) and image else f"{app}-{name}"
            found[ref] = _command(name, ref, build)
    return found


def _command(service: str, ref: str, build: Mapping[object, object]) -> str:
    if {str(key) for key, value in build.items() if value} - _PLAIN:
        return f"docker compose build {shlex.quote(service)}"
    context = str(build.get("context", "."))
    words = ["docker", "build", "-t", ref]
    dockerfile = str(build.get("dockerfile", "Dockerfile"))
    if dockerfile != "Dockerfile":
        words += ["-f", dockerfile if dockerfile.startswith("/") else f"{context.rstrip('/')}/{dockerfile}"]
    if build.get("target"):
        words += ["--target", str(build["target"])]
    arguments = build.get("args")
    for key, value in arguments.items() if isinstance(arguments, Mapping) else ():
        words += ["--build-arg", str(key) if value is None else f"{key}={value}"]
    return shlex.join([*words, context])
