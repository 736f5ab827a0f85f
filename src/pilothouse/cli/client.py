"""The API as Python calls: what commands, and other programs, talk to a server with. Values in, values out."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import quote

import msgspec

from pilothouse.cli.transport import Query, Stream, Transport
from pilothouse.errors import InvalidRequestError, ServerUnavailableError
from pilothouse.model import api, placement_api, release_api
from pilothouse.model.base import Value
from pilothouse.model.cluster import ClusterSpec
from pilothouse.model.node import Node
from pilothouse.model.objects import AuditRecord, Grant
from pilothouse.model.skew import Codec
from pilothouse.model.wire import ImageProgress, TaskUsage

T = TypeVar("T")
PAGE_SIZE = 1000


class Gone(Value, frozen=True):
    """What a watch of an app ends with: the app no longer exists."""


class _Items(msgspec.Struct):
    items: list[msgspec.Raw]
    next: str | None = None


def decode(body: bytes, kind: type[T]) -> T:
    """Return *body* as a value of *kind*, without what a newer server says beside it.

    Raises:
        ServerUnavailableError: It is none; the server's version is too far away.
    """
    try:
        return Codec(kind, json=True).decode(body)
    except InvalidRequestError as error:
        raise ServerUnavailableError(
            f"the server's answer cannot be read ({error}): is the server of another version? `pilothouse version` says"
        ) from error


class Client:
    """One server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    # Asking

    def info(self) -> api.Info:
        """Return what the server is."""
        return self._get("/v1/info", api.Info)

    def store(self) -> api.StoreStatus:
        """Return where the state is kept, and how that is."""
        return self._get("/v1/store", api.StoreStatus)

    def app(self, name: str) -> api.AppView:
        """Return one app."""
        return self._get(f"/v1/apps/{_part(name)}", api.AppView)

    def apps(self) -> list[api.AppView]:
        """Return every app."""
        return self._all("/v1/apps", api.AppView)

    def service(self, app: str, name: str) -> api.ServiceView:
        """Return one service."""
        return self._get(f"/v1/apps/{_part(app)}/services/{_part(name)}", api.ServiceView)

    def releases(self, app: str) -> list[release_api.ReleaseView]:
        """Return the releases of an app that are kept, newest first."""
        return self._all(f"/v1/apps/{_part(app)}/releases", release_api.ReleaseView)

    def release(self, app: str, number: int) -> release_api.ReleaseView:
        """Return everything about one release."""
        return self._get(f"/v1/apps/{_part(app)}/releases/{number}", release_api.ReleaseView)

    def release_diff(self, app: str, number: int, other: int | None = None) -> release_api.ReleaseDiff:
        """Return what differs between two releases; *other* None is the one before *number*."""
        path = f"/v1/apps/{_part(app)}/releases/{number}/diff"
        return self._get(path, release_api.ReleaseDiff, {"with": other})

    def tasks(self, app: str = "", service: str = "", *, dead: bool = False) -> list[api.TaskView]:
        """Return tasks, with *dead* those too that have ended and are still kept."""
        return self._all("/v1/tasks", api.TaskView, {"app": app, "service": service, "all": dead})

    def inspect(self, kind: str, id: str) -> object:
        """Return the stored object as plain JSON values."""
        return decode(self._transport.call("GET", f"/v1/inspect/{_part(kind)}/{quote(id, safe='/')}"), object)

    def explain(self, name: str) -> api.Explanation:
        """Return why an object is as it is."""
        return self._get("/v1/explain", api.Explanation, {"object": name})

    def events(self, app: str = "", since: int = 0) -> Iterator[api.EventView]:
        """Yield the kept events after revision *since*, oldest first."""
        yield from self._pages("/v1/events", api.EventView, {"app": app, "since": since or None})

    def usage(self, app: str = "") -> list[TaskUsage]:
        """Return one reading for each running task."""
        return self._all("/v1/stats", TaskUsage, {"app": app})

    def doctor(self) -> list[api.Finding]:
        """Return what the server finds about itself and its node."""
        return self._all("/v1/doctor", api.Finding)

    def plain(self, noun: str, app: str = "") -> list[object]:
        """Return the "volumes", "networks", "secrets" or "configs" as plain JSON values."""
        return self._all(f"/v1/{noun}", object, {"app": app})

    def nodes(self) -> list[Node]:
        """Return the nodes."""
        return self._all("/v1/nodes", Node)

    def why_not(self, app: str, service: str, node: str) -> placement_api.WhyNot:
        """Return what every rule says of one more task of a service on a node."""
        path = f"/v1/apps/{_part(app)}/services/{_part(service)}/why-not"
        return self._get(path, placement_api.WhyNot, {"node": node})

    def simulate(self, lost: Sequence[str]) -> placement_api.Simulation:
        """Return what losing nodes would lead to."""
        return self._get("/v1/simulate", placement_api.Simulation, {"lose": ",".join(lost)})

    def rebalance(self, request: placement_api.RebalanceRequest) -> placement_api.RebalanceView:
        """Have running tasks moved to where they would be put today, or say which."""
        return self._do("POST", "/v1/rebalance", placement_api.RebalanceView, request)

    def set_cluster(self, settings: placement_api.ClusterSettings) -> ClusterSpec:
        """Change what people decided about the cluster as a whole."""
        return self._do("POST", "/v1/cluster/settings", ClusterSpec, settings)

    def grants(self, app: str = "") -> list[Grant]:
        """Return grants, ended and revoked ones too."""
        return self._all("/v1/grants", Grant, {"app": app})

    def audit(self, object: str = "", principal: str = "") -> Iterator[AuditRecord]:
        """Yield the audit records, page by page."""
        yield from self._pages("/v1/audit", AuditRecord, {"object": object, "principal": principal})

    def check(self) -> api.CheckResult:
        """Have the store checked."""
        return self._do("POST", "/v1/check", api.CheckResult)

    # Changing

    def deploy(self, request: api.DeployRequest, key: str = "") -> api.DeployResult:
        """Deploy an app, or with `dry_run` only check that it could be."""
        return self._do("PUT", f"/v1/apps/{_part(request.spec.name)}", api.DeployResult, request, key)

    def plan(self, request: api.DeployRequest) -> release_api.PlanView:
        """Return what a deployment would do; nothing is changed."""
        return self._do("POST", f"/v1/apps/{_part(request.spec.name)}/plan", release_api.PlanView, request)

    def remove(self, app: str, *, volumes: bool = False) -> api.AppView:
        """Take an app down; returns at once, watch it to see it go."""
        body = self._transport.call("DELETE", f"/v1/apps/{_part(app)}", query={"volumes": volumes})
        return decode(body, api.AppView)

    def restart(self, app: str, service: str) -> api.ServiceView:
        """Have every task of one service replaced as it is."""
        return self._do("POST", f"/v1/apps/{_part(app)}/services/{_part(service)}/restart", api.ServiceView)

    def restart_services(self, app: str, request: release_api.RestartRequest, key: str = "") -> api.DeployResult:
        """Have the tasks of several services, or of all, replaced as they are; one release."""
        return self._do("POST", f"/v1/apps/{_part(app)}/restart", api.DeployResult, request, key)

    def rollback(self, app: str, request: release_api.RollbackRequest, key: str = "") -> api.DeployResult:
        """Have an earlier release run again, as a new one that repeats it."""
        return self._do("POST", f"/v1/apps/{_part(app)}/rollback", api.DeployResult, request, key)

    def pause(self, app: str) -> api.AppView:
        """Have no further task replaced until `resume`."""
        return self._do("POST", f"/v1/apps/{_part(app)}/pause", api.AppView)

    def resume(self, app: str) -> api.AppView:
        """Have a rollout go on that was paused or had failed."""
        return self._do("POST", f"/v1/apps/{_part(app)}/resume", api.AppView)

    def grant(self, request: api.GrantRequest) -> Grant:
        """Record a grant."""
        return self._do("POST", "/v1/grants", Grant, request)

    def revoke(self, id: str) -> Grant:
        """Take a grant back."""
        return self._do("DELETE", f"/v1/grants/{_part(id)}", Grant)

    def adopt(self, request: api.AdoptRequest) -> api.AdoptResult:
        """Take over the containers `docker compose` runs for an app."""
        return self._do("POST", f"/v1/adopt/{_part(request.deploy.spec.name)}", api.AdoptResult, request)

    def ensure_image(self, request: api.ImageRequest) -> Iterator[ImageProgress]:
        """Make an image present; yields progress, "resolved" or "failed" last."""
        with self._transport.open("POST", "/v1/images/ensure", body=request) as stream:
            for line in filter(None, stream.lines()):
                yield decode(line, ImageProgress)

    def backup(self) -> Stream:
        """Return the bytes of a consistent copy of the server's state; the caller closes the stream."""
        return self._transport.open("POST", "/v1/backup")

    # Following

    def logs(
        self,
        app: str,
        services: tuple[str, ...] = (),
        *,
        since: float | None = None,
        tail: int | None = None,
        follow: bool = False,
    ) -> Iterator[api.LogEntry]:
        """Yield lines of an app's tasks, dead ones too, in the order of their times; with *follow* for ever."""
        query: Query = {"services": ",".join(services), "since": since, "tail": tail, "follow": follow}
        with self._transport.open("GET", f"/v1/apps/{_part(app)}/logs", query=query) as stream:
            for line in filter(None, stream.lines()):
                yield decode(line, api.LogEntry)

    def watch_app(
        self, name: str, wait: Callable[[], float | None] = lambda: None
    ) -> Iterator[api.AppView | Gone | None]:
        """Yield the app now and whenever it changed, then Gone; None where the server only said that it lives.

        Args:
            wait: Says how many seconds the server may be silent from now on before ServerUnavailableError.
        """
        with self._transport.open("GET", f"/v1/apps/{_part(name)}/watch") as stream:
            for event, data in _events(stream, wait):
                if event == "gone":
                    yield Gone()
                    return
                yield decode(data, api.AppView) if event == "app" else None

    def watch_events(self, app: str = "", since: int | None = None) -> Iterator[api.EventView]:
        """Yield events as they happen, those after revision *since* first."""
        with self._transport.open("GET", "/v1/events/watch", query={"app": app, "since": since}) as stream:
            for event, data in _events(stream, lambda: None):
                if event == "event":
                    yield decode(data, api.EventView)

    # How

    def _get(self, path: str, kind: type[T], query: Query | None = None) -> T:
        return decode(self._transport.call("GET", path, query=query), kind)

    def _do(self, method: str, path: str, kind: type[T], body: object = None, key: str = "") -> T:
        return decode(self._transport.call(method, path, body=body, key=key), kind)

    def _all(self, path: str, kind: type[T], query: Query | None = None) -> list[T]:
        return list(self._pages(path, kind, query))

    def _pages(self, path: str, kind: type[T], query: Query | None = None) -> Iterator[T]:
        after: str | None = None
        while True:
            whole: Query = {**(query or {}), "limit": PAGE_SIZE, "after": after}
            page = self._get(path, _Items, whole)
            for item in page.items:
                yield decode(bytes(item), kind)
            after = page.next
            if after is None:
                return


def _part(text: str) -> str:
    return quote(text, safe="")


def _events(stream: Stream, wait: Callable[[], float | None]) -> Iterator[tuple[str, bytes]]:
    """Yield (event, data) of a server-sent event stream; ("", b"") for a comment, which says only that it lives."""
    name, data = "", b""
    for line in stream.lines(wait):
        if line.startswith(b":"):
            yield "", b""
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode()
        elif line.startswith(b"data:"):
            data += line[5:].strip()
        elif not line and name:
            yield name, data
            name, data = "", b""
