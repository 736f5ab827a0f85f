"""One loss of a host, measured from outside: when its tasks ran elsewhere, and when what was left of them was gone."""

import contextlib
import dataclasses
import time

from tests.bed.shop import containers
from tests.engine import until

_PATIENCE_SECONDS = 45.0


@dataclasses.dataclass
class Loss:
    """What it took; seconds.

    Attributes:
        web, ledger: Until all of the service ran on the other hosts; infinite if it never did.
        stale: The ids of the containers that ran on the host.
        gone: From the heal until none of them ran; None after a power cut.
    """

    web: float
    ledger: float
    stale: set
    gone: float | None = None


def whose_ledger(cluster):
    """Return the host that the ledger runs on."""
    (task,) = [each for each in cluster.tasks("shop") if each["service"] == "ledger" and each["ready"]]
    return next(host for host in cluster.hosts if host.name == task["node_id"])


def settled(cluster, witness):
    """Wait until the whole app is seen running, each slot once."""
    cluster.wait_converged("shop", 120.0)

    def seen():
        return [len(witness.running(service)) for service in ("shop/web", "shop/ledger")] == [6, 1]

    until(seen, "the whole app is seen", _PATIENCE_SECONDS, 0.1)


def replaced(witness, host, fault):
    """Do *fault*, which takes *host* away, and return how long the app took to be whole without it."""
    stale = {each.id for each in witness.running("shop/web") if each.host == host.name}
    begun = time.monotonic()
    fault()
    took = {}

    def whole():
        for service, count in (("shop/web", 6), ("shop/ledger", 1)):
            elsewhere = {each.id for each in witness.running(service) if each.host != host.name}
            if len(elsewhere) >= count:
                took.setdefault(service, time.monotonic() - begun)
        return len(took) == 2

    with contextlib.suppress(AssertionError):
        until(whole, "the app is whole without the host", _PATIENCE_SECONDS)
    never = float("inf")
    return Loss(web=took.get("shop/web", never), ledger=took.get("shop/ledger", never), stale=stale)


def cut_and_heal(ground, witness, host):
    """Cut the cable of *host* until the app is whole without it, heal it, and return the loss."""
    faults = []
    loss = replaced(witness, host, lambda: faults.append(ground.faults.cut(host)))
    healed = time.monotonic()
    faults.pop().heal()

    def gone():
        return not loss.stale & {each.id for each in witness.running("shop/web", 0.3)}

    until(gone, "no stale copy runs", _PATIENCE_SECONDS)
    last = [each.last for each in witness.copies("shop/web") if each.id in loss.stale]
    loss.gone = max(last, default=healed) - healed
    return loss


def power_cut_and_boot(cluster, witness, host):
    """Take the power of *host* until the app is whole without it, give it back, and return the loss."""
    loss = replaced(witness, host, host.power_cut)
    host.boot()
    cluster.start_agent(host)
    until(lambda: not loss.stale & set(containers(host)), "nothing of before runs there", _PATIENCE_SECONDS)
    return loss
