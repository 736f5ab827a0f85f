"""A caller is who the kernel says it is, and nobody else."""

import os
import pwd
import socket

import pytest

from pilothouse.errors import UnauthorizedError
from pilothouse.governance.identity.permissions import Permission, require
from pilothouse.governance.identity.principal import SYSTEM, Principal, of_socket, of_user


def test_the_caller_of_a_unix_socket_is_the_user_of_its_process():
    here, there = socket.socketpair()
    with here, there:
        caller = of_socket(here)
    name = pwd.getpwuid(os.getuid()).pw_name
    assert str(caller) == f"uid:{os.getuid()}({name})"
    assert (caller.pid, caller.gid) == (os.getpid(), os.getgid())


def test_a_tcp_connection_does_not_say_who_calls():
    with socket.socket() as tcp, pytest.raises(UnauthorizedError):
        of_socket(tcp)


def test_a_user_without_a_name_is_shown_by_number():
    assert str(of_user(4_000_000_000)) == "uid:4000000000"
    assert str(SYSTEM) == "system"
    assert str(Principal(kind="token", id="ci")) == "token:ci"


@pytest.mark.parametrize("permission", [p for p in Permission if p is not Permission.PUBLIC])
def test_nobody_unidentified_gets_past_a_permission(permission):
    with pytest.raises(UnauthorizedError):
        require(None, permission)
    assert require(SYSTEM, permission) is SYSTEM


def test_what_is_public_needs_no_name():
    assert require(None, Permission.PUBLIC) is None
