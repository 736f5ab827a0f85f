"""Where a published port is listened on, and what is done with what comes in. Pure."""

from pilothouse.agent.proxy.clusters import (
    BUFFER_BYTES,
    BYTES,
    MAX_HEADERS,
    MAX_HEADERS_KB,
    PRESERVE_CASE,
    cluster_names,
)
from pilothouse.agent.proxy.document import Json, duration, extension, from_file, port_name, routes_file, typed
from pilothouse.agent.proxy.protocols import Manner, manner_of, peek_seconds
from pilothouse.agent.proxy.shares import Served

IDLE_SECONDS = 3600.0
_BACKLOG = 4096
# SO_KEEPALIVE, then the idle time and the interval of the probes in seconds, and how many may go unanswered.
_KEEPALIVE = ((1, 9, 1), (6, 4, 300), (6, 5, 75), (6, 6, 5))
_FORGED = ("forwarded", "x-real-ip")
_FORGED_PREFIXES = ("x-forwarded-", "x-envoy-")


def addresses(port: Served, *, ipv6: bool) -> tuple[str, ...]:
    """Return the host addresses a port is listened on; *ipv6* says whether the host has that."""
    if port.host_ip:
        return (port.host_ip,)
    return ("0.0.0.0", "::") if ipv6 else ("0.0.0.0",)  # noqa: S104 - it is published


def listener(port: Served, *, ipv6: bool) -> Json:
    """Return the listener of a port."""
    manner = manner_of(port)
    first, *more = ({"socket_address": {"address": each, "port_value": port.host_port}} for each in _all(port, ipv6))
    found = typed(
        "config.listener.v3.Listener",
        name=port_name(port),
        address=first,
        stat_prefix=port_name(port),
        per_connection_buffer_limit_bytes=BUFFER_BYTES,
        tcp_backlog_size=_BACKLOG,
        socket_options=[
            {"level": level, "name": name, "int_value": value, "state": "STATE_PREBIND"}
            for level, name, value in _KEEPALIVE
        ],
    )
    if more:
        found["additional_addresses"] = [{"address": each} for each in more]
    if manner is Manner.SEEN:
        spoken = ["http/1.0", "http/1.1", "h2c"]
        found["listener_filters"] = [
            extension(
                "envoy.filters.listener.http_inspector",
                "extensions.filters.listener.http_inspector.v3.HttpInspector",
            )
        ]
        found["listener_filters_timeout"] = duration(peek_seconds(port))
        found["continue_on_listener_filters_timeout"] = True
        match = {"application_protocols": spoken}
        found["filter_chains"] = [{"name": "http", "filter_chain_match": match, "filters": [_requests(port)]}]
        found["default_filter_chain"] = {"name": "bytes", "filters": [_bytes(port)]}
    else:
        what = _requests(port) if manner.http else _bytes(port)
        found["filter_chains"] = [{"name": "http" if manner.http else "bytes", "filters": [what]}]
    return found


def _all(port: Served, ipv6: bool) -> tuple[str, ...]:
    return addresses(port, ipv6=ipv6)


def _bytes(port: Served) -> Json:
    return extension(
        "envoy.filters.network.tcp_proxy",
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=port_name(port),
        cluster=cluster_names(port)[BYTES],
        # A connection may be silent for days; keep-alive probes tell whether somebody is there.
        idle_timeout="0s",
        max_connect_attempts=3,
    )


def _requests(port: Served) -> Json:
    """Return the treatment of requests: they reach the program as they were sent, but for who called."""
    return extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=port_name(port),
        codec_type="AUTO",
        rds={"config_source": from_file(routes_file(port)), "route_config_name": port_name(port)},
        http_filters=[
            extension(
                "envoy.filters.http.router",
                "extensions.filters.http.router.v3.Router",
                suppress_envoy_headers=True,
            )
        ],
        upgrade_configs=[{"upgrade_type": "websocket"}],
        use_remote_address=True,
        early_header_mutation_extensions=[_without_forged_headers()],
        generate_request_id=False,
        preserve_external_request_id=True,
        server_header_transformation="PASS_THROUGH",
        normalize_path=False,
        merge_slashes=False,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        max_request_headers_kb=MAX_HEADERS_KB,
        common_http_protocol_options={"idle_timeout": duration(IDLE_SECONDS), "max_headers_count": MAX_HEADERS},
        stream_idle_timeout=duration(IDLE_SECONDS),
        request_headers_timeout="60s",
        http_protocol_options={
            "header_key_format": PRESERVE_CASE,
            "accept_http_10": True,
            "default_host_for_http_10": "localhost",
            "enable_trailers": True,
        },
        http2_protocol_options={"allow_connect": True},
        local_reply_config=_own_answers(port),
    )


def _without_forged_headers() -> Json:
    mutations: list[Json] = [{"remove": name} for name in _FORGED]
    mutations += [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in _FORGED_PREFIXES]
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=mutations,
    )


def _own_answers(port: Served) -> Json:
    """Return what is answered where no program did."""
    said = {
        "UH": f"No task of {port.service_id} is ready. Its state: pilothouse ps; why: pilothouse explain "
        f"{port.service_id}",
        "UF": f"The task of {port.service_id} that was asked does not accept connections on the published port.",
        "UC": f"The task of {port.service_id} that was asked closed the connection before it answered.",
    }
    return {
        "mappers": [
            {"filter": {"response_flag_filter": {"flags": [flag]}}, "body": {"inline_string": text}}
            for flag, text in said.items()
        ],
        "body_format": {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%\n"}},
    }
