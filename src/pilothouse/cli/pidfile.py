"""The lock a running server holds: proof that it lives, whatever its process id has become since."""

import fcntl
import os
import pathlib

from pilothouse.errors import ConflictError, ServerUnavailableError


class PidFile:
    """Holds an exclusive lock on *path*, which contains our process id, for as long as the context lasts.

    The file stays when the process ends; an unlocked one means nothing.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> "PidFile":
        """Take the lock.

        Raises:
            ConflictError: Another process holds it.
            ServerUnavailableError: The file cannot be written.
        """
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ServerUnavailableError(
                f"{self._path} cannot be written ({error.strerror}): run the server as root, or choose another run "
                "directory with --run or PILOTHOUSE_RUN"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 20).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise ConflictError(
                f"a server runs already in {self._path.parent} (process {holder or 'unknown'}): stop it with "
                "`pilothouse server stop`, or choose another run directory with --run"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
