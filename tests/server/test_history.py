"""History is told from what commits changed, with names that the reference page lists."""

import pathlib

import pytest
from msgspec.structs import replace

from pilothouse.model.images import Reclaimed
from pilothouse.model.node import Node, NodeDescription, NodeSpec, NodeState
from pilothouse.model.objects import (
    App,
    AuditRecord,
    Config,
    Ending,
    Grant,
    Health,
    Network,
    Secret,
    TaskStatus,
    Volume,
)
from pilothouse.model.release import Release, ReleaseKind, ReleaseState, Verdict
from pilothouse.model.rollout import Rollout, RolloutState, Stage, StepRecord
from pilothouse.model.spec import AppSpec, FileSpec, NetworkSpec, VolumeSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.server.history import EVENTS, events_of
from pilothouse.store.interface import Change, Commit
from tests.control.world import World, spec

TASK = World(spec()).rest().one()
SERVICE = World(spec()).service()
APP = App(id="shop", spec=AppSpec(name="shop"), deployed_by="alice")
NODE = Node(id="n1")
RECLAIMED = Reclaimed(at=1.0, reason="the engine's disk (/d) was 86 % full", images=("web:1",), count=1)
NEW = replace(TASK, state=TaskState.NEW, placement_message="", status=replace(TASK.status, ready=False))
NETWORK = Network(id="shop/n", app="shop", spec=NetworkSpec(key="n", name="n"))
VOLUME = Volume(id="shop/v", app="shop", spec=VolumeSpec(key="v", name="v"))
SECRET = Secret(id="shop/s", app="shop", spec=FileSpec(key="s", name="s"), content_version="1")
CONFIG = Config(id="shop/c", app="shop", spec=FileSpec(key="c", name="c"), content_version="1")
GRANT = Grant(id="g", app="shop", kind="cap-add", value="NET_ADMIN", granted_by="alice", reason="vpn")
DEAD = replace(TASK, state=TaskState.FAILED, status=replace(TASK.status, ready=False, ending=Ending(exit_code=9)))
RELEASE = Release(
    id="shop/000002", app="shop", number=2, spec=AppSpec(name="shop"), created_by="alice", base=1, message="new look"
)
PAUSED = replace(APP, paused=True, paused_by="bob")
STAGE = Stage(step=1, tasks=1, weight=25)
STAGED = replace(RELEASE, stages={"web": STAGE})
JUDGED = Verdict(service="web", step=1, at=1.0, outcome="promote", sentence="as good as the old ones")
STEP = replace(TASK, slot=0, step=0)
DONE, FAILED = (StepRecord(fingerprint="f", index=0, task_id=str(done), done=done) for done in (True, False))


def _rolled(state, sentence=""):
    return replace(SERVICE, rollout=Rollout(release=2, state=state, sentence=sentence))


def _told(before, after):
    commit = Commit(revision=7, at=5.0, writer=Writer.API, changes=(Change(before=before, after=after),))
    return [event.name for event in events_of(commit)]


CASES = [
    (None, APP, ["app.deployed"]),
    (APP, replace(APP, revision=2), ["app.deployed"]),
    (APP, replace(APP, removing=True), ["app.removing"]),
    (APP, None, ["app.removed"]),
    (None, SERVICE, ["service.created"]),
    (SERVICE, replace(SERVICE, spec=spec(replicas=2)), ["service.changed"]),
    (SERVICE, replace(SERVICE, restarts_requested=1), ["service.restart-requested"]),
    (replace(SERVICE, restarts_requested=2), replace(SERVICE, restarts_requested=1, rolling_back=True), []),
    (SERVICE, replace(SERVICE, removing=True), ["service.removing"]),
    (SERVICE, replace(SERVICE, notice="parked"), ["service.noticed"]),
    (replace(SERVICE, notice="parked"), SERVICE, ["service.recovered"]),
    (SERVICE, None, ["service.removed"]),
    (SERVICE, replace(SERVICE, steps=(DONE,)), ["step.done"]),
    (replace(SERVICE, steps=(DONE,)), replace(SERVICE, steps=(DONE, FAILED)), ["step.failed"]),
    (replace(STEP, state=TaskState.STARTING, status=TaskStatus()), STEP, ["step.started", "task.started"]),
    (
        replace(STEP, state=TaskState.STARTING, status=TaskStatus()),
        replace(STEP, state=TaskState.COMPLETE),
        ["step.started", "task.completed"],
    ),
    (None, NEW, ["task.created"]),
    (NEW, replace(NEW, resource_message="port taken"), ["task.waiting"]),
    (
        replace(NEW, state=TaskState.PENDING),
        replace(NEW, state=TaskState.PENDING, placement_message="no place"),
        ["task.waiting"],
    ),
    (replace(NEW, state=TaskState.PENDING), replace(NEW, state=TaskState.ASSIGNED), ["task.placed"]),
    (replace(NEW, desired_state=TaskState.READY), NEW, ["task.released"]),
    (replace(TASK, state=TaskState.STARTING, status=NEW.status), TASK, ["task.started", "task.ready"]),
    (TASK, replace(TASK, status=replace(TASK.status, ready=False, health=Health.UNHEALTHY)), ["task.unready"]),
    (TASK, replace(TASK, desired_state=TaskState.SHUTDOWN), ["task.stopping"]),
    (TASK, DEAD, ["task.failed"]),
    (TASK, replace(DEAD, state=TaskState.COMPLETE), ["task.completed"]),
    (TASK, replace(DEAD, state=TaskState.SHUTDOWN), ["task.stopped"]),
    (NEW, replace(NEW, state=TaskState.REJECTED), ["task.rejected"]),
    (TASK, replace(TASK, state=TaskState.ORPHANED), ["task.orphaned"]),
    (DEAD, None, ["task.deleted"]),
    (None, NODE, ["node.joined"]),
    (NODE, replace(NODE, ready=True), ["node.ready"]),
    (replace(NODE, ready=True), NODE, ["node.away"]),
    (NODE, replace(NODE, description=NodeDescription(reclaimed=RECLAIMED)), ["node.reclaimed"]),
    (replace(NODE, description=NodeDescription(reclaimed=RECLAIMED)), NODE, []),
    (replace(NODE, state=NodeState.SUSPECT), replace(NODE, state=NodeState.DOWN), ["node.lost"]),
    (NODE, replace(NODE, spec=NodeSpec(labels={"a": "b"})), ["node.changed"]),
    (NODE, None, ["node.removed"]),
    (None, NETWORK, ["network.created"]),
    (NETWORK, None, ["network.removed"]),
    (None, VOLUME, ["volume.created"]),
    (VOLUME, None, ["volume.removed"]),
    (None, SECRET, ["secret.changed"]),
    (SECRET, replace(SECRET, content_version="2"), ["secret.changed"]),
    (SECRET, replace(SECRET, removing=True), []),
    (SECRET, None, ["secret.removed"]),
    (None, CONFIG, ["config.changed"]),
    (CONFIG, None, ["config.removed"]),
    (None, GRANT, ["grant.created"]),
    (GRANT, replace(GRANT, revoked_at=1.0), ["grant.revoked"]),
    (None, AuditRecord(id="1", at=1.0, principal="p", action="a", object="o", outcome="refused"), ["request.refused"]),
    (None, AuditRecord(id="1", at=1.0, principal="p", action="a", object="o"), []),
    (TASK, replace(TASK, status=replace(TASK.status, message="still fine")), []),
    (None, RELEASE, ["release.created"]),
    (RELEASE, replace(RELEASE, state=ReleaseState.STABLE), ["release.stable"]),
    (RELEASE, replace(RELEASE, state=ReleaseState.FAILED), ["release.failed"]),
    (RELEASE, replace(RELEASE, state=ReleaseState.ROLLING_BACK), ["release.rolling_back"]),
    (RELEASE, replace(RELEASE, state=ReleaseState.ROLLED_BACK), ["release.rolled_back"]),
    (RELEASE, replace(RELEASE, state=ReleaseState.SUPERSEDED), ["release.superseded"]),
    (replace(RELEASE, state=ReleaseState.FAILED), RELEASE, ["release.resumed"]),
    (RELEASE, STAGED, ["release.step"]),
    (STAGED, replace(STAGED, verdicts=(JUDGED,)), ["release.judged"]),
    (STAGED, replace(RELEASE, stages={"web": replace(STAGE, promoted=True)}), ["release.promoted"]),
    (STAGED, replace(RELEASE, stages={"web": replace(STAGE, since=9.0)}), []),
    (RELEASE, None, ["release.forgotten"]),
    (APP, PAUSED, ["release.paused"]),
    (PAUSED, APP, ["release.resumed"]),
    (PAUSED, replace(APP, revision=2), ["app.deployed"]),
    (SERVICE, _rolled(RolloutState.DONE), []),
    (SERVICE, _rolled(RolloutState.WAITING), []),
    (SERVICE, _rolled(RolloutState.WAITING, "waits for db to be healthy"), ["rollout.waiting"]),
    (SERVICE, _rolled(RolloutState.ROLLING), ["rollout.rolling"]),
    (_rolled(RolloutState.ROLLING), _rolled(RolloutState.ROLLING, "waits for web.2"), []),
    (_rolled(RolloutState.ROLLING), _rolled(RolloutState.HELD), ["rollout.held"]),
    (_rolled(RolloutState.ROLLING), _rolled(RolloutState.MONITORING), ["rollout.monitoring"]),
    (_rolled(RolloutState.ROLLING), _rolled(RolloutState.PAUSED), ["rollout.paused"]),
    (_rolled(RolloutState.ROLLING), _rolled(RolloutState.FAILED), ["rollout.failed"]),
    (_rolled(RolloutState.MONITORING), _rolled(RolloutState.DONE), ["rollout.done"]),
]


@pytest.mark.parametrize(("before", "after", "expected"), CASES)
def test_each_change_is_told_once_by_its_name(before, after, expected):
    assert _told(before, after) == expected


def test_every_event_has_a_case_and_every_case_is_a_known_event():
    assert {name for _, _, names in CASES for name in names} == set(EVENTS)


def test_an_event_says_where_it_belongs_and_why():
    commit = Commit(revision=7, at=5.0, writer=Writer.AGENT, changes=(Change(before=TASK, after=DEAD),))
    (event,) = events_of(commit)
    assert (event.revision, event.index, event.at, event.app) == (7, 0, 5.0, "shop")
    assert event.object == f"task/{TASK.id}"
    assert event.sentence == "web.1 exited with code 9 after 0.0 s"


def _sentences(before, after):
    commit = Commit(revision=7, at=5.0, writer=Writer.API, changes=(Change(before=before, after=after),))
    return [event.sentence for event in events_of(commit)]


def test_what_happened_to_a_release_is_told_with_its_number_who_and_why():
    assert _sentences(None, RELEASE) == ["release 2: deploy, by alice: new look"]
    undo = replace(
        RELEASE, number=3, kind=ReleaseKind.ROLLBACK, copies=1, undoes=2, created_by="system", message="web.1 died"
    )
    assert _sentences(None, undo) == ["release 3: rollback to release 1, by system: web.1 died"]
    assert _sentences(None, replace(undo, message="")) == [
        "release 3: rollback to release 1, because release 2 failed, by system"
    ]
    failed = replace(RELEASE, state=ReleaseState.FAILED, sentence="web.1 keeps failing")
    assert _sentences(RELEASE, failed) == ["release 2: web.1 keeps failing"]
    assert _sentences(RELEASE, STAGED) == ["release 2: web step 2: 25 % of the traffic goes to its new tasks"]
    assert _sentences(STAGED, replace(STAGED, verdicts=(JUDGED,))) == [
        "release 2: web step 2: promote: as good as the old ones"
    ]
    assert _sentences(APP, PAUSED) == ["release 1: bob paused it"]
    assert _sentences(_rolled(RolloutState.ROLLING), _rolled(RolloutState.FAILED, "web.1 keeps failing")) == [
        "release 2: web.1 keeps failing"
    ]


def test_the_reference_page_lists_every_event():
    page = (pathlib.Path(__file__).parents[2] / "docs/reference/events.md").read_text()
    assert [name for name, meaning in EVENTS.items() if f"| `{name}` | {meaning} |" not in page] == []


def test_no_secret_is_told():
    assert (
        b"hush"
        not in repr(
            events_of(
                Commit(revision=1, at=1.0, writer=Writer.API, changes=(Change(None, replace(SECRET, sealed=b"hush")),))
            )
        ).encode()
    )
