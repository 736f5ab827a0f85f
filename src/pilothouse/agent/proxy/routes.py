"""How the requests of a published port are divided between its sides. Pure."""

from pilothouse.agent.proxy.clusters import BUFFER_BYTES, NEW, OLD, cluster_names
from pilothouse.agent.proxy.document import Json, extension, port_name, typed
from pilothouse.agent.proxy.shares import Served

_RETRIES = 3


def route_configuration(port: Served) -> Json:
    """Return the routes of a port: every path of every host, by weight.

    Nothing limits how long an answer may take. Only what never reached a program is sent again, to another one.
    """
    names = cluster_names(port)
    old, new = port.weights
    to: Json = (
        {"cluster": names[OLD]}
        if new == 0
        else {"weighted_clusters": {"clusters": [_part(names[OLD], old), _part(names[NEW], new)]}}
    )
    again = {
        "retry_on": "connect-failure,reset-before-request,refused-stream",
        "num_retries": _RETRIES,
        "retry_host_predicate": [
            extension(
                "envoy.retry_host_predicates.previous_hosts",
                "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.1s"},
    }
    route = {"match": {"prefix": "/"}, "route": {**to, "timeout": "0s", "retry_policy": again}}
    host = {"name": "all", "domains": ["*"], "routes": [route], "request_body_buffer_limit": BUFFER_BYTES // 4}
    return typed(
        "config.route.v3.RouteConfiguration",
        name=port_name(port),
        virtual_hosts=[host],
        # Envoy says there once more who called.
        request_headers_to_remove=["x-envoy-external-address", "x-envoy-internal"],
    )


def _part(cluster: str, weight: int) -> Json:
    return {"name": cluster, "weight": weight}
