"""What can be wrong with a machine besides its cable: a clock that jumps, a disk that is small and gets full."""

import contextlib
import pathlib
import subprocess

_LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class Clock:
    """The time of day as some processes of *host* see it; clocks that count from the start of the machine stay right.

    Attributes:
        environment: What a process needs to see it.
    """

    def __init__(self, host):
        self._file = pathlib.Path(host.directory, "clock")
        self.environment = {
            "LD_PRELOAD": _LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.jump(0)

    def jump(self, seconds):
        """Be so many seconds ahead of the right time from now on, behind if negative."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}s\n")
        part.rename(self._file)


class Disk:
    """A file system of its own at *path* in *host*, of so many MiB; what was at *path* is on it."""

    def __init__(self, host, path, mib):
        self._host = host
        self._path = path
        image = pathlib.Path(host.directory, f"disk{path.replace('/', '-')}.img")
        with image.open("wb") as file:
            file.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-F", image], check=True)
        host.run("mount", "-o", "loop", image, "/mnt")
        host.run("cp", "-a", f"{path}/.", "/mnt")
        host.run("umount", "/mnt")
        host.run("mount", "-o", "loop", image, path)

    def fill(self, leave_kib=0):
        """Leave no more than so much room."""
        free = int(self._host.run("df", "-Pk", self._path).stdout.split()[10]) - leave_kib
        self._host.run("fallocate", "-l", f"{max(4, free)}K", f"{self._path}/.full", check=False)

    def free(self):
        """Give the room back."""
        self._host.run("rm", "-f", f"{self._path}/.full")

    def close(self):
        """Take the file system away, if the host still has power."""
        if self._host.on:
            self._host.run("umount", "-l", self._path)


@contextlib.contextmanager
def small_disk(host, path, mib=64):
    """Have a small disk in *host* at *path*; nothing may use *path* before it is made, and when it is taken away."""
    made = Disk(host, path, mib)
    try:
        yield made
    finally:
        made.close()
