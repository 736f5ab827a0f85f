"""System calls of one process that fail or are slow, by strace: nothing of the process knows that it is watched."""

import contextlib
import pathlib
import signal
import subprocess

from tests.engine import until


class Injected:
    """What is done to a process's calls; the lines that strace wrote about those it was done to.

    Args:
        pid: Of the process, as this machine sees it; all its threads are meant.
        calls: Names of system calls.
        how: What happens to them, as strace says it: "error=EIO", "delay_enter=500ms".
        path: Only calls on this file, as the process names it.
    """

    def __init__(self, pid, log, calls, how, path=""):
        self._log = pathlib.Path(log)
        names = ",".join(calls)
        only = ["-P", path] if path else []
        command = ["strace", "-f", "-q", "-y", "-p", str(pid), "-o", log, *only]
        self._process = subprocess.Popen(
            [*command, "-e", f"trace={names}", "-e", f"inject={names}:{how}"], stdin=subprocess.DEVNULL
        )
        until(lambda: self._holds(pid), f"strace holds process {pid}", 10.0)

    def _holds(self, pid):
        """Whether every thread of the process is traced."""
        assert self._process.poll() is None, "strace ended"
        threads = pathlib.Path(f"/proc/{pid}/task").iterdir()
        return all(f"TracerPid:\t{self._process.pid}\n" in (each / "status").read_text() for each in threads)

    @property
    def hits(self):
        """Return how many calls it was done to so far."""
        return self._log.read_text().count("(INJECTED") + self._log.read_text().count("(DELAYED")

    def close(self):
        """Let the process go on untouched."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        self._process.wait(10)


@contextlib.contextmanager
def injected(host, words, calls, how, path=""):
    """Have *calls* of the one process of *host* whose command line has *words* fail or be slow meanwhile."""
    (pid,) = host.find(*words)
    made = Injected(pid, host.directory / "strace.log", calls, how, path)
    try:
        yield made
    finally:
        made.close()
