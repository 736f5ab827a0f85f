"""Secrets and configs: which files a container is granted, and the content the client reads for them."""

import posixpath
from collections.abc import Callable, Mapping

from pilothouse.compose import quantities
from pilothouse.compose.reader import Reader
from pilothouse.model.container import FileGrant
from pilothouse.model.spec import FileSpec

MAX_BYTES = 2**20
SECRETS_DIRECTORY = "/run/secrets"


def grants(service: Reader, key: str) -> tuple[FileGrant, ...]:
    """Return the files of *service* under *key* ("secrets" or "configs") with absolute targets."""
    base = SECRETS_DIRECTORY if key == "secrets" else "/"
    found = []
    for entry in service.children(key):
        source = entry.text("source")
        if not source:
            entry.error("source", f"is needed; write a name from the top-level {key}")
        target = posixpath.normpath(posixpath.join(base, entry.text("target") or source))
        found.append(
            FileGrant(
                source=source,
                target=target,
                uid=entry.text("uid"),
                gid=entry.text("gid"),
                mode=entry.parsed("mode", quantities.permission),
            )
        )
    return tuple(found)


def contents(
    project: Reader,
    key: str,
    app: str,
    read_file: Callable[[str], bytes],
    environment: Mapping[str, str],
) -> tuple[tuple[FileSpec, ...], dict[str, bytes]]:
    """Return what the top-level *key* defines, and the content of everything that is not external."""
    specs = []
    held: dict[str, bytes] = {}
    for name, entry in project.entries(key):
        external = entry.flag("external")
        for unsupported in ("driver", "driver_opts", "template_driver"):
            entry.refuse(unsupported, "is not supported; use file, environment or external")
        specs.append(
            FileSpec(
                key=name,
                name=entry.text("name") or (name if external else f"{app}_{name}"),
                external=external,
                labels=entry.pairs("labels"),
            )
        )
        found = _content(entry, read_file, environment)
        if external:
            continue
        if found is None:
            ways = "file or environment" if key == "secrets" else "file, environment or content"
            entry.error("", f"has no content; write {ways}, or external: true if it exists already")
        elif len(found) > MAX_BYTES:
            entry.error("", f"is {len(found):,} bytes; at most {MAX_BYTES:,} can be given, use a volume for more")
        else:
            held[name] = found
    return tuple(specs), held


def _content(entry: Reader, read_file: Callable[[str], bytes], environment: Mapping[str, str]) -> bytes | None:
    """Return the content, an empty one after a finding, or None if no source is written."""
    path, variable, text = entry.text("file"), entry.text("environment"), entry.raw("content")
    if path:
        try:
            return read_file(path)
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or str(problem)
            entry.error("file", f"{path} cannot be read ({reason}); create it or name another file")
            return b""
    if text is not None:
        return entry.text("content").encode()
    if variable:
        if variable not in environment:
            entry.error("environment", f"the variable {variable} is not set; set it, or use file")
        return environment.get(variable, "").encode(errors="surrogateescape")
    return None
