"""What is mounted into a container, and the files it is granted: sources must exist, targets must not meet."""

import re
from collections.abc import Iterator

from pilothouse.model.container import ContainerSpec, FileGrant, Mount, MountKind
from pilothouse.model.validate.grammar import Finding, absolute, image, one_of, within

_PROPAGATIONS = frozenset({"", "private", "rprivate", "shared", "rshared", "slave", "rslave"})
_SELINUX = frozenset({"", "z", "Z"})
_ID = re.compile(r"[0-9]{0,10}\Z", re.ASCII)
LARGEST_ID = 2**32 - 2
LARGEST_TMPFS = 2**50


def mounts(path: str, container: ContainerSpec, volumes: frozenset[str]) -> Iterator[Finding]:
    """Yield what is wrong with the mounts, and every target that is used twice."""
    seen: dict[str, str] = {}
    for index, mount in enumerate(container.mounts):
        where = f"{path}.volumes[{index}]"
        yield from absolute(f"{where}.target", mount.target)
        yield from _source(where, mount, volumes)
        yield from _options(where, mount)
        yield from _once(f"{where}.target", mount.target, seen)
    for place, grants in (("secrets", container.secrets), ("configs", container.configs)):
        for index, grant in enumerate(grants):
            yield from _once(f"{path}.{place}[{index}].target", grant.target, seen)


def granted(path: str, container: ContainerSpec, secrets: frozenset[str], configs: frozenset[str]) -> Iterator[Finding]:
    """Yield what is wrong with the secrets and configs."""
    for place, grants, known in (("secrets", container.secrets, secrets), ("configs", container.configs, configs)):
        for index, grant in enumerate(grants):
            where = f"{path}.{place}[{index}]"
            if grant.source not in known:
                message = f"there is no {place.removesuffix('s')} {grant.source[:80]!r}; define it under {place}"
                yield f"{where}.source", message
            yield from absolute(f"{where}.target", grant.target)
            yield from _owner(where, grant)


def _owner(where: str, grant: FileGrant) -> Iterator[Finding]:
    for key, value in (("uid", grant.uid), ("gid", grant.gid)):
        if not _ID.match(value) or int(value or 0) > LARGEST_ID:
            yield f"{where}.{key}", f"{value[:80]!r} must be a number such as 1000: names are known in the image only"
    if grant.mode is not None:
        yield from within(f"{where}.mode", grant.mode, 0, 0o7777)


def _once(path: str, target: str, seen: dict[str, str]) -> Iterator[Finding]:
    place = target.rstrip("/")
    if place in seen:
        yield path, f"{target[:80]!r} is also that of {seen[place]}; mount one thing there"
    seen.setdefault(place, path.removesuffix(".target"))


def _source(where: str, mount: Mount, volumes: frozenset[str]) -> Iterator[Finding]:
    path = f"{where}.source"
    if mount.kind is MountKind.VOLUME and mount.source and mount.source not in volumes:
        yield path, f"there is no volume {mount.source[:80]!r}; define it under the top-level volumes"
    if mount.kind is MountKind.BIND and (not mount.source.startswith("/") or ".." in mount.source.split("/")):
        yield path, f"{mount.source[:80]!r} must be an absolute path without '..'"
    if mount.kind is MountKind.IMAGE:
        yield from image(path, mount.source)
    if mount.kind is MountKind.TMPFS and mount.source:
        yield path, "a tmpfs has no source; remove it"


def _options(where: str, mount: Mount) -> Iterator[Finding]:
    yield from one_of(f"{where}.bind.propagation", mount.propagation, _PROPAGATIONS)
    yield from one_of(f"{where}.bind.selinux", mount.selinux, _SELINUX)
    if mount.subpath.startswith("/") or ".." in mount.subpath.split("/"):
        yield f"{where}.subpath", f"{mount.subpath[:80]!r} must be a relative path without '..'"
    if mount.size_bytes is not None:
        yield from within(f"{where}.tmpfs.size", mount.size_bytes, 0, LARGEST_TMPFS)
    if mount.mode is not None:
        yield from within(f"{where}.tmpfs.mode", mount.mode, 0, 0o7777)
