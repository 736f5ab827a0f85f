"""Where a manager is: read as people write it, refused if it cannot be one."""

import pytest

from pilothouse.errors import InvalidRequestError
from pilothouse.model.addresses import join_address, manager_addresses, split_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.5", "10.0.0.5", 7443),
        ("10.0.0.5:9443", "10.0.0.5", 9443),
        (" manager.example.org:1 ", "manager.example.org", 1),
        ("fd00::5", "fd00::5", 7443),
        ("[fd00::5]", "fd00::5", 7443),
        ("[fd00::5]:9443", "fd00::5", 9443),
        ("fe80::1%eth0", "fe80::1%eth0", 7443),
    ],
)
def test_an_address_is_read_as_it_is_written(text, host, port):
    assert split_address(text) == (host, port)
    assert split_address(join_address(host, port)) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", ":7443", "a:b:c", "[::1", "::1]", "[10.0.0.5]:1", "a b", "-a", "a:0", "a:65533", "a:-1", "a:7443x", "http://a",
     "a/b", "ä", "a" * 254, "a:٣", "a:000000001"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidRequestError):
        split_address(text)


def test_the_port_of_the_sessions_follows_the_one_of_the_api():
    assert manager_addresses("[fd00::5]:9000") == ("[fd00::5]:9000", "[fd00::5]:9001")
