"""What a once-per-release step is made of, and what is remembered of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.model.container import ContainerSpec, Healthcheck, NetworkAttachment, Port, Privileges
from pilothouse.model.objects import ResolvedImage, Service
from pilothouse.model.placement import Placement
from pilothouse.model.rollout import StepRecord
from pilothouse.model.spec import Hook, Probe, ProbeKind, Probes, Resources, ServiceSpec, TaskSpec
from pilothouse.model.steps import (
    KEPT_FINGERPRINTS,
    hook_spec,
    record_of,
    remembered,
    step_image,
    step_indexes,
    step_title,
)

WEB = ContainerSpec(
    image="web:1",
    command=("serve",),
    environment={"A": "1", "B": "1"},
    user="1000",
    hostname="w",
    container_name="web",
    healthcheck=Healthcheck(test=("CMD", "true")),
    networks=(NetworkAttachment(network="default", aliases=("w",), ipv4_address="10.0.0.9"),),
    ports=(Port(target=80, published=(80, 80)),),
    expose=("80",),
    privileges=Privileges(ipc="service:db", cap_add=("NET_RAW",)),
)
MIGRATE = Hook(command=("./migrate", "up now"), user="0", working_dir="/app", environment={"B": "2"}, privileged=True)
SEED = Hook(image="seed:1")
EACH = Hook(command=("warm",), per_replica=True)
SPEC = TaskSpec(
    container=WEB,
    reservations=Resources(cpu_nano=1),
    placement=Placement(constraints=("node.id==a",), max_replicas_per_node=1),
    probes=Probes(ready=Probe(kind=ProbeKind.TCP, port=80)),
    pre_start=(MIGRATE, EACH, SEED),
    pre_stop=(Hook(command=("drain",)),),
)


def test_steps_are_the_pre_start_hooks_that_are_not_for_each_replica():
    assert step_indexes(SPEC) == (0, 2)
    assert [step_title(SPEC, index) for index in (0, 2)] == ["step 1 of 2 (./migrate 'up now')", "step 2 of 2 (seed:1)"]


def test_a_step_runs_its_command_as_the_hook_says_in_what_is_otherwise_the_tasks_container():
    made = hook_spec(SPEC, 0).container
    assert (made.image, made.command, made.entrypoint) == ("web:1", ("./migrate", "up now"), ())
    assert (made.user, made.working_dir, made.environment) == ("0", "/app", {"A": "1", "B": "2"})
    assert made.privileges == Privileges(privileged=True, cap_add=("NET_RAW",))
    assert made.networks == (NetworkAttachment(network="default"),)


def test_a_step_has_nothing_by_which_a_task_is_found_or_checked():
    spec = hook_spec(SPEC, 0)
    made = spec.container
    assert (made.hostname, made.container_name, made.ports, made.expose) == ("", "", (), ())
    assert made.healthcheck == Healthcheck(test=("NONE",))
    assert spec == TaskSpec(container=made, placement=Placement(constraints=("node.id==a",)))


def test_a_step_without_a_command_runs_what_its_image_does():
    made = hook_spec(SPEC, 2).container
    assert (made.image, made.command, made.entrypoint, made.user) == ("seed:1", None, None, "1000")


@pytest.mark.parametrize(
    ("index", "known", "expected"),
    [
        (0, {}, ResolvedImage(ref="web:1", id="sha256:web")),
        (2, {}, ResolvedImage(ref="seed:1")),
        (2, {"seed:1": ResolvedImage(ref="seed:1", id="sha256:s")}, ResolvedImage(ref="seed:1", id="sha256:s")),
    ],
)
def test_a_step_has_the_image_that_was_resolved_when_it_was_deployed(index, known, expected):
    image = ResolvedImage(ref="web:1", id="sha256:web")
    spec = ServiceSpec(name="web", task=SPEC)
    service = Service(id="shop/web", app="shop", name="web", spec=spec, image=image, step_images=known)
    assert step_image(service, index) == expected


def _record(fingerprint, index=0, task_id="t", **fields):
    return StepRecord(fingerprint=fingerprint, index=index, task_id=task_id, done=fields.pop("done", True), **fields)


def test_the_newest_try_of_a_step_is_the_one_that_counts():
    failed, done = _record("a", task_id="t1", done=False), _record("a", task_id="t2")
    steps = remembered((failed,), (done,), ())
    assert steps == (failed, done)
    assert record_of(steps, "a", 0) == done
    assert record_of(steps, "a", 1) is None
    assert record_of(steps, "b", 0) is None


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=80))
def test_what_is_needed_and_the_newest_fingerprints_are_kept_and_nothing_else(ended):
    records = [_record(str(fingerprint), index, f"t{n}") for n, (fingerprint, index) in enumerate(ended)]
    steps = ()
    for record in records:
        steps = remembered(steps, (record,), {"0"})
    prints = {record.fingerprint for record in steps}
    newest = list(dict.fromkeys(record.fingerprint for record in reversed(records)))[:KEPT_FINGERPRINTS]
    assert set(newest) <= prints <= {*newest, "0"}
    # What was forgotten does not come back, but of each fingerprint that is kept the newest record is there, in order.
    assert steps == tuple(record for record in records if record in steps)
    assert {r.fingerprint: r for r in records if r.fingerprint in prints}.items() <= {
        r.fingerprint: r for r in steps
    }.items()
