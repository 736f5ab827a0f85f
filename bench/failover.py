"""Three real hosts, one taken away: how long until what ran there runs elsewhere, and whether anything ran twice.

    bench/failover.py [TRIALS]        10 unless said otherwise; half are power cuts, half are cut cables

The app has six tasks of a stateless service and a singleton that may never run twice. Each trial takes the host away
that the singleton is on. Seen from outside: every engine is asked ten times a second which containers run, from the
moment of the fault until the six, or the one, run on the other hosts. After a cut the cable is healed, and the time is
taken until no container runs that was replaced. Two copies of the singleton count as overlapping if both were
certainly running at one moment.
"""

import sys

from harness import median, progress
from tests.bed import bed
from tests.bed.cluster import Cluster
from tests.bed.losing import cut_and_heal, power_cut_and_boot, settled, whose_ledger
from tests.bed.shop import FENCED_SECONDS, MANIFEST, STALE_SECONDS, STATELESS_SECONDS
from tests.bed.witness import Witness


def _trial(number, ground, cluster, witness):
    settled(cluster, witness)
    host = whose_ledger(cluster)
    if number % 2:
        loss, how = power_cut_and_boot(cluster, witness, host), "power cut"
    else:
        loss, how = cut_and_heal(ground, witness, host), "cable cut"
    stale = "" if loss.gone is None else f", stale copies gone {loss.gone:.2f} s after the heal"
    progress(
        f"trial {number + 1}, {how} of {host.name}: stateless {loss.web:.2f} s, singleton {loss.ledger:.2f} s{stale}"
    )
    # A node that was lost gets no new work for minutes; one that is set up anew does.
    cluster.reinstall(host)
    return loss


def _p99(values):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def main(trials):
    """Run the trials and print the figures; exit with 1 if a promise was broken."""
    with bed(3) as ground:
        cluster = Cluster(ground.hosts)
        cluster.begin()
        cluster.up(MANIFEST)
        with Witness(cluster.hosts) as witness:
            losses = [_trial(number, ground, cluster, witness) for number in range(trials)]
            overlap = witness.overlap("shop/ledger")
            copies = len(witness.copies("shop/ledger"))
        cluster.down("shop")
    web, ledger = [each.web for each in losses], [each.ledger for each in losses]
    gone = [each.gone for each in losses if each.gone is not None]
    print(f"{trials} trials, {copies} copies of the singleton, {witness.rounds} looks at every engine")
    print(f"overlapping copies of the singleton: {'none' if overlap <= 0 else f'for {overlap:.2f} s'}")
    print(f"stale copies gone after the heal: p50 {median(gone):.2f} s, worst {max(gone):.2f} s (≤ {STALE_SECONDS:g})")
    print(f"singleton replaced: p50 {median(ledger):.2f} s, p99 {_p99(ledger):.2f} s (≤ {FENCED_SECONDS:g})")
    print(f"stateless replaced: p50 {median(web):.2f} s, p99 {_p99(web):.2f} s (≤ {STATELESS_SECONDS:g})")
    kept = overlap <= 0 and max(gone) <= STALE_SECONDS
    kept = kept and _p99(ledger) <= FENCED_SECONDS and _p99(web) <= STATELESS_SECONDS
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
