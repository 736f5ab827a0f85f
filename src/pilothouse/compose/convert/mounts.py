"""What is mounted into a container: `volumes` in all their types, and `tmpfs`."""

import posixpath

from pilothouse.compose import quantities
from pilothouse.compose.reader import Reader
from pilothouse.model.container import Mount, MountKind

_KINDS = {kind.value: kind for kind in MountKind}
_ELSEWHERE = {
    "npipe": "is a Windows pipe and cannot be mounted here; remove it",
    "cluster": "is a Swarm cluster volume, which is not supported; use a named volume of type volume",
}
# What every tmpfs has anyway.
_TMPFS_GIVEN = frozenset({"rw", "noexec", "nosuid", "nodev"})
_ODD_MODES = frozenset({1777, 777, 1770, 770, 1755, 755, 1750, 750, 1700, 700})


def mounts(service: Reader) -> tuple[Mount, ...]:
    """Return every mount of *service*, those of `volumes` first."""
    found = [_mount(entry) for entry in service.children("volumes")]
    found += [_short_tmpfs(service, index, line) for index, line in enumerate(service.texts("tmpfs"))]
    return tuple(mount for mount in found if mount is not None)


def _mount(entry: Reader) -> Mount | None:
    written = entry.text("type", "volume")
    entry.ignore("consistency")
    bind, volume, tmpfs, image = (entry.child(name) for name in ("bind", "volume", "tmpfs", "image"))
    source, target = entry.text("source"), entry.text("target")
    read_only, propagation, selinux = entry.flag("read_only"), bind.text("propagation"), bind.text("selinux")
    # Absent means no when the long form is written; the loader fills in true for the short form.
    create = bind.flag("create_host_path")
    bind.refuse("recursive", "is not supported; remove it: nested mounts of the host come along as the engine decides")
    nocopy, subpath = volume.flag("nocopy"), volume.text("subpath") or image.text("subpath")
    if volume.has("labels"):
        volume.warn("labels", "are ignored; write them at the volume under the top-level volumes")
        volume.ignore("labels")
        volume.pairs("labels")
    size, mode = tmpfs.byte_count("size"), _tmpfs_mode(tmpfs)
    if written not in _KINDS:
        entry.error(
            "type", f"{written!r} " + _ELSEWHERE.get(written, "is not known; write volume, bind, tmpfs or image")
        )
        return None
    kind = _KINDS[written]
    if not target:
        entry.error("target", "is needed; write the absolute path in the container")
    if kind in {MountKind.BIND, MountKind.IMAGE} and not source:
        entry.error("source", f"is needed for a mount of type {written}")
    return Mount(
        kind=kind,
        target=_clean(target),
        source="" if kind is MountKind.TMPFS else source,
        read_only=read_only,
        nocopy=nocopy,
        subpath=subpath,
        propagation=propagation,
        create_host_path=create if kind is MountKind.BIND else True,
        selinux=selinux,
        size_bytes=size,
        mode=mode,
    )


def _tmpfs_mode(tmpfs: Reader) -> int | None:
    """Return the mode, a plain number in the loaded model: 1023 is what `01777` was read as."""
    mode = tmpfs.integer("mode")
    if mode in _ODD_MODES:
        tmpfs.warn("mode", f"{mode} is read as a decimal number, {oct(mode)}; write 0o{mode} if that was meant")
    return mode


def _short_tmpfs(service: Reader, index: int, line: str) -> Mount:
    target, _, options = line.partition(":")
    size = mode = None
    read_only = False
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        try:
            if name == "size":
                size = quantities.byte_count(value)
            elif name == "mode":
                mode = quantities.permission(value)
            elif name == "ro":
                read_only = True
            elif name not in _TMPFS_GIVEN:
                service.error(
                    f"tmpfs[{index}]", f"option {option!r} is not supported; only size=, mode=, ro and rw are"
                )
        except ValueError as problem:
            service.error(f"tmpfs[{index}]", str(problem))
    return Mount(kind=MountKind.TMPFS, target=_clean(target), read_only=read_only, size_bytes=size, mode=mode)


def _clean(target: str) -> str:
    return posixpath.normpath(target) if target else ""
