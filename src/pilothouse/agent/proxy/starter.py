"""Starts Envoy as a process of its own. Runs as a script by itself, imports nothing of ours, and prints Envoy's pid.

It is no child of the server: the server may be killed and Envoy goes on. It gets a session, descriptors up to the hard
limit, and, where this runs as root, another user, no way to gain a privilege again, and the one capability to listen on
ports below 1024. UID 0 stays root's user without root's powers.

    starter.py DIRECTORY LOG UID BINARY ARGUMENT…        UID is -1 to stay who it is
"""

import ctypes
import os
import resource
import sys

_NET_BIND_SERVICE = 10
_PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 8, 23, 24, 38, 47
_AMBIENT_RAISE = 2
_VERSION_3 = 0x20080522
_LIBC = ctypes.CDLL(None, use_errno=True)


def _prctl(*arguments: int) -> int:
    whole = [*arguments, 0, 0, 0, 0][:5]
    return int(_LIBC.prctl(*(ctypes.c_ulong(each) for each in whole)))


def _must(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"cannot {what}: {os.strerror(ctypes.get_errno())}")


def become(uid: int) -> None:
    """Give up root's powers for good: become *uid*, with one capability and no way to another."""
    number = 0
    while _prctl(_PR_CAPBSET_READ, number) >= 0:
        if number != _NET_BIND_SERVICE:
            _prctl(_PR_CAPBSET_DROP, number)
        number += 1
    _must(_prctl(_PR_SET_KEEPCAPS, 1), "keep capabilities")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    one = 1 << _NET_BIND_SERVICE
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(one, one, one, 0, 0, 0)
    if _LIBC.capset(header, sets) == 0:
        # In a container that lacks it, ports below 1024 are refused, and said to be.
        _prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, _NET_BIND_SERVICE)
    else:
        _must(_LIBC.capset(header, (ctypes.c_uint32 * 6)()), "drop capabilities")
    _must(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "forbid new privileges")


def main(directory: str, log: str, uid: int, binary: str, arguments: list[str]) -> None:
    """Fork, tell the pid of what was forked, and be Envoy there."""
    os.chdir(directory)
    executable = os.open(binary, os.O_RDONLY | os.O_CLOEXEC)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    pid = os.fork()
    if pid:
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    # Whoever started this may have left it more than it knows, the other end of its own output among them.
    os.closerange(3, executable)
    os.closerange(executable + 1, 65536)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0o077)
    if uid >= 0:
        become(uid)
    # By descriptor: the user it became may not be able to reach the file's directory.
    os.execve(executable, ["envoy", *arguments], {"PATH": "/usr/bin:/bin"})  # noqa: S606 - there is no shell


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5:])
