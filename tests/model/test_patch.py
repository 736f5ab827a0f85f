"""Differences between assignments: what they leave out the other end has, and what it puts together is the same."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import SessionLostError
from pilothouse.model.container import ContainerSpec
from pilothouse.model.objects import Network, ResolvedImage, Task, TaskStatus, Volume
from pilothouse.model.patch import delta, essence, patch, stripped, task_essence, whole
from pilothouse.model.session import Changes
from pilothouse.model.spec import CutOff, CutOffAction, NetworkSpec, TaskSpec, VolumeSpec
from pilothouse.model.states import TaskState
from pilothouse.model.wire import Assignment, FileContent, Split

replace = msgspec.structs.replace
IDS = st.sampled_from(["a", "b", "c", "d"])
SPEC = TaskSpec(container=ContainerSpec(image="web"))


def task(id, version=1, message="", state=TaskState.ASSIGNED, desired=TaskState.RUNNING, reason=""):
    return Task(
        id=id, version=version, app="shop", service="web", slot=1, spec=SPEC, image=ResolvedImage(ref="web"),
        fingerprint="f", node_id="n1", state=state, status=TaskStatus(message=message), desired_state=desired,
        desired_reason=reason,
    )  # fmt: skip


TASKS = st.builds(
    task,
    IDS,
    st.integers(1, 3),
    st.sampled_from(["", "runs"]),
    st.sampled_from([TaskState.ASSIGNED, TaskState.RUNNING, TaskState.FAILED, TaskState.ORPHANED]),
    st.sampled_from([TaskState.RUNNING, TaskState.SHUTDOWN]),
)
FILES = st.builds(lambda key, version: FileContent(id=key, version=version, content=b"is " + key.encode()), IDS, IDS)
NETWORKS = st.builds(
    lambda key, removing: Network(id=key, app="shop", spec=NetworkSpec(key=key, name=key), removing=removing),
    IDS,
    st.booleans(),
)
VOLUMES = st.builds(lambda key: Volume(id=key, app="shop", spec=VolumeSpec(key=key, name=key)), IDS)
SPLITS = st.builds(
    lambda key, weight: Split(app="a", service=key, fingerprint="f", weight=weight), IDS, st.integers(0, 2)
)


def some(of, key=lambda each: each.id):
    return st.lists(of, max_size=4, unique_by=key).map(lambda found: tuple(sorted(found, key=key)))


ASSIGNMENTS = st.builds(
    Assignment,
    revision=st.integers(1, 9),
    tasks=some(TASKS),
    networks=some(NETWORKS),
    volumes=some(VOLUMES),
    secrets=some(FILES, lambda file: (file.id, file.version)),
    configs=some(FILES, lambda file: (file.id, file.version)),
    splits=some(SPLITS, lambda split: split.service),
    cut_offs=st.dictionaries(IDS, st.builds(CutOff, action=st.sampled_from(CutOffAction)), max_size=2),
)


@given(ASSIGNMENTS, ASSIGNMENTS)
def test_before_and_the_difference_give_what_is_after(before, after):
    found = delta(before, after, 4)
    if found is None:
        assert essence(before) == essence(after)
        return
    assert (found.base, found.number) == (4, 5)
    there = patch(before, 4, over_the_wire(found))
    assert essence(there) == essence(after)
    assert there.revision == after.revision


@given(ASSIGNMENTS, ASSIGNMENTS)
def test_the_sender_need_not_remember_contents(before, after):
    known = {(f.id, f.version) for f in before.secrets}
    lean = replace(
        after, secrets=tuple(replace(f, content=b"") if (f.id, f.version) in known else f for f in after.secrets)
    )
    assert delta(stripped(before), lean, 1) == delta(before, after, 1)


@given(st.lists(ASSIGNMENTS, min_size=1, max_size=6))
def test_a_whole_one_and_its_differences_lead_through_a_session(course):
    sent = have = None
    number = 0
    for wanted in course:
        found = whole(wanted) if sent is None else delta(sent, wanted, number)
        if found is not None:
            have = patch(have or Assignment(revision=0), number, over_the_wire(found))
            sent, number = stripped(wanted), found.number
        assert essence(have) == essence(wanted)


@given(ASSIGNMENTS, ASSIGNMENTS)
def test_no_content_is_sent_twice(before, after):
    found = delta(before, after, 1)
    known = {(f.id, f.version) for f in before.secrets}
    for file in (found.secrets or ()) if found else ():
        assert (file.content == b"") == ((file.id, file.version) in known)


@given(ASSIGNMENTS)
def test_what_did_not_change_is_no_difference(assignment):
    assert delta(assignment, replace(assignment, revision=99), 1) is None


def test_an_agents_own_reports_are_no_difference_and_anything_else_of_a_task_is():
    assert task_essence(task("a")) == task_essence(task("a", 2, "runs", TaskState.FAILED))
    assert task_essence(task("a")) != task_essence(task("a", state=TaskState.ORPHANED))
    assert task_essence(task("a")) != task_essence(task("a", reason="because"))
    assert task_essence(task("a")) != task_essence(task("a", desired=TaskState.SHUTDOWN))


def test_a_difference_to_another_assignment_is_refused():
    with pytest.raises(SessionLostError, match="assignment 2 came while this node has 1"):
        patch(Assignment(revision=1), 1, Changes(base=2, number=3, revision=5))


def over_the_wire(changes):
    return msgspec.msgpack.decode(msgspec.msgpack.encode(changes), type=Changes)
