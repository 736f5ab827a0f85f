"""Callers of a published port who never stop and forgive nothing: what a user's clients are to an update."""

import http.client
import threading
import time

from tests.engine import until

PORT = 18091


def connect(made, port=PORT, host="127.0.0.1", timeout=20):
    """Return a connection from inside the engine's network namespace."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    with made.host.inside():
        connection.connect()
    return connection


class Load:
    """Callers who never stop: some keep their connection, some open a new one for each request."""

    def __init__(self, made, kept=3, fresh=3):
        self.answered = 0
        self.failed = []
        self.hosts = set()
        self._made = made
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n < kept,)) for n in range(kept + fresh)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, requests=50):
        """Wait until so many more requests were answered, and so much time may have passed as they take."""
        before = self.answered
        until(lambda: self.answered >= before + requests, "callers are answered")

    def _call(self, keep):
        connection = None
        while not self._over.is_set():
            begun = time.strftime("%X")
            try:
                connection = connection or connect(self._made)
                connection.request("GET", "/")
                answer = connection.getresponse()
                status, body = answer.status, answer.read().decode()
                if not keep or answer.will_close:
                    connection.close()
                    connection = None
            except OSError as error:
                status, body, connection = 0, repr(error), None
            except http.client.HTTPException as error:
                status, body, connection = 0, repr(error), None
            with self._lock:
                if status == 200:
                    self.answered += 1
                    self.hosts.add(body.strip())
                else:
                    self.failed.append((begun, status, body[:200]))
        if connection:
            connection.close()
