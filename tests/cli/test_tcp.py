"""TCP is an extra that must be asked for whole: an address, TLS and a token."""

import pytest

from pilothouse.cli.places import tcp_place
from pilothouse.errors import InvalidRequestError


def test_nothing_asked_for_is_nothing_opened():
    assert tcp_place(None, None, None, None) is None


@pytest.mark.parametrize("left_out", range(4))
def test_an_address_without_tls_and_token_is_refused_and_names_what_is_missing(left_out):
    given = ["10.0.0.5:7443", "c.pem", "k.pem", "token"]
    given[left_out] = None
    missing = ("--tcp", "--tls-certificate", "--tls-key", "--token-file")[left_out]
    with pytest.raises(InvalidRequestError, match=f"only with TLS and a token; give {missing} as well"):
        tcp_place(*given)


@pytest.mark.parametrize("address", ["7443", ":7443", "host:", "host:0", "host:65536", "host:٣", "host:-1"])
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(InvalidRequestError, match="is not HOST:PORT"):
        tcp_place(address, "c.pem", "k.pem", "token")


def test_an_address_may_be_of_either_family():
    found = tcp_place("[::1]:7443", "/c.pem", "/k.pem", "/token")
    assert (found.host, found.port, found.token_file) == ("::1", 7443, "/token")
