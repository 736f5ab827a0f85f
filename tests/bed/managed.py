"""Several managers on the hosts of the bed, made with the commands of the how-to: each with a member of the store."""

import contextlib
import http.client
import signal
import sys
import time

from tests.bed.cluster import Cluster
from tests.engine import until
from tests.platform import exchange

ETCD = "--enable-grpc-gateway=false"
"""A word that only the command line of a member has."""
_JOINED_SECONDS = 60.0


class Managed(Cluster):
    """A cluster of several managers.

    Attributes:
        managing: The hosts that are, or will be, managers.
    """

    def __init__(self, hosts, agents):
        super().__init__(hosts)
        self.agents = agents
        self.managing = [host for host in hosts if host not in agents]

    def begin(self):
        """Make the first host a manager, and have the others join: as managers, or agents."""
        self.manager.pilothouse("init", "--advertise", self.manager.address)
        for host in self.hosts[1:]:
            self.join(host, self.token("agent" if host in self.agents else "manager"))
        for host in self.hosts:
            self.wait_ready(host)

    def members(self, host=None):
        """Return whether each member has a vote, by its name, as *host* says."""
        status, found = (host or self.manager).api("GET", "/store")
        return {each["name"]: not each.get("learner", False) for each in found["members"]} if status == 200 else {}

    def leader(self, among=None):
        """Return the host whose manager leads, as the first of *among* says that knows."""

        def found():
            for host in among or self.hosts:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    name = host.api("GET", "/store")[1].get("leader")
                    if name:
                        return next(each for each in self.hosts if each.name == name)
            return None

        return until(found, "somebody leads", 30.0, 0.1)

    def write(self, host, value):
        """Change something at *host*; return status, headers and answer, or None if nobody answers there."""
        return ask(host, "PATCH", f"/v1/nodes/{self.hosts[0].name}", {"labels": {"written": value}})

    def until_written(self, hosts, value, seconds=15.0):
        """Return how long it took until a change at one of *hosts* was accepted."""
        begun = time.monotonic()

        def written():
            return any((done := self.write(host, value)) and done[0] == 200 for host in hosts)

        until(written, f"a change is accepted at one of {[host.name for host in hosts]}", seconds, 0.05)
        took = time.monotonic() - begun
        sys.stdout.write(f"{value}: accepted after {took:.2f} s\n")
        return took

    def kill(self, host):
        """Kill the manager and the member of a host as a crash would."""
        host.signal(signal.SIGKILL, "server", "run")
        host.signal(signal.SIGKILL, ETCD)
        host.wait_gone("server", "run")
        host.wait_gone(ETCD)


def ask(host, method, path, body=None, seconds=10.0):
    """Return status, headers and answer of one call, None if nobody answers."""
    try:
        return exchange(host.api_socket, method, path, body, seconds)
    except (OSError, http.client.HTTPException):
        return None
