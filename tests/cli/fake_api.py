"""A server that speaks the API over a Unix socket and answers what a test laid out, in values of `model.api`."""

import contextlib
import http.server
import socketserver
import threading
from urllib.parse import parse_qs, urlsplit

import msgspec

from pilothouse.errors import PilothouseError
from pilothouse.model.api import Problem


def problem(error, **more):
    """Return what the server answers for *error*."""
    return Problem(
        type=f"reference/errors/{error.code}",
        title=error.title,
        status=error.status,
        detail=str(error),
        code=error.code,
        retryable=error.retryable,
        **more,
    )


def page(*items, after=None):
    """Return one page of a list."""
    return {"items": items, "next": after}


def events(*pairs):
    """Return the lines of a server-sent event stream; a pair of "" is a comment."""
    return [
        f"event: {name}\ndata: {msgspec.json.encode(value).decode()}\n\n".encode() if name else b": still here\n\n"
        for name, value in pairs
    ]


def ndjson(*values):
    """Return the lines of a stream of JSON values."""
    return [msgspec.json.encode(value) + b"\n" for value in values]


class Short(bytes):
    """A body that lacks its last byte."""


class FakeApi:
    """What to answer, and what was asked.

    Attributes:
        answers: (method, path) to a value, a PilothouseError, a Problem, a list of byte chunks, or a function of the
            query and the body that returns one of those.
        asked: (method, path, query, body) of each request.
    """

    def __init__(self, path):
        self.path = str(path)
        self.answers = {("GET", "/healthz"): {"status": "ok"}}
        self.asked = []

    def bodies(self, method, path, kind):
        """Return the decoded bodies of the requests for *path*."""
        return [msgspec.json.decode(b, type=kind) for m, p, _, b in self.asked if (m, p) == (method, path)]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self):
        api = self.server.api
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        api.asked.append((self.command, parts.path, query, body))
        found = api.answers.get((self.command, parts.path))
        if callable(found):
            found = found(query, body)
        if found is None:
            found = Problem(type="", title="Not found", status=404, detail=f"no {parts.path}", code="PH102")
        if isinstance(found, PilothouseError):
            found = problem(found)
        if isinstance(found, list):
            self._stream(found)
        else:
            self._whole(found)

    def handle_one_request(self):
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def _whole(self, found):
        data = found if isinstance(found, bytes) else msgspec.json.encode(found)
        short = isinstance(found, Short)
        self.send_response(found.status if isinstance(found, Problem) else 200)
        self.send_header("Content-Length", str(len(data) + short))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = short

    def _stream(self, chunks):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            if chunk is None:  # break off in the middle
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _answer  # noqa: N815 - names that the base class calls


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self):
        request, _ = super().get_request()
        return request, ("local", 0)


@contextlib.contextmanager
def fake_api(path):
    """Have a FakeApi listen at *path*."""
    api = FakeApi(path)
    with _Server(api.path, _Handler) as server:
        server.api = api
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
