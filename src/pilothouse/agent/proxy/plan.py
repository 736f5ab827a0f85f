"""Everything Envoy reads while it runs, from what should be served: pure and deterministic."""

from collections.abc import Iterable

import msgspec

from pilothouse.agent.proxy.clusters import assignment, cluster_names, clusters, endpoints
from pilothouse.agent.proxy.document import CLUSTERS, LISTENERS, Json, endpoints_file, port_name, routes_file, typed
from pilothouse.agent.proxy.listeners import listener
from pilothouse.agent.proxy.protocols import manner_of
from pilothouse.agent.proxy.routes import route_configuration
from pilothouse.agent.proxy.shares import Served


class Plan(msgspec.Struct, frozen=True):
    """The resources of each file, by path; what has no resource has a file all the same.

    Attributes:
        listeners: By port name; `routed` are the paths of the routes that one of them reads.
        endpoints: By path of the file; `usable` are those of them that get something.
    """

    listeners: dict[str, Json]
    clusters: list[Json]
    routes: dict[str, Json]
    endpoints: dict[str, Json]
    usable: frozenset[str]
    routed: dict[str, str]

    @property
    def files(self) -> dict[str, list[Json]]:
        """The resources of every file, by path."""
        single = {**self.endpoints, **self.routes}
        return {
            **{path: [resource] for path, resource in single.items()},
            CLUSTERS: self.clusters,
            LISTENERS: list(self.listeners.values()),
        }


def plan(ports: Iterable[Served], *, ipv6: bool) -> Plan:
    """Return what Envoy should be told for *ports*; *ipv6* says whether the host has it."""
    found = Plan(listeners={}, clusters=[], routes={}, endpoints={}, usable=frozenset(), routed={})
    usable = set()
    for port in ports:
        found.listeners[port_name(port)] = listener(port, ipv6=ipv6)
        found.clusters.extend(typed("config.cluster.v3.Cluster", **each) for each in clusters(port))
        if manner_of(port).http:
            found.routed[port_name(port)] = routes_file(port)
            found.routes[routes_file(port)] = route_configuration(port)
        for part, name in cluster_names(port).items():
            these = endpoints(port, part)
            found.endpoints[endpoints_file(name)] = assignment(name, these)
            if any(each.weight for each in these):
                usable.add(endpoints_file(name))
    return msgspec.structs.replace(found, usable=frozenset(usable))
