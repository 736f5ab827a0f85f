"""`pilothouse cluster set`: what people decide about the cluster as a whole."""

import click

from pilothouse.cli import options, output
from pilothouse.cli.command import command
from pilothouse.errors import InvalidRequestError
from pilothouse.model.cluster import PoolPolicy
from pilothouse.model.placement import Pool
from pilothouse.model.placement_api import ClusterSettings

_FORM = "POOL=most:PERCENT,reserved:PERCENT"


@command(
    "set",
    examples=[
        ("pilothouse cluster set --rebalance-budget 10", "at most 10 tasks an hour are moved to spread them better"),
        ("pilothouse cluster set --pool batch=most:50,reserved:10", "batch work may take half of it, and has a tenth"),
    ],
)
@click.option(
    "--rebalance-budget",
    "budget",
    metavar="N",
    type=int,
    help="So many tasks may be moved in an hour to spread them better; 0 leaves it to people.",
)
@click.option(
    "--pool",
    "pools",
    metavar=_FORM,
    multiple=True,
    help="What services, batch or datastores may take of the cluster at most, and what is kept free for them.",
)
@options.as_json
def set_(*, budget: int | None, pools: tuple[str, ...], as_json: bool) -> None:
    """Decide how the nodes are shared, and how many tasks may be moved for balance; what is not named stays.

    Percentages are of the CPU time and memory that can be reserved in the whole cluster.
    """
    if budget is None and not pools:
        raise InvalidRequestError("nothing is to be set; write --rebalance-budget N or --pool " + _FORM)
    asked = ClusterSettings(rebalance_budget=budget, pools=dict(pool_of(text) for text in pools))
    found = options.client().set_cluster(asked)
    if as_json:
        output.json(found)
        return
    output.line(f"rebalance budget: {found.rebalance_budget} tasks an hour")
    rows = [(pool.value, found.pools.get(pool, PoolPolicy())) for pool in Pool]
    output.table(
        ("POOL", "AT MOST", "RESERVED"), [(name, f"{each.most} %", f"{each.reserved} %") for name, each in rows]
    )


def pool_of(text: str) -> tuple[Pool, PoolPolicy]:
    """Return the pool and policy that "batch=most:50,reserved:10" names.

    Raises:
        InvalidRequestError: It cannot be read.
    """
    name, _, rest = text.partition("=")
    known = {pool.value: pool for pool in Pool}
    if name not in known:
        raise InvalidRequestError(f"{name[:40]!r} is no pool; write {', '.join(known)}, as in {_FORM}")
    numbers: dict[str, int] = {}
    for part in rest.split(","):
        key, _, number = part.strip().partition(":")
        if key not in {"most", "reserved"} or key in numbers or not (number.isascii() and number.isdigit()):
            raise InvalidRequestError(f"{part.strip()[:40]!r} of --pool {name} cannot be read; write {_FORM}")
        numbers[key] = int(number[:9])
    return known[name], PoolPolicy(**numbers)
