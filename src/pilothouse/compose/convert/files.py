"""Secrets and configs: which files a container is granted, and the content the client reads for them."""

import posixpath
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

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


def build_secrets(services: Iterable[tuple[str, Reader]]) -> set[str]:
    """Return the secrets that builds use; nothing is built here."""
    found: set[str] = set()
    for _, service in services:
        build = service.raw("build")
        used = build.get("secrets") if isinstance(build, Mapping) else None
        for entry in used if isinstance(used, list) else ():
            found.add(str(entry.get("source") if isinstance(entry, Mapping) else entry))
    return found


class Sources(NamedTuple):
    """Where contents come from: files, the caller's variables, and what the loader took from variables by path."""

    read_file: Callable[[str], bytes]
    environment: Mapping[str, str]
    values: Mapping[str, str]


def contents(
    project: Reader, key: str, app: str, sources: Sources, unused: AbstractSet[str] = frozenset()
) -> tuple[tuple[FileSpec, ...], dict[str, bytes]]:
    """Return what the top-level *key* defines but *unused*, and the content of everything that is not external."""
    specs = []
    held: dict[str, bytes] = {}
    for name, entry in project.entries(key):
        if name in unused:
            entry.ignore(*entry.names())
            continue
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
        found = _content(entry, sources, sources.values.get(f"{key}.{name}"))
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


def _content(entry: Reader, sources: Sources, value: str | None) -> bytes | None:
    """Return the content, an empty one after a finding, or None if no source is written."""
    path, variable, text = entry.text("file"), entry.text("environment"), entry.raw("content")
    if path:
        return _read(entry, path, sources.read_file)
    if text is not None:
        return entry.text("content").encode()
    if not variable:
        return None
    value = sources.environment.get(variable) if value is None else value
    if value is None:
        entry.error("environment", f"the variable {variable} is not set; set it, or use file")
    return (value or "").encode(errors="surrogateescape")


def _read(entry: Reader, path: str, read_file: Callable[[str], bytes]) -> bytes:
    try:
        return read_file(path)
    except OSError as problem:
        entry.error("file", f"{path} cannot be read ({problem.strerror}); create it or name another file")
    except ValueError as problem:
        entry.error("file", str(problem))
    return b""
