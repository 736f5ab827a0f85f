"""A server that was asked to listen on TCP answers there, over TLS, to the holder of the token alone."""

import http.client
import ssl

import pytest

from tests.platform import Platform
from tests.server.test_guard import self_signed

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PORT = 17443


def _status(made, certificate, authorization):
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", PORT, timeout=5, context=context)
    with made.host.inside():
        connection.connect()
    try:
        connection.request("GET", "/v1/info", headers=authorization)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_holder_of_the_token_is_answered_over_tls(docker_host, tmp_path):
    certificate, key = self_signed(tmp_path)
    token = tmp_path / "token"
    token.write_text("t" * 40)
    token.chmod(0o600)
    made = Platform(docker_host)
    made.environment |= {
        "PILOTHOUSE_TCP": f"127.0.0.1:{PORT}",
        "PILOTHOUSE_TLS_CERTIFICATE": str(certificate),
        "PILOTHOUSE_TLS_KEY": str(key),
        "PILOTHOUSE_TOKEN_FILE": str(token),
    }
    try:
        made.start()
        assert _status(made, certificate, {"Authorization": "Bearer " + "t" * 40}) == 200
        assert _status(made, certificate, {}) == 401
    finally:
        assert made.close() == []
