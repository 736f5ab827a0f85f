"""Tells systemd, if it started this process, how it is."""

import socket

from pilothouse import log


def notify(address: str, message: str) -> None:
    """Send *message* to the socket that systemd named; nothing happens if it named none."""
    if not address:
        return
    where = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
        try:
            datagrams.connect(where)
            datagrams.send(message.encode())
        except OSError as error:
            log.event("warning", "systemd.unreachable", error=str(error))
