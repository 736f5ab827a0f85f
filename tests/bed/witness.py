"""Who really ran, when: every engine asked ten times a second, whatever Pilothouse believes."""

import contextlib
import dataclasses
import http.client
import threading
import time
import urllib.parse

_EVERY_SECONDS = 0.1
_QUERY = "/containers/json?filters=" + urllib.parse.quote(
    '{"status":["running"],"label":["com.docker.compose.project"]}'
)


@dataclasses.dataclass
class Copy:
    """One container that ran, on *host*, at least from *first* to *last*; monotonic seconds."""

    host: str
    service: str
    id: str
    first: float
    last: float


class Witness:
    """Watches *hosts* while it is a context; an engine that does not answer is not asked again in that round."""

    def __init__(self, hosts):
        self._hosts = hosts
        self._seen = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.rounds = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def copies(self, service):
        """Return every copy of *service* that was seen, in the order of its first sight."""
        found = [each for each in list(self._seen.values()) if each.service == service]
        return sorted(found, key=lambda each: each.first)

    def running(self, service, within=0.5):
        """Return the copies of *service* seen in the last moment."""
        now = time.monotonic()
        return [each for each in self.copies(service) if each.last > now - within]

    def overlap(self, service):
        """Return for how many seconds two copies of *service* certainly ran at once; at most 0 if they never did."""
        found = self.copies(service)
        pairs = [(a, b) for n, a in enumerate(found) for b in found[n + 1 :]]
        return max((min(a.last, b.last) - max(a.first, b.first) for a, b in pairs), default=0.0)

    def _watch(self):
        while not self._stop.wait(_EVERY_SECONDS):
            for host in self._hosts:
                # It has no power, or its engine is being killed or started.
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self._note(host)
            self.rounds += 1

    def _note(self, host):
        begun = time.monotonic()
        status, found = host.request("GET", _QUERY)
        for each in found if status == 200 else ():
            labels = each["Labels"]
            service = f"{labels['com.docker.compose.project']}/{labels.get('com.docker.compose.service', '')}"
            # It ran when it was asked about, and not surely any longer.
            first = Copy(host.name, service, each["Id"], time.monotonic(), begun)
            copy = self._seen.setdefault((host.name, each["Id"]), first)
            copy.last = max(copy.last, begun)
