"""The shop's API: orders are placed here and packed by the worker."""

import contextlib
import http.server
import json
import signal
import sys

from database import connect


class Handler(http.server.BaseHTTPRequestHandler):
    """GET /healthz, GET and POST /api/orders."""

    def do_GET(self):
        """Answer with the counts, or with 200 if the database answers."""
        with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*), count(packed) FROM orders")
            placed, packed = cursor.fetchone()
        self._answer(200, {"placed": placed, "packed": packed})

    def do_POST(self):
        """Place an order."""
        with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO orders DEFAULT VALUES RETURNING id")
            (number,) = cursor.fetchone()
        self._answer(201, {"id": number})

    def _answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("listening on 8000", flush=True)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
