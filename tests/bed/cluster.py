"""A cluster on the hosts of the bed: the first is its manager, the others joined with a token each."""

import collections
import contextlib
import http.client
import json
import signal
import sys

from tests.engine import until

_READY_SECONDS = 30.0


class Cluster:
    """One cluster; the API is the first host's."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.manager = hosts[0]

    def begin(self):
        """Make the first host a manager and have the others join."""
        self.manager.pilothouse("init", "--advertise", self.manager.address)
        self.wait_ready(self.manager)
        for host in self.hosts[1:]:
            self.join(host)
        for host in self.hosts[1:]:
            self.wait_ready(host)

    def token(self, role="agent"):
        """Return a fresh join token."""
        return json.loads(self.manager.pilothouse("token", "create", "--role", role, "--json").stdout)["token"]

    def join(self, host, token=None, **options):
        """Have *host* join and run its agent."""
        return host.pilothouse("join", self.manager.address, token or self.token(), **options)

    # Looking

    def nodes(self):
        """Return every node by its id; {} while nobody answers."""
        page = self._get("/nodes?limit=1000")
        return {each["id"]: each for each in page["items"]} if page else {}

    def tasks(self, app, *, everything=False):
        """Return the TaskViews of *app*: the live ones, or with *everything* the dead ones too."""
        page = self._get(f"/tasks?app={app}&all={str(everything).lower()}&limit=1000")
        return page["items"] if page else []

    def app(self, name):
        """Return the AppView of *name*, or None."""
        return self._get(f"/apps/{name}")

    def spread(self, app, service):
        """Return how many ready tasks of *service* each node has."""
        tasks = self.tasks(app)
        return collections.Counter(each["node_id"] for each in tasks if each["service"] == service and each["ready"])

    def apps(self):
        """Return the names of the apps."""
        page = self._get("/apps?limit=1000")
        return [each["name"] for each in page["items"]] if page else []

    def wait_ready(self, host, seconds=_READY_SECONDS):
        """Wait until the node of *host* may get tasks."""
        until(lambda: self.nodes().get(host.name, {}).get("ready"), f"{host.name} is ready", seconds, 0.1)

    def wait_converged(self, app, seconds=60.0):
        """Wait until *app* is as it should be; fail with why it is not."""
        try:
            until(lambda: (self.app(app) or {}).get("converged"), f"{app} has converged", seconds, 0.1)
        except AssertionError as error:
            why = self.manager.pilothouse("explain", app, check=False)
            raise AssertionError(f"{error}\n{why.stdout}{why.stderr}{self.nodes()}") from None

    # Doing

    def up(self, text, *arguments, **options):
        """Deploy a manifest from the manager."""
        path = self.manager.file("compose.yaml", text)
        return self.manager.pilothouse("up", "-f", path, *arguments, **options)

    def part(self, host, *command):
        """Take *host* out of the cluster, with its own `pilothouse` or *command*."""
        own = command or (sys.executable, "-m", "pilothouse")
        host.run(*own, "agent", "stop")
        self.manager.pilothouse("node", "remove", host.name, "--force")
        host.run(*own, "leave")

    def reinstall(self, host):
        """Have *host* leave and join again, as a machine that was set up anew: that it was lost is not remembered."""
        self.part(host)
        self.join(host)
        self.wait_ready(host)

    def down(self, app):
        """Take *app* away and wait until it is gone."""
        self.manager.pilothouse("down", app, "--volumes")

    def start_agent(self, host):
        """Start the agent of a host whose last one ended or whose power came back; a manager has heard of it then."""
        host.pilothouse("agent", "start")

    def kill_agent(self, host):
        """Kill the agent of *host* as a crash would."""
        host.signal(signal.SIGKILL, "agent", "run")
        host.wait_gone("agent", "run")

    def start_manager(self):
        """Start the manager's server again."""
        self.manager.pilothouse("server", "start")

    def kill_manager(self):
        """Kill the manager's server as a crash would."""
        self.manager.signal(signal.SIGKILL, "server", "run")
        self.manager.wait_gone("server", "run")

    def _get(self, path):
        # The server may just be starting or ending.
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, found = self.manager.api("GET", path)
            return found if status == 200 else None
        return None
