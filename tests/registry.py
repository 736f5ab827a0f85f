"""A registry with one image, for tests: it speaks just enough of the distribution protocol, and fails as it is told."""

import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading

REPOSITORY = "app"
TAG = "1"


class Registry:
    """What it has, what was asked, and how it misbehaves.

    Attributes:
        asked: "METHOD PATH" of every request.
        unavailable: How many of the next requests for a manifest answer 503.
        corrupt: Blobs come with a byte changed.
        broken_off: How many of the next layers end in the middle.
        login: "USER:PASSWORD" that is asked for, or "".
    """

    def __init__(self):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo("etc/motd")
            entry.size = 200_000
            tar.addfile(entry, io.BytesIO(bytes(entry.size)))
        layer = buffer.getvalue()
        packed = gzip.compress(layer, mtime=0)
        root = {"type": "layers", "diff_ids": [_digest(layer)]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root}).encode()
        prefix = "application/vnd.docker."
        self.manifest_type = f"{prefix}distribution.manifest.v2+json"
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": self.manifest_type,
                "config": _entry(f"{prefix}container.image.v1+json", config),
                "layers": [_entry(f"{prefix}image.rootfs.diff.tar.gzip", packed)],
            }
        ).encode()
        self.blobs = {_digest(blob): blob for blob in (config, packed)}
        self.layers = {packed}
        self.digest = _digest(self.manifest)
        self.asked = []
        self.unavailable = 0
        self.corrupt = False
        self.broken_off = 0
        self.login = ""
        self.port = 0

    def ref(self, tag=TAG):
        """Return how an engine names the image."""
        return f"127.0.0.1:{self.port}/{REPOSITORY}:{tag}"

    def answer(self, method, path, authorization):
        """Return (status, headers, body) of one request."""
        self.asked.append(f"{method} {path}")
        wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
        if self.login and authorization != wanted:
            return 401, {"WWW-Authenticate": 'Basic realm="test"'}, b"{}"
        if path == "/v2/":
            return 200, {}, b"{}"
        kind, _, name = path.removeprefix(f"/v2/{REPOSITORY}/").partition("/")
        if kind == "manifests" and name in {TAG, self.digest}:
            if self.unavailable:
                self.unavailable -= 1
                return 503, {}, b"try later"
            return 200, {"Content-Type": self.manifest_type, "Docker-Content-Digest": self.digest}, self.manifest
        if kind == "blobs" and name in self.blobs:
            blob = self.blobs[name]
            return 200, {"Content-Type": "application/octet-stream"}, blob[:-1] + b"!" if self.corrupt else blob
        problem = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
        return 404, {"Content-Type": "application/json"}, json.dumps(problem).encode()


@contextlib.contextmanager
def serving(registry, host):
    """Have *registry* answer on a loopback port of *host*'s network namespace."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            status, headers, body = registry.answer(self.command, self.path, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if registry.broken_off and body in registry.layers:
                registry.broken_off -= 1
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return
            self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

        def log_message(self, *_):
            """Say nothing."""

    with host.inside():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _entry(media_type, data):
    return {"mediaType": media_type, "size": len(data), "digest": _digest(data)}
