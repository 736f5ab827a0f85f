"""How a release that was waited for ended, and what a person is told of it."""

import pytest

from pilothouse.cli.outcome import is_stable, superseded
from pilothouse.errors import DeployFailedError, RolledBackError, SupersededError
from pilothouse.model.objects import FieldChange
from pilothouse.model.release import ReleaseKind, ReleaseState, Verdict
from pilothouse.model.rollout import Evidence
from tests.cli.views import release

EVIDENCE = Evidence(
    service="web", task="web.2", cause="it exited with code 3 after 0.2 s", log_tail=("starting", "no config")
)
CHANGED = (FieldChange(path="services.web.image", before="web:1", after="web:2"),)


def said(error, newest, followed):
    with pytest.raises(error) as raised:
        is_stable(newest, followed)
    return str(raised.value).splitlines()


@pytest.mark.parametrize("state", [ReleaseState.ROLLING, ReleaseState.ROLLING_BACK, ReleaseState.ROLLED_BACK])
def test_a_release_that_goes_on_has_not_ended(state):
    assert not is_stable(release(2, state=state), release(2, state=state))


def test_a_stable_release_did_what_was_asked_whatever_came_after_it():
    stable = release(2, state=ReleaseState.STABLE)
    assert is_stable(stable, stable)
    assert is_stable(release(3), stable)


def test_a_release_that_is_being_undone_has_ended_only_when_what_was_before_is_there():
    bad = release(2, state=ReleaseState.ROLLED_BACK, evidence=EVIDENCE)
    assert not is_stable(release(3, undoes=2, copies=1), bad)
    undone = release(3, kind=ReleaseKind.ROLLBACK, undoes=2, copies=1, state=ReleaseState.STABLE)
    with pytest.raises(RolledBackError):
        is_stable(undone, bad)


def test_a_release_that_was_rolled_back_is_told_with_task_cause_last_lines_and_what_it_changed():
    bad = release(2, base=1, state=ReleaseState.ROLLED_BACK, evidence=EVIDENCE, changes=CHANGED)
    assert said(RolledBackError, release(3, undoes=2, copies=1, state=ReleaseState.STABLE), bad) == [
        "shop release 2 failed and was rolled back: release 3 runs, which repeats release 1",
        "web.2: it exited with code 3 after 0.2 s",
        "the last lines of web.2:",
        "  | starting",
        "  | no config",
        "what release 2 had changed:",
        "  services.web.image: web:1 → web:2",
        "`pilothouse releases show shop 2` says more",
    ]


def test_a_verdict_that_rolled_a_release_back_is_told_unless_the_cause_says_it():
    verdict = Verdict(service="web", step=0, at=1.0, outcome="roll-back", sentence="5 % of 400 requests failed")
    undo = release(3, undoes=2, copies=1, state=ReleaseState.STABLE)
    bad = release(2, state=ReleaseState.ROLLED_BACK, evidence=EVIDENCE, verdicts=(verdict,))
    assert "the judge: 5 % of 400 requests failed" in said(RolledBackError, undo, bad)
    same = Evidence(service="web", cause=verdict.sentence)
    told = said(RolledBackError, undo, release(2, state=ReleaseState.ROLLED_BACK, evidence=same, verdicts=(verdict,)))
    assert "\n".join(told).count("5 % of 400") == 1


def test_a_cause_that_names_its_task_is_not_told_twice():
    bad = release(2, state=ReleaseState.FAILED, evidence=Evidence(service="web", task="web.2", cause="web.2 died"))
    assert said(DeployFailedError, bad, bad)[1] == "web.2 died"


def test_many_changes_are_counted_after_the_first_ten():
    changes = tuple(FieldChange(path=f"a.{n}", before="", after="1") for n in range(12))
    bad = release(2, state=ReleaseState.ROLLED_BACK, changes=changes)
    told = said(RolledBackError, release(3, undoes=2, copies=1, state=ReleaseState.STABLE), bad)
    assert "  a.0: nothing → 1" in told
    assert "  and 2 fields more" in told


def test_a_rollback_that_fails_too_is_said_with_both_causes():
    bad = release(2, state=ReleaseState.ROLLED_BACK, evidence=EVIDENCE)
    undo = release(
        3, undoes=2, copies=1, state=ReleaseState.FAILED,
        evidence=Evidence(service="db", task="db.1", cause="it was never ready"),
    )  # fmt: skip
    told = said(DeployFailedError, undo, bad)
    assert told[0].startswith("shop release 2 failed, and so did release 3, which was to restore release 1")
    assert "web.2: it exited with code 3 after 0.2 s" in told
    assert "then db.1: it was never ready" in told


def test_a_failed_release_says_what_is_left_running_and_how_to_go_on():
    bad = release(2, base=1, state=ReleaseState.FAILED, sentence="too slow")
    told = said(DeployFailedError, bad, bad)
    assert told[0] == "shop release 2 failed; tasks of the release before it are left running"
    assert told[1] == "too slow"
    assert "`pilothouse resume shop`" in told[2]
    first = release(1, state=ReleaseState.FAILED)
    told = said(DeployFailedError, first, first)
    assert told[:2] == [
        "shop release 1 failed",
        "the platform goes on trying; correct the cause and run `pilothouse up` again",
    ]


def test_a_superseded_release_says_by_whom():
    newer = release(3, created_by="uid:1001(bob)", message="hotfix")
    for state in (ReleaseState.SUPERSEDED, ReleaseState.ROLLING, ReleaseState.ROLLED_BACK):
        told = said(SupersededError, newer, release(2, state=state))
        assert told == [
            "shop release 2 was superseded before it was stable: release 3 was made by uid:1001(bob) (hotfix); "
            "`pilothouse watch shop` shows how that one gets on"
        ]
    assert superseded(release(2), None).startswith("shop release 2 was superseded before it was stable; ")
