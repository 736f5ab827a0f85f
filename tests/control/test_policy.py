"""What a manifest says of a rollout wins; what it leaves open the platform decides."""

import pytest

from pilothouse.control.orchestrators.rollout import FailureAction, policy, update_order
from pilothouse.model.container import ContainerSpec, Mount, MountKind, NetworkAttachment, Port, PortMode
from pilothouse.model.exclusive import in_the_way
from pilothouse.model.objects import ResolvedImage, Service
from pilothouse.model.spec import ReleasePolicy, UpdateOrder, UpdatePolicy
from tests.control.world import spec

STOP_FIRST, START_FIRST = UpdateOrder.STOP_FIRST, UpdateOrder.START_FIRST
DATA = Mount(kind=MountKind.VOLUME, source="d", target="/d")
READ_ONLY = Mount(kind=MountKind.VOLUME, source="d", target="/d", read_only=True)


def service(rolling_back=False, **fields):
    return Service(
        id="shop/web", app="shop", name="web", spec=spec(**fields), image=ResolvedImage(ref="x"),
        rolling_back=rolling_back,
    )  # fmt: skip


def rule(slots=8, base=1, undoes=0, rolling_back=False, **written):
    return policy(service(rolling_back, update=UpdatePolicy(**written)), slots, base=base, undoes=undoes)


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (ContainerSpec(image="x"), START_FIRST),
        (ContainerSpec(image="x", ports=(Port(target=80),)), START_FIRST),
        (ContainerSpec(image="x", ports=(Port(target=80, published=(80, 80)),)), START_FIRST),
        (ContainerSpec(image="x", ports=(Port(target=80, published=(80, 80), mode=PortMode.HOST),)), STOP_FIRST),
        (ContainerSpec(image="x", ports=(Port(target=80, published=(80, 90)),)), STOP_FIRST),
        (ContainerSpec(image="x", ports=(Port(target=53, protocol="udp"),)), STOP_FIRST),
        (ContainerSpec(image="x", container_name="mine"), STOP_FIRST),
        (ContainerSpec(image="x", networks=(NetworkAttachment(network="a", ipv4_address="10.0.0.9"),)), STOP_FIRST),
        (ContainerSpec(image="x", mounts=(DATA,)), STOP_FIRST),
        (ContainerSpec(image="x", mounts=(READ_ONLY,)), START_FIRST),
        (ContainerSpec(image="x", mounts=(Mount(kind=MountKind.TMPFS, target="/d"),)), START_FIRST),
        (ContainerSpec(image="x", network_mode="host"), STOP_FIRST),
    ],
)
def test_only_tasks_that_would_be_in_each_others_way_are_replaced_stop_first(container, expected):
    assert update_order(spec(container=container)) is expected
    assert bool(in_the_way(container)) is (expected is STOP_FIRST)


def test_a_written_order_wins_unless_one_port_of_the_engine_makes_it_impossible():
    fixed = ContainerSpec(image="x", ports=(Port(target=80, published=(80, 80), mode=PortMode.HOST),))
    assert update_order(spec(update=UpdatePolicy(order=STOP_FIRST))) is STOP_FIRST
    assert update_order(spec(container=fixed, update=UpdatePolicy(order=START_FIRST))) is STOP_FIRST


@pytest.mark.parametrize(("written", "slots", "expected"), [(None, 1, 1), (None, 8, 2), (0, 5, 5), (3, 8, 3)])
def test_a_quarter_of_the_slots_is_worked_on_at_once_unless_written_otherwise(written, slots, expected):
    assert rule(slots, parallelism=written).parallelism == expected


def test_what_replaces_a_stable_release_settles_for_ten_seconds_and_is_watched_for_as_long():
    found = rule()
    assert (found.settle_seconds, found.monitor_seconds, found.deadline_seconds) == (10, 10, 600)
    assert (found.delay_seconds, found.max_failure_ratio) == (0, 0)


def test_new_tasks_settle_as_long_as_they_are_watched_but_at_most_ten_seconds_and_a_written_settle_wins():
    assert (rule(monitor_seconds=0).settle_seconds, rule(monitor_seconds=0).monitor_seconds) == (0, 0)
    assert (rule(monitor_seconds=3).settle_seconds, rule(monitor_seconds=3).monitor_seconds) == (3, 3)
    assert (rule(monitor_seconds=30).settle_seconds, rule(monitor_seconds=30).monitor_seconds) == (10, 30)
    both = service(
        update=UpdatePolicy(monitor_seconds=30), release=ReleasePolicy(settle_seconds=2, deadline_seconds=60)
    )
    found = policy(both, 1, base=3)
    assert (found.settle_seconds, found.monitor_seconds, found.deadline_seconds) == (2, 30, 60)


def test_without_a_stable_release_nothing_is_waited_for_but_that_an_unchecked_task_runs_for_five_seconds():
    found = rule(base=0, monitor_seconds=None)
    assert (found.settle_seconds, found.unchecked_seconds, found.monitor_seconds) == (0, 5, 0)
    assert not found.guarded


def test_what_a_failed_release_is_rolled_back_to_has_proved_itself_and_does_not_settle_again():
    assert rule(undoes=4, rolling_back=True).settle_seconds == 0
    assert rule(undoes=0, rolling_back=True).settle_seconds == 10


def test_a_rollback_goes_as_rollback_config_says():
    back = service(
        rolling_back=True, update=UpdatePolicy(parallelism=1, order=STOP_FIRST),
        rollback=UpdatePolicy(parallelism=4, delay_seconds=2),
    )  # fmt: skip
    found = policy(back, 8, base=1)
    assert (found.parallelism, found.order, found.delay_seconds) == (4, START_FIRST, 2)


@pytest.mark.parametrize(
    ("written", "base", "back", "expected"),
    [
        ("", 1, False, FailureAction.ROLLBACK),
        ("rollback", 1, False, FailureAction.ROLLBACK),
        ("pause", 1, False, FailureAction.PAUSE),
        ("continue", 1, False, FailureAction.CONTINUE),
        ("", 0, False, FailureAction.PAUSE),
        ("continue", 0, False, FailureAction.CONTINUE),
        ("", 1, True, FailureAction.PAUSE),
    ],
)
def test_a_failure_leads_back_only_where_there_is_something_to_go_back_to(written, base, back, expected):
    found = policy(
        service(back, update=UpdatePolicy(failure_action=written), rollback=UpdatePolicy(failure_action=written)),
        2, base=base,
    )  # fmt: skip
    assert found.failure_action is expected
