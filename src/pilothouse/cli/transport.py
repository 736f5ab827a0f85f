"""One HTTP exchange at a time with the server over its Unix socket; errors come out as the classes of `errors.py`."""

import http.client
import os
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import msgspec

from pilothouse import errors
from pilothouse.cli import output, times
from pilothouse.cli.failure import AnsweredError
from pilothouse.model.api import Problem

_BLOCK = 1 << 16
_STALE = "Pilothouse-Stale"

Query = dict[str, str | int | float | bool | None]


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Stream:
    """An answer that is read line by line while it comes; use it as a context manager.

    Attributes:
        stale_since: As the server sent it, seconds since the epoch: since when the answer may be old; "" if it is not.
    """

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        raw: socket.socket,
        answer: http.client.HTTPResponse,
        where: str,
    ) -> None:
        self._connection = connection
        self._socket = raw
        self._answer = answer
        self._where = where
        self.stale_since = answer.getheader(_STALE, "")

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._answer.close()
        self._connection.close()

    def lines(self, wait: Callable[[], float | None] = lambda: None) -> Iterator[bytes]:
        """Yield each line without its end, until the server ends the answer.

        Args:
            wait: Says how many seconds to wait for the next line; None waits for ever.

        Raises:
            ServerUnavailableError: The connection broke, or nothing came in that time.
        """
        held = b""
        while True:
            # The socket itself: http.client lets go of it when the answer ends with the connection.
            self._socket.settimeout(wait())
            block = self._read(self._answer.read1, _BLOCK)
            if not block:
                break
            *whole, held = (held + block).split(b"\n")
            for line in whole:
                yield line.rstrip(b"\r")
        if held:
            yield held

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes of the body, b"" at its end; a body cut short raises ServerUnavailableError."""
        return self._read(self._answer.read, size)

    def _read(self, how: Callable[[int], bytes], size: int) -> bytes:
        try:
            block = how(size)
            if not block and self._answer.length:
                raise http.client.IncompleteRead(b"", self._answer.length)
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(self._where, error) from error
        return block


class Transport:
    """Where the server is, and how long to wait for it."""

    def __init__(self, path: str, timeout_seconds: float = 60.0) -> None:
        self.path = path
        self._timeout = timeout_seconds
        self._said_stale = False

    def call(self, method: str, path: str, *, query: Query | None = None, body: object = None, key: str = "") -> bytes:
        """Return the body of the answer.

        Args:
            key: Sent as Idempotency-Key, so that a repeated call is carried out once.

        Raises:
            PilothouseError: The server's answer, as the class its code belongs to.
            ServerUnavailableError: There was none.
        """
        with self.open(method, path, query=query, body=body, key=key) as stream:
            body_read = b"".join(iter(lambda: stream.read(1 << 20), b""))
            if not stream.stale_since:
                return body_read
            self._say_stale(stream.stale_since)
            return without_flag(body_read, stream.stale_since)

    def _say_stale(self, since: str) -> None:
        """Say once that answers may be old."""
        if not self._said_stale:
            self._said_stale = True
            output.note(
                f"most managers cannot be reached since {times.stamp(float(since))}: what follows may be older than "
                "that. What runs goes on; changes are refused until they are back"
            )

    def open(self, method: str, path: str, *, query: Query | None = None, body: object = None, key: str = "") -> Stream:
        """Send a request and return its answer, once its head is there and says success."""
        connection = _Connection(self.path, self._timeout)
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Host": "localhost"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = key
        try:
            connection.connect()
            raw = connection.sock
            connection.request(method, path + _query(query), data, headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise problem_error(answer.status, answer.read(), self.path)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _unavailable(self.path, error) from error
        except errors.PilothouseError:
            connection.close()
            raise
        return Stream(connection, raw, answer, self.path)


def without_flag(body: bytes, since: str) -> bytes:
    """Return an answer without the field that says since when it may be old, with which the server begins it."""
    start = f'{{"stale":{since}'.encode()
    return b"{" + body[len(start) :].lstrip(b",") if body.startswith(start) else body


def _query(query: Query | None) -> str:
    given = {k: str(v).lower() if isinstance(v, bool) else v for k, v in (query or {}).items() if v not in {None, ""}}
    return "?" + urlencode(given) if given else ""


def _unavailable(where: str, error: Exception) -> errors.ServerUnavailableError:
    if isinstance(error, PermissionError):
        return errors.ServerUnavailableError(
            f"you may not use the server's socket {where}: run the command with sudo, or as a user of the group "
            f"{_group(where)}"
        )
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return errors.ServerUnavailableError(
            f"no server answers at {where}: start it with `pilothouse server start` (`pilothouse up` does so too), or "
            "name another socket with --socket or PILOTHOUSE_SOCKET"
        )
    if isinstance(error, TimeoutError):
        return errors.ServerUnavailableError(
            f"the server at {where} did not answer in time: `pilothouse server status` says whether it runs, "
            "`pilothouse server logs` what it does"
        )
    return errors.ServerUnavailableError(
        f"the connection to the server at {where} broke ({error or type(error).__name__}): what was asked may or may "
        "not have been done; `pilothouse server status` says whether it runs; then try again"
    )


def _group(path: str) -> str:
    try:
        return str(os.stat(path).st_gid)
    except OSError:
        return "that owns it"


def _tree(root: type[errors.PilothouseError] = errors.PilothouseError) -> Iterator[type[errors.PilothouseError]]:
    yield root
    for sub in root.__subclasses__():
        yield from _tree(sub)


def problem_error(status: int, body: bytes, where: str) -> errors.PilothouseError:
    """Return the error that an answer of *status* with *body* stands for, with the answer as its cause."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = body[:200].decode(errors="replace")
        return errors.ServerUnavailableError(
            f"what answers at {where} is no Pilothouse server: status {status}, {said!r}"
        )
    classes = {each.code: each for each in _tree() if "code" in vars(each)}
    error = classes.get(problem.code, errors.PilothouseError)(problem.detail)
    error.__cause__ = AnsweredError(problem)
    return error
