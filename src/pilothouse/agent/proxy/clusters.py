"""Whom a published port can reach: its clusters and their endpoints. Pure.

HTTP has a cluster for each side of a split, so that each side has counts and latencies of its own; the new side is
always there, and empty without a split. Connections that are passed through have one cluster with weighted endpoints:
another cluster would cut them.
"""

import msgspec

from pilothouse.agent.proxy.document import Json, duration, endpoints_file, extension, from_file, port_name, typed
from pilothouse.agent.proxy.interface import Backend, Door
from pilothouse.agent.proxy.protocols import PROXY_PROTOCOL, Manner, manner_of
from pilothouse.agent.proxy.shares import Served, reachable, shares

OLD, NEW, BYTES = "old", "new", "bytes"
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 1.5
"""Kept connections to a program are closed before common servers close them: the shortest of them waits for 2 s. A
request that is sent just when its connection is closed cannot be told from one that was begun, and is lost."""
_WEIGHT = 10_000
_UNLIMITED = 1_000_000_000
BUFFER_BYTES = 256 * 1024
_HTTP_OPTIONS = "extensions.upstreams.http.v3.HttpProtocolOptions"
PRESERVE_CASE: Json = {
    "stateful_formatter": extension(
        "preserve_case", "extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
    )
}
MAX_HEADERS = 1000
MAX_HEADERS_KB = 1024


def cluster_names(port: Served) -> dict[str, str]:
    """Return the names of a port's clusters by what they are for."""
    manner = manner_of(port)
    parts = (*((OLD, NEW) if manner.http else ()), *((BYTES,) if manner.bytes else ()))
    return {part: f"{port_name(port)}-{part}" for part in parts}


def clusters(port: Served) -> list[Json]:
    """Return the clusters of a port; they are the same as long as how it is proxied is."""
    return [_cluster(port, part, name) for part, name in cluster_names(port).items()]


def _cluster(port: Served, part: str, name: str) -> Json:
    proxied = part == BYTES and port.client_address == PROXY_PROTOCOL
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), _UNLIMITED)
    budget = {"budget_percent": {"value": 25.0}, "min_retry_concurrency": 10}
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": from_file(endpoints_file(name))},
        "connect_timeout": duration(CONNECT_SECONDS),
        # Requests go to the less busy of two; connections by weight, which is how a split divides them.
        "lb_policy": "ROUND_ROBIN" if part == BYTES else "LEAST_REQUEST",
        # Below its default share of healthy endpoints Envoy would send to draining ones as well; it would also hold
        # changes back for up to a second.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0.0}, "update_merge_window": "0s"},
        "circuit_breakers": {"thresholds": [{**limits, "retry_budget": budget}]},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
        **({"transport_socket": _proxy_protocol()} if proxied else {}),
        **({} if part == BYTES else {"typed_extension_protocol_options": _http(manner_of(port))}),
    }


def _proxy_protocol() -> Json:
    plain = extension("envoy.transport_sockets.raw_buffer", "extensions.transport_sockets.raw_buffer.v3.RawBuffer")
    return extension(
        "envoy.transport_sockets.upstream_proxy_protocol",
        "extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        config={"version": "V2"},
        transport_socket=plain,
    )


def _http(manner: Manner) -> Json:
    one: Json = {"header_key_format": PRESERVE_CASE, "enable_trailers": True}
    two: Json = {"allow_connect": True}
    spoken: Json = (
        {"explicit_http_config": {"http2_protocol_options": two}}
        if manner is Manner.HTTP2
        else {"use_downstream_protocol_config": {"http_protocol_options": one, "http2_protocol_options": two}}
    )
    common = {
        "idle_timeout": duration(IDLE_SECONDS),
        "max_headers_count": MAX_HEADERS,
        "max_response_headers_kb": MAX_HEADERS_KB,
    }
    return {f"envoy.{_HTTP_OPTIONS}": typed(_HTTP_OPTIONS, common_http_protocol_options=common, **spoken)}


class Endpoint(msgspec.Struct, frozen=True):
    """Where one backend is in one cluster; it gets nothing new while *weight* is 0."""

    address: str
    port: int
    weight: int


def endpoints(port: Served, part: str) -> tuple[Endpoint, ...]:
    """Return the endpoints of one of a port's clusters.

    A backend that drains is on both sides of HTTP: a split that ends does not take it from the side where it has
    requests still.
    """
    parts = shares(port)
    found = []
    for backend in port.backends:
        side = {BYTES: True, NEW: port.is_new(backend), OLD: not port.is_new(backend)}[part]
        draining = backend.door is Door.DRAINING
        if not reachable(backend) or not (draining or (side and backend.door is Door.OPEN)):
            continue
        found.append(Endpoint(backend.address, backend.port.target, _weight(backend, part, parts.get(backend.task_id))))
    return tuple(found)


def _weight(backend: Backend, part: str, share: float | None) -> int:
    if backend.door is not Door.OPEN:
        return 0
    # A side of HTTP that gets nothing is left out by the routes, and must be ready for when they let it in.
    return 1 if part != BYTES else round(_WEIGHT * share) if share else 0


def assignment(cluster: str, found: tuple[Endpoint, ...]) -> Json:
    """Return the endpoints of a cluster as Envoy reads them."""
    return typed(
        "config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=cluster,
        endpoints=[{"lb_endpoints": [_lb_endpoint(each) for each in found]}] if found else [],
    )


def _lb_endpoint(endpoint: Endpoint) -> Json:
    where = {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}}
    health = "HEALTHY" if endpoint.weight else "DRAINING"
    return {
        "endpoint": {"address": where},
        "health_status": health,
        "load_balancing_weight": max(1, endpoint.weight),
    }
