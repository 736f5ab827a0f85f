"""What Envoy is started with: where its files are, its admin socket, and what it counts. Pure."""

from pilothouse.agent.proxy.document import CLUSTERS, LISTENERS, Json, extension, from_file

CONFIGURATION = "config/bootstrap.json"
_COUNTED = (
    r"^cluster\.p[^.]*\.(upstream_rq_completed|upstream_rq_5xx|upstream_rq_time|upstream_rq_timeout|upstream_cx_total"
    r"|upstream_cx_connect_fail|upstream_cx_none_healthy|upstream_cx_destroy_remote_with_active_rq|upstream_rq_retry"
    r"|upstream_rq_rx_reset|membership_healthy|update_.*|version_text)$",
    r"^(cluster_manager\.cds|listener_manager\.lds|http\.p[^.]*\.rds\.[^.]*)\.(update_.*|version_text)$",
    r"^listener\.p[^.]*\.downstream_cx_active$",
    r"^listener_manager\.(listener_create_failure|total_listeners_active|workers_started)$",
    r"^http\.p[^.]*\.(downstream_rq_total|downstream_rq_active|downstream_cx_active|downstream_rq_tx_reset)$",
    r"^(server\.(state|live|uptime|memory_allocated|memory_heap_size)|main_thread\.watchdog_miss)$",
)


def buckets_ms() -> list[float]:
    """Return the upper bounds of latencies that are told apart, in milliseconds: each a quarter above the last."""
    found, bound = [], 1.0
    while bound < 600_000:
        found.append(bound)
        bound = max(bound + 1, round(bound * 1.25))
    return found


def bootstrap(admin_socket: str, max_connections: int) -> Json:
    """Return the file Envoy is started with.

    Paths are relative to the directory that it runs in. Whatever it may do is in other files, which it watches.

    Args:
        admin_socket: Its path.
        max_connections: It takes no more than this from callers, so that it never lacks descriptors.
    """
    return {
        "node": {"id": "pilothouse", "cluster": "pilothouse"},
        "admin": {"address": {"pipe": {"path": admin_socket, "mode": 0o600}}},
        "dynamic_resources": {"lds_config": from_file(LISTENERS), "cds_config": from_file(CLUSTERS)},
        # Latencies are summed up as often; a canary is judged by them.
        "stats_flush_interval": "1s",
        "stats_config": {
            "stats_matcher": {
                "inclusion_list": {"patterns": [{"safe_regex": {"regex": pattern}} for pattern in _COUNTED]}
            },
            "histogram_bucket_settings": [{"match": {"prefix": "cluster"}, "buckets": buckets_ms()}],
        },
        "overload_manager": {
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=max_connections,
                )
            ]
        },
    }
