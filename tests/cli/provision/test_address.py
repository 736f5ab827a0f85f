"""Addresses of machines are read strictly: what is not understood is refused, never guessed."""

import pytest

from pilothouse.cli.provision.remote import Address, address
from pilothouse.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://10.0.0.7", Address(host="10.0.0.7")),
        ("ssh://root@10.0.0.7:2222", Address(host="10.0.0.7", port=2222, user="root")),
        ("ssh://ops@node7.example/", Address(host="node7.example", user="ops")),
        ("ssh://root@[fd00::7]:22", Address(host="fd00::7", user="root")),
    ],
)
def test_an_address_is_user_host_and_port(text, expected):
    assert address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["10.0.0.7", "http://10.0.0.7", "ssh://", "ssh://a b", "ssh://host:port", "ssh://host:0", "ssh://host:99999",
     "ssh://host/path", "ssh://-oProxyCommand=x", "ssh://user:secret@host"],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(InvalidRequestError, match="ssh://root@10"):
        address(text)
