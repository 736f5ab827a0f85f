"""The content of secrets and configs as files in memory, for the containers that were granted them.

Nothing here ever reaches a disk: the directory must be on a tmpfs, and that is checked again before every write. Each
task has a directory of its own that only root can enter; its containers see single files of it, read-only.
"""

import ctypes
import os
import pathlib
import shutil
from collections.abc import Collection

from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.model.base import Value
from pilothouse.model.container import FileGrant
from pilothouse.model.objects import Task
from pilothouse.model.wire import Assignment, FileContent

SECRET_MODE = 0o400
CONFIG_MODE = 0o444
SIZE_LIMIT = "64m"
_NOSUID, _NODEV, _DETACH = 2, 4, 2


class PlannedFile(Value, frozen=True, kw_only=True):
    """One file to write: where the container sees it, its content, and who may read it.

    Attributes:
        uid, gid: None is whoever the container runs as.
        mode: None is the kind's default, widened to all readers in the container if its user cannot be told.
    """

    target: str
    content: bytes
    uid: int | None
    gid: int | None
    mode: int | None
    secret: bool

    def __repr__(self) -> str:
        """Leave the content out."""
        return f"PlannedFile(target={self.target!r}, {len(self.content)} bytes)"


def plan_files(task: Task, assignment: Assignment) -> tuple[PlannedFile, ...]:
    """Return the files of *task*, in the versions it was made for.

    Raises:
        TemporaryError: The content of one is not in the assignment yet.
    """
    spec = task.spec.container
    secrets = [_file(task, g, assignment.secrets, task.secret_versions, secret=True) for g in spec.secrets]
    configs = [_file(task, g, assignment.configs, task.config_versions, secret=False) for g in spec.configs]
    return (*secrets, *configs)


def owner_of(user: str) -> tuple[int, int] | None:
    """Return (uid, gid) of a container's user if it is written in numbers; "" is root; None cannot be told."""
    name, _, group = (user or "0").partition(":")
    if not name.isdecimal() or (group and not group.isdecimal()):
        return None
    return int(name), int(group or name)


def _file(
    task: Task, grant: FileGrant, contents: tuple[FileContent, ...], versions: dict[str, str], *, secret: bool
) -> PlannedFile:
    wanted = versions.get(grant.source)
    for content in contents:
        if content.id == f"{task.app}/{grant.source}" and wanted in {None, content.version}:
            # A config belongs to root unless it says otherwise; a secret to whoever must read it.
            default = None if secret else 0
            uid = int(grant.uid) if grant.uid.isdecimal() else default
            gid = int(grant.gid) if grant.gid.isdecimal() else uid
            return PlannedFile(
                target=grant.target, content=content.content, uid=uid, gid=gid, mode=grant.mode, secret=secret
            )
    kind = "secret" if secret else "config"
    raise TemporaryError(f"the content of the {kind} {task.app}/{grant.source} is not on this node yet", 0.5)


class MemoryFiles:
    """A directory in memory with one directory for each task."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._root = directory

    def paths(self, task_id: str, files: tuple[PlannedFile, ...]) -> dict[str, str]:
        """Return where each file is or will be, by its target."""
        return {file.target: str(self._root / task_id / str(index)) for index, file in enumerate(files)}

    def write(self, task_id: str, files: tuple[PlannedFile, ...], user: str) -> None:
        """Write the files of a task whose container runs as *user*; those that are there already stay.

        Raises:
            PermanentError: There is no memory-backed directory to write to and none can be made.
        """
        self._ensure_memory()
        home = self._root / task_id
        home.mkdir(mode=0o700, exist_ok=True)
        owner = owner_of(user)
        for index, file in enumerate(files):
            default = SECRET_MODE if file.secret and (file.uid is not None or owner is not None) else CONFIG_MODE
            uid, gid = owner or (0, 0)
            self._put(
                home / str(index),
                file.content,
                default if file.mode is None else file.mode,
                uid if file.uid is None else file.uid,
                gid if file.gid is None else file.gid,
            )

    def wipe(self, task_id: str) -> None:
        """Remove the files of a task, and with the last ones the mount; none is fine."""
        if (self._root / task_id).is_dir():
            shutil.rmtree(self._root / task_id, ignore_errors=True)
            if not any(self._root.iterdir()):
                self.close()

    def sweep(self, keep: Collection[str]) -> None:
        """Remove the files of every task that is not in *keep*."""
        if self._root.is_dir():
            for home in self._root.iterdir():
                if home.name not in keep:
                    shutil.rmtree(home, ignore_errors=True)

    def close(self) -> None:
        """Let go of a mount that was made here, by this process or one that was killed; containers keep their files."""
        if self._made_here():
            _libc().umount2(os.fsencode(self._root), _DETACH)

    def _made_here(self) -> bool:
        # A mount of ours is named after its own place; one that an administrator made is left alone.
        where = os.fsdecode(os.path.realpath(self._root))
        return any(source == str(self._root) and place == where for source, place, _, _ in _mounts())

    def _ensure_memory(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._suits():
            self._mount()
        if not in_memory(self._root):
            raise PermanentError(
                f"{self._root} is not in memory, and secrets are never written to a disk: let the runtime directory be "
                "on a tmpfs, or run the server as root so that it can mount one"
            )
        self._root.chmod(0o700)

    def _suits(self) -> bool:
        found = mount_of(self._root)
        # A config may be a script; on a mount that forbids running files its container could not start it.
        return found is not None and found[0] == "tmpfs" and "noexec" not in found[1]

    def _mount(self) -> None:
        libc = _libc()
        where = os.fsencode(self._root)
        # Kernels before 6.4 do not know noswap.
        for options in (f"mode=0700,size={SIZE_LIMIT},noswap", f"mode=0700,size={SIZE_LIMIT}"):
            if libc.mount(where, where, b"tmpfs", _NOSUID | _NODEV, options.encode()) == 0:
                return

    def _put(self, path: pathlib.Path, content: bytes, mode: int, uid: int, gid: int) -> None:
        made = path.with_suffix(".new")
        if path.exists() and path.read_bytes() == content:
            made = path
        else:
            made.unlink(missing_ok=True)
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        if (os.stat(made).st_uid, os.stat(made).st_gid) != (uid, gid):
            os.chown(made, uid, gid)
        made.chmod(mode)
        made.replace(path)


def in_memory(path: pathlib.Path) -> bool:
    """Return whether *path* is on a file system that has no disk under it."""
    found = mount_of(path)
    return found is not None and found[0] in {"tmpfs", "ramfs"}


def mount_of(path: pathlib.Path) -> tuple[str, tuple[str, ...]] | None:
    """Return the type and the options of the file system *path* is on."""
    real = os.path.realpath(path)
    best: tuple[int, str, tuple[str, ...]] | None = None
    for _, where, kind, options in _mounts():
        # Of two mounts on one place the later hides the earlier.
        top = where.rstrip("/")
        if (real == top or real.startswith(top + "/")) and (best is None or len(top) >= best[0]):
            best = (len(top), kind, options)
    return best[1:] if best else None


def _mounts() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Return (source, place, type, options) of every mount, in the order they were made."""
    lines = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    fields = [[each.replace("\\040", " ") for each in line.split(" ")] for line in lines]
    return [(source, place, kind, tuple(options.split(","))) for source, place, kind, options, *_ in fields]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
