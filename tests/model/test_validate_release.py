"""A release policy makes sense: steps lead upwards, and new tasks can stand beside old ones."""

import pytest

from pilothouse.model.container import ContainerSpec, Mount, MountKind, NetworkAttachment, Port, PortMode
from pilothouse.model.spec import (
    AppSpec,
    Judge,
    Mode,
    NetworkSpec,
    ReleasePolicy,
    ReleaseStep,
    ServiceSpec,
    Strategy,
    TaskSpec,
    UpdateOrder,
    UpdatePolicy,
    VolumeSpec,
)
from pilothouse.model.validate import validate

CANARY, BLUE_GREEN = Strategy.CANARY, Strategy.BLUE_GREEN
DATA = Mount(kind=MountKind.VOLUME, source="data", target="/data")


def steps(*weights, hold=30.0):
    return tuple(ReleaseStep(weight=weight, hold_seconds=hold) for weight in weights)


def findings(policy, mode=Mode.REPLICATED, order=None, **container):
    web = ServiceSpec(
        name="web", mode=mode, release=policy, update=UpdatePolicy(order=order),
        task=TaskSpec(container=ContainerSpec(image="web:1", **container)),
    )  # fmt: skip
    network = NetworkSpec(key="front", name="shop_front")
    app = AppSpec(
        name="shop", services=(web,), networks=(network,), volumes=(VolumeSpec(key="data", name="shop_data"),)
    )  # fmt: skip
    return [line.removeprefix("services.web.x-pilothouse.release.") for line in validate(app)]


@pytest.mark.parametrize(
    "policy",
    [
        ReleasePolicy(),
        ReleasePolicy(settle_seconds=0.0, deadline_seconds=60.0),
        ReleasePolicy(strategy=CANARY),
        ReleasePolicy(strategy=CANARY, steps=steps(1, 50, 100)),
        ReleasePolicy(strategy=BLUE_GREEN),
        ReleasePolicy(strategy=BLUE_GREEN, steps=steps(100, hold=300.0)),
        ReleasePolicy(strategy=CANARY, judge=Judge(error_rate=0.0, p95_ratio=1.0, requests=1)),
    ],
)
def test_what_makes_sense_is_accepted(policy):
    assert findings(policy, ports=(Port(target=80, published=(8080, 8080)),)) == []


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (ReleasePolicy(steps=steps(5)), "steps: belong to strategy: canary or blue_green; name one of them, or leave "
         "the steps out"),
        (ReleasePolicy(strategy=CANARY, steps=steps(0)), "steps[0].weight: 0 is outside of 1 to 100"),
        (ReleasePolicy(strategy=CANARY, steps=steps(101)), "steps[0].weight: 101 is outside of 1 to 100"),
        (ReleasePolicy(strategy=CANARY, steps=steps(10, 10)), "steps[1].weight: is 10 after 10; each step must have a "
         "larger share"),
        (ReleasePolicy(strategy=CANARY, steps=steps(5, hold=0.0)), "steps[0].for: 0 is outside of 1 to 86400"),
        (ReleasePolicy(strategy=CANARY, steps=steps(*range(1, 22))), "steps: are 21; at most 20 can be told apart"),
        (ReleasePolicy(strategy=BLUE_GREEN, steps=steps(50)), "steps: of blue_green can be one only, of weight 100: "
         "the whole traffic moves at once; or write canary"),
        (ReleasePolicy(strategy=BLUE_GREEN, steps=steps(50, 100)), "steps: of blue_green can be one only, of weight "
         "100: the whole traffic moves at once; or write canary"),
        (ReleasePolicy(judge=Judge(error_rate=1.5)), "judge.error_rate: 1.5 is outside of 0 to 1"),
        (ReleasePolicy(judge=Judge(p95_ratio=0.5)), "judge.p95: 0.5 is outside of 1 to 1000"),
        (ReleasePolicy(judge=Judge(requests=0)), "judge.requests: 0 is outside of 1 to 1e+09"),
        (ReleasePolicy(settle_seconds=-1.0), "settle: -1 is outside of 0 to 86400"),
        (ReleasePolicy(deadline_seconds=0.0), "deadline: 0 is outside of 1 to 86400"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_found_with_a_way_out(policy, said):
    assert said in findings(policy)


SIDE_BY_SIDE = "strategy: canary runs old and new tasks side by side, "


@pytest.mark.parametrize(
    ("container", "said"),
    [
        ({"container_name": "web"}, "which container_name does not allow; leave one out"),
        ({"network_mode": "host"}, "which network_mode: host does not allow; leave one out"),
        ({"networks": (NetworkAttachment(network="front", ipv4_address="10.0.0.5"),)},
         "which networks.front.ipv4_address does not allow; leave one out"),
        ({"ports": (Port(target=80, mode=PortMode.HOST),)},
         "which a port that the engine publishes does not allow; leave one out"),
        ({"mounts": (DATA,)}, "and both would write to data; if they can, say so with "
         "deploy.update_config.order: start-first"),
    ],
)  # fmt: skip
def test_what_two_tasks_of_a_slot_cannot_share_forbids_a_canary(container, said):
    assert findings(ReleasePolicy(strategy=CANARY), **container) == [SIDE_BY_SIDE + said]
    assert findings(ReleasePolicy(), **container) == []


def test_stop_first_and_side_by_side_contradict_each_other():
    assert findings(ReleasePolicy(strategy=CANARY), order=UpdateOrder.STOP_FIRST) == [
        SIDE_BY_SIDE + "but update_config.order is stop-first; keep one"
    ]


def test_a_volume_that_both_may_write_to_is_accepted_when_it_is_said():
    assert findings(ReleasePolicy(strategy=CANARY), order=UpdateOrder.START_FIRST, mounts=(DATA,)) == []


@pytest.mark.parametrize("mode", [Mode.GLOBAL, Mode.REPLICATED_JOB, Mode.GLOBAL_JOB])
def test_only_replicated_services_have_canaries(mode):
    assert findings(ReleasePolicy(strategy=CANARY), mode=mode) == [
        f"strategy: canary needs mode: replicated, and the service is {mode.value}; leave it out"
    ]
