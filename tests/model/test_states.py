"""The life of a task, as a specification."""

import pytest

from pilothouse.errors import ForeignWriteError, InvalidTransitionError
from pilothouse.model.container import ContainerSpec
from pilothouse.model.kinds import KINDS
from pilothouse.model.objects import AuditRecord, ResolvedImage, Task, TaskStatus
from pilothouse.model.ownership import CREATORS, OWNERS, REMOVERS, check_write
from pilothouse.model.spec import TaskSpec
from pilothouse.model.states import TRANSITIONS, TaskState, Writer, check_transition

TASK = Task(
    id="t1", app="shop", service="web", slot=1, spec=TaskSpec(container=ContainerSpec(image="web")),
    image=ResolvedImage(ref="web"), fingerprint="f",
)  # fmt: skip


def test_a_task_state_only_grows():
    arrows = [a for arrows in TRANSITIONS.values() for a in arrows]
    assert all(before is None or before < after for before, after in arrows)


def test_every_arrow_has_one_owner():
    arrows = [a for arrows in TRANSITIONS.values() for a in arrows]
    assert len(arrows) == len(set(arrows))


def test_no_arrow_leaves_a_terminal_state():
    assert not [a for arrows in TRANSITIONS.values() for a in arrows if a[0] is not None and a[0].terminal]


def test_the_scheduler_may_not_start_a_task():
    with pytest.raises(InvalidTransitionError, match="scheduler may not move a task from READY to STARTING"):
        check_transition(Writer.SCHEDULER, TaskState.READY, TaskState.STARTING)


def test_only_the_agent_writes_what_was_seen():
    seen = TASK.__class__(
        **{**{f: getattr(TASK, f) for f in TASK.__struct_fields__}, "status": TaskStatus(message="x")}
    )
    check_write(Writer.AGENT, TASK, seen)
    with pytest.raises(ForeignWriteError, match="orchestrator may not write status of Task t1; that belongs to agent"):
        check_write(Writer.ORCHESTRATOR, TASK, seen)


def test_nobody_changes_what_a_task_was_made_from():
    other = TASK.__class__(**{**{f: getattr(TASK, f) for f in TASK.__struct_fields__}, "fingerprint": "g"})
    for writer in Writer:
        with pytest.raises(ForeignWriteError, match="belongs to nobody"):
            check_write(writer, TASK, other)


def test_an_audit_record_is_never_changed_or_deleted():
    assert AuditRecord not in OWNERS
    assert AuditRecord not in REMOVERS


def test_every_kind_has_a_creator_and_every_owned_field_exists():
    assert set(CREATORS) == set(KINDS)
    unknown = [(kind.__name__, field) for kind, owners in OWNERS.items() for field in owners
               if field not in kind.__struct_fields__]  # fmt: skip
    assert unknown == []
