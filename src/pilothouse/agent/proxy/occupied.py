"""Whether a host port can be listened on, and who has it if not."""

import contextlib
import errno
import os
import pathlib
import socket
from collections.abc import Iterator

_LISTEN = "0A"


def problem(address: str, port: int, own: frozenset[int] = frozenset()) -> str:
    """Return why nobody can listen there now, in words and with the program that does; "" if it is free.

    Args:
        address, port: Where.
        own: Processes that do not count; they are about to let go of it.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    where = f"[{address}]:{port}" if family is socket.AF_INET6 else f"{address}:{port}"
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as trial:
        # Connections that ended a while ago do not count; whoever listens does.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            trial.bind((address, port))
            trial.listen(1)
        except OSError as error:
            return _said(error, where, address, port, own)
    return ""


def _said(error: OSError, where: str, address: str, port: int, own: frozenset[int]) -> str:
    if error.errno == errno.EADDRINUSE:
        holders = holding(port)
        if holders and holders.keys() <= own:
            return ""
        who = ", ".join(f"{name} (pid {pid})" for pid, name in holders.items()) or "another program"
        return f"host port {port} ({where}) is in use by {who}: stop that, or publish another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address} is not an address of this host: publish {port} on one that is, or on all"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"host port {port} may not be listened on ({error.strerror}): run the server as root, or publish another"
    return f"host port {port} cannot be listened on at {where}: {error.strerror}"


def holding(port: int) -> dict[int, str]:
    """Return the names of the programs that listen on a TCP port of this host, by pid; empty if it cannot be told."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(pathlib.Path("/proc/self/net", table), port)}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    found = {}
    for process in pathlib.Path("/proc").iterdir() if sockets else ():
        # What ends meanwhile, or is none of our business, does not count.
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and sockets & set(_links(process / "fd")):
                found[int(process.name)] = (process / "comm").read_text().strip()
    return found


def _links(directory: pathlib.Path) -> Iterator[str]:
    for entry in directory.iterdir():
        with contextlib.suppress(OSError):
            yield os.readlink(entry)


def _listening(table: pathlib.Path, port: int) -> set[str]:
    """Return the inodes of the sockets that listen on *port*."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return set()
    rows = [line.split() for line in lines]
    return {row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port}


def has_ipv6() -> bool:
    """Whether this host (this network namespace) has IPv6 addresses."""
    try:
        return bool(pathlib.Path("/proc/self/net/if_inet6").read_text().strip())
    except OSError:
        return False
