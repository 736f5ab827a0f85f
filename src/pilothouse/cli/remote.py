"""One HTTP exchange with a manager over TLS: only what a machine asks that is to join, or that waits for a manager."""

import http.client
import socket
import ssl
from typing import TypeVar

import msgspec

from pilothouse.cli.client import decode
from pilothouse.cli.transport import problem_error
from pilothouse.clock import SystemClock
from pilothouse.errors import ServerUnavailableError
from pilothouse.link.tls import clock_trouble
from pilothouse.model.addresses import split_address
from pilothouse.model.identity import SERVER_NAME

T = TypeVar("T")
TIMEOUT_SECONDS = 20.0
_MAX_ANSWER = 1 << 20


class _Connection(http.client.HTTPConnection):
    """Checks the name that managers have, not the address they are at."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._context = context

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            self.sock = self._context.wrap_socket(plain, server_hostname=SERVER_NAME)
        except BaseException:
            plain.close()
            raise


def ask(
    address: str,
    context: ssl.SSLContext,
    method: str,
    path: str,
    kind: type[T],
    body: object = None,
    timeout: float = TIMEOUT_SECONDS,
) -> T:
    """Return a manager's answer.

    Raises:
        PilothouseError: What it answered, as the class its code belongs to.
        ServerUnavailableError: It did not answer, or shows no certificate that *context* believes.
    """
    host, port = split_address(address)
    connection = _Connection(host, port, context, timeout)
    data = None if body is None else msgspec.json.encode(body)
    headers = {"Host": SERVER_NAME} | ({} if data is None else {"Content-Type": "application/json"})
    try:
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        content, status = answer.read(_MAX_ANSWER), answer.status
    except (OSError, http.client.HTTPException) as error:
        raise ServerUnavailableError(_why(address, error)) from error
    finally:
        connection.close()
    if status >= 400:
        raise problem_error(status, content, address)
    return decode(content, kind)


def _why(address: str, error: Exception) -> str:
    if trouble := clock_trouble(error, SystemClock().now()):
        return f"no connection with {address}: {trouble}; then try again"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"what answers at {address} is no manager of the cluster that the token is for ({error.verify_message}): "
            "the address is another's, or somebody sits in between"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens at {address}: is it a manager, and is its firewall open for this port?"
    if isinstance(error, TimeoutError):
        return f"{address} does not answer: is the address right, and is a firewall in between?"
    return f"{address} cannot be asked: {error or type(error).__name__}"
