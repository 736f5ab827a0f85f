"""Where tasks could go, what would become of them, and what people decide about the cluster as a whole."""

from typing import Annotated

import msgspec

from pilothouse.errors import InvalidRequestError, NotClusteredError, NotFoundError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ClusterSpec
from pilothouse.model.placement import Pool
from pilothouse.model.placement_api import ClusterSettings, RebalanceRequest, RebalanceView, Simulation, WhyNot
from pilothouse.model.states import Writer
from pilothouse.server.api.route import Call, NoQuery, Query, Route
from pilothouse.server.aside import reckon
from pilothouse.server.placing.rebalancing import ask, proposed, view
from pilothouse.server.placing.simulate import lose
from pilothouse.server.placing.why_not import why_not
from pilothouse.store.interface import WriteTx

MOST_LOST = 1_000
MOST_MOVED = 100_000
MOST_AT_ONCE = 200
_WHOLE = 100


class NodeQuery(Query, frozen=True, kw_only=True):
    """Which node is asked about."""

    node: Annotated[str, msgspec.Meta(min_length=1, max_length=255, description="The node's id or host name")]


class LoseQuery(Query, frozen=True, kw_only=True):
    """Which nodes are imagined to be lost."""

    lose: Annotated[
        str,
        msgspec.Meta(min_length=1, max_length=100_000, description="Ids or host names of nodes, with commas between"),
    ]


async def read_why_not(call: Call[NodeQuery, None]) -> WhyNot:
    """Return what every rule says of one more task of the service on the node."""
    service = f"{call.path['app']}/{call.path['service']}"
    return await reckon(call.context.store, lambda tx: why_not(tx, service, call.query.node))


async def simulate(call: Call[LoseQuery, None]) -> Simulation:
    """Return what losing nodes would lead to."""
    names = [name.strip() for name in call.query.lose.split(",") if name.strip()]
    if not names or len(names) > MOST_LOST:
        raise InvalidRequestError(f"{len(names)} nodes cannot be imagined as lost; name 1 to {MOST_LOST:,}")
    return await reckon(call.context.store, lambda tx: lose(tx, names))


async def rebalance(call: Call[NoQuery, RebalanceRequest]) -> RebalanceView:
    """Have running tasks moved to where they would be put today, or say which."""
    at, most = call.context.clock.now(), call.body.most
    if not 1 <= most <= MOST_AT_ONCE:
        raise InvalidRequestError(f"{most} tasks cannot be moved at once; write 1 to {MOST_AT_ONCE}")
    if call.body.plan:
        return await reckon(call.context.store, lambda tx: view(tx, proposed(tx, most), asked=False))

    def write(tx: WriteTx) -> RebalanceView:
        moves = proposed(tx, most)
        ask(tx, moves, str(call.principal), at)
        told = view(tx, moves, asked=True)
        if moves:
            entry = Entry(
                at=at,
                principal=str(call.principal),
                action="cluster.rebalance",
                object="cluster/cluster",
                summary=f"{len(moves)} to be moved: {', '.join(f'{m.app}/{m.task} to {m.target}' for m in told.moves)}",
                request_id=call.request_id,
            )
            record(tx, entry)
        return told

    return await call.context.store.update(Writer.API, write)


async def decide(call: Call[NoQuery, ClusterSettings]) -> ClusterSpec:
    """Change what people decided about the cluster as a whole; what is not named stays.

    Raises:
        InvalidRequestError: A number is out of range, or more is reserved than there is.
        NotClusteredError: The platform runs on one host.
    """
    at, asked = call.context.clock.now(), call.body

    def write(tx: WriteTx) -> ClusterSpec:
        cluster = tx.get(Cluster, CLUSTER_ID)
        if cluster is None:
            raise NotClusteredError("this platform runs on one host, so there is no cluster to decide about; "
                                    "'pilothouse init' makes it one")  # fmt: skip
        spec = msgspec.structs.replace(
            cluster.spec,
            pools={**cluster.spec.pools, **asked.pools},
            rebalance_budget=cluster.spec.rebalance_budget
            if asked.rebalance_budget is None
            else asked.rebalance_budget,
        )
        _check(spec)
        if spec != cluster.spec:
            tx.put(msgspec.structs.replace(cluster, spec=spec))
            entry = Entry(
                at=at,
                principal=str(call.principal),
                action="cluster.set",
                object="cluster/cluster",
                summary=_summary(spec),
                request_id=call.request_id,
            )
            record(tx, entry)
        return spec

    return await call.context.store.update(Writer.API, write)


def _check(spec: ClusterSpec) -> None:
    if not 0 <= spec.rebalance_budget <= MOST_MOVED:
        raise InvalidRequestError(
            f"a rebalance budget of {spec.rebalance_budget} is out of range; write how many tasks may be moved in an "
            f"hour, 0 to {MOST_MOVED:,}"
        )
    for pool, policy in spec.pools.items():
        if not 0 <= policy.reserved <= policy.most <= _WHOLE:
            raise InvalidRequestError(
                f"pool {pool.value}: {policy.reserved} % reserved and {policy.most} % at most cannot be; write "
                "percentages from 0 to 100, of which the reserved one is not the larger"
            )
    if (total := sum(policy.reserved for policy in spec.pools.values())) > _WHOLE:
        raise InvalidRequestError(f"{total} % would be reserved in all, which is more than there is; reserve less")


def _summary(spec: ClusterSpec) -> str:
    pools = [
        f"{pool.value} {policy.reserved} % reserved, {policy.most} % at most"
        for pool in Pool
        if (policy := spec.pools.get(pool)) is not None
    ]
    return "; ".join((f"rebalance budget {spec.rebalance_budget}", *pools))


ROUTES = (
    Route(
        method="POST",
        path="/v1/rebalance",
        name="cluster.rebalance",
        summary="Have running tasks moved to where they would be put today, or with `plan` only say which",
        permission=Permission.NODE_WRITE,
        handler=rebalance,
        body=RebalanceRequest,
        answer=RebalanceView,
    ),
    Route(
        method="POST",
        path="/v1/cluster/settings",
        name="cluster.set",
        summary="Change what people decided about the cluster as a whole: pools, and how much may be rebalanced",
        permission=Permission.CLUSTER_ADMIN,
        handler=decide,
        body=ClusterSettings,
        answer=ClusterSpec,
        errors=(InvalidRequestError, NotClusteredError),
    ),
    Route(
        method="GET",
        path="/v1/apps/{app}/services/{service}/why-not",
        name="services.why-not",
        summary="What every rule says of one more task of a service on a node",
        permission=Permission.APP_READ,
        handler=read_why_not,
        query=NodeQuery,
        answer=WhyNot,
        errors=(NotFoundError,),
    ),
    Route(
        method="GET",
        path="/v1/simulate",
        name="nodes.simulate",
        summary="What losing nodes would lead to: which tasks go where, what each app loses",
        permission=Permission.NODE_READ,
        handler=simulate,
        query=LoseQuery,
        answer=Simulation,
        errors=(NotFoundError,),
    ),
)
