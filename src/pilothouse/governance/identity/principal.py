"""A caller, identified: on the Unix socket by the kernel's word (peer credentials), on TCP by a bearer token.

Who could not be identified has no Principal, so code that needs one cannot run for them.
"""

import pwd
import socket
import struct

import msgspec

from pilothouse.errors import UnauthorizedError

SYSTEM_TEXT = "system"
_CREDENTIALS = struct.Struct("3i")


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever makes a change.

    Attributes:
        kind: "uid" for a local user, "token" for the holder of a bearer token, "manager" for another manager by its
            certificate, "system" for the platform itself.
        id: The numeric user id, the token's name, the manager's node id, or "".
        name: The user's login name if the machine knows one.
        gid, pid: Of the calling process when it connected; -1 if there is none.
    """

    kind: str
    id: str = ""
    name: str = ""
    gid: int = -1
    pid: int = -1

    def __str__(self) -> str:
        """Return the form that audit records keep: "uid:1000(alice)", "token:ci", "system"."""
        if self.kind == SYSTEM_TEXT:
            return SYSTEM_TEXT
        return f"{self.kind}:{self.id}({self.name})" if self.name else f"{self.kind}:{self.id}"


SYSTEM = Principal(kind=SYSTEM_TEXT)


def of_user(uid: int, gid: int = -1, pid: int = -1) -> Principal:
    """Return the principal of a local user; the name is left out if the machine has none for the id."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    return Principal(kind="uid", id=str(uid), name=name, gid=gid, pid=pid)


def of_socket(peer: socket.socket) -> Principal:
    """Return who is at the other end of a connected Unix socket, as the kernel noted it on connect.

    Raises:
        UnauthorizedError: It is no Unix socket, or the kernel does not say.
    """
    if peer.family != socket.AF_UNIX:
        raise UnauthorizedError("a caller is identified by the Unix socket it connects to; this is not one")
    try:
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError as error:
        raise UnauthorizedError(f"the kernel does not say who is calling: {error}") from error
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    if uid < 0:
        raise UnauthorizedError("the caller's user id is not known in this user namespace; run the client outside it")
    return of_user(uid, gid, pid)
