"""A host that loses its power or its cable: what ran there runs elsewhere in time, and never twice if it may not."""

import time

import pytest

from tests.bed.losing import cut_and_heal, power_cut_and_boot, settled, whose_ledger
from tests.bed.shop import FENCED_SECONDS, MANIFEST, STALE_SECONDS, STATELESS_SECONDS, containers
from tests.bed.witness import Witness

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def _in_time(loss):
    assert loss.web <= STATELESS_SECONDS
    assert loss.ledger <= FENCED_SECONDS


def test_a_host_that_loses_its_power_is_replaced_and_nothing_of_before_is_started_again(cluster):
    cluster.up(MANIFEST)
    lost = whose_ledger(cluster)
    with Witness(cluster.hosts) as witness:
        settled(cluster, witness)
        before = containers(lost)
        _in_time(power_cut_and_boot(cluster, witness, lost))
        assert not before.keys() & containers(lost).keys()
        cluster.reinstall(lost)
        cluster.wait_converged("shop")
        assert witness.overlap("shop/ledger") <= 0


def test_a_host_that_is_cut_off_ends_what_may_not_run_twice_before_another_begins(ground, cluster):
    cluster.up(MANIFEST)
    lost = whose_ledger(cluster)
    with Witness(cluster.hosts) as witness:
        settled(cluster, witness)
        loss = cut_and_heal(ground, witness, lost)
        cluster.reinstall(lost)
        cluster.wait_converged("shop")
        assert witness.overlap("shop/ledger") <= 0
    _in_time(loss)
    assert loss.stale, "there was something to end"
    assert loss.gone <= STALE_SECONDS


def test_a_cable_that_loses_a_third_of_its_packets_moves_nothing(ground, cluster):
    cluster.up(MANIFEST)
    before = {host.name: containers(host) for host in cluster.hosts}
    with ground.faults.cut(cluster.hosts[1], loss=30):
        time.sleep(15)
    assert {host.name: containers(host) for host in cluster.hosts} == before
