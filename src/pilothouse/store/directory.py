"""The files of a data directory: which one is what, who may use them, and how a restored one takes its place.

Blocking. Knows nothing of what stands in the store's file.
"""

import fcntl
import os
import pathlib

from pilothouse.errors import StoreCorruptError, StoreUnavailableError
from pilothouse.store import rows

FILE = "store.db"
LOCK = "store.lock"
RESTORED = "store.db.restored"
REPLACED = "store.db.replaced"
KEY = "secrets.key"
RESTORED_KEY = "secrets.key.restored"
REPLACED_KEY = "secrets.key.replaced"


def lock(directory: pathlib.Path) -> int:
    """Take the lock that one process at a time holds on *directory*; closing the descriptor gives it back.

    Raises:
        StoreUnavailableError: Another process holds it.
    """
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise StoreUnavailableError(
            f"another Pilothouse process ({holder or 'unknown'}) uses the store in {directory}; "
            "stop it with `pilothouse server stop`, or give this one a data directory of its own with --data"
        ) from None
    return descriptor


def private_file(path: pathlib.Path) -> pathlib.Path:
    """Make an empty file that nobody else can read, in place of what may be there; return its path."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return path


def sync_directory(directory: pathlib.Path) -> None:
    """Make names that were created, renamed or removed in *directory* survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def finish_restore(directory: pathlib.Path, locked: int) -> None:
    """Put a restored file in place if one is waiting, under the lock. Repeating it after a crash is safe.

    The file that was there is kept beside it, with its log, under another name.
    """
    restored = directory / RESTORED
    if not restored.exists():
        return
    mark(locked, b"")
    for suffix in ("-wal", ""):
        old = directory / (FILE + suffix)
        if old.exists():
            old.rename(directory / (REPLACED + suffix))
    (directory / (FILE + "-shm")).unlink(missing_ok=True)
    if (directory / RESTORED_KEY).exists():
        if (directory / KEY).exists():
            (directory / KEY).rename(directory / REPLACED_KEY)
        (directory / RESTORED_KEY).rename(directory / KEY)
    sync_directory(directory)
    restored.rename(directory / FILE)
    sync_directory(directory)


def mark(locked: int, text: bytes) -> None:
    """Write into the lock file who has the store open, or nothing once it is closed; durable on return."""
    os.ftruncate(locked, 0)
    os.pwrite(locked, text, 0)
    os.fsync(locked)


def check_log_is_there(path: pathlib.Path, locked: int) -> None:
    """Accept the store file at *path* unless the log that belongs to it was removed.

    Raises:
        StoreCorruptError: The last process that had it open ended without closing it, and its log is gone.
    """
    running = bool(os.pread(locked, 32, 0).strip())
    if running and path.exists() and not path.with_name(path.name + "-wal").exists():
        raise StoreCorruptError(
            f"{path.name}-wal, which held the newest changes, is missing beside {path}: the last server ended without "
            f"closing the store, and somebody removed the log. {rows.CURE}"
        )
