"""What becomes of a release: seen is what the services report, expected is its state and the sentence that says why."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.model.release import ReleaseKind, ReleaseState
from pilothouse.model.rollout import RolloutState
from pilothouse.release.decide import decide, refused, restoration
from pilothouse.release.scene import Scene
from tests.release.world import after, app, at, failed, release, service, settled, spec

WEB, DB = spec("web"), spec("db")
S, R = ReleaseState, RolloutState


def scene(newest, *services, older=(), **fields):
    return Scene(app=app(newest.number, **fields), releases=(*older, newest), services=services)


def test_a_release_is_stable_once_every_service_is_as_it_says():
    seen = scene(release(2, WEB, DB, base=1), service(WEB, at(2)), service(DB, at(2)))
    found = settled(seen, now=200.0)
    assert (found.state, found.since, found.sentence) == (S.STABLE, 200.0, "2 services as it says")


@pytest.mark.parametrize("state", [R.WAITING, R.ROLLING, R.HELD, R.MONITORING, R.PAUSED])
def test_a_service_that_is_still_on_its_way_keeps_the_release_rolling(state):
    seen = scene(release(2, WEB, DB, base=1), service(WEB, at(2)), service(DB, at(2, state)))
    assert decide(seen, 200.0).changes == ()


def test_what_a_service_says_of_another_release_is_no_answer():
    for rollout in (at(1), failed(1), at(3)):
        assert decide(scene(release(2, WEB, base=1), service(WEB, rollout)), 200.0).changes == ()


def test_a_service_that_left_counts_as_done_when_it_is_gone():
    new = release(2, WEB, base=1)
    leaving = service(DB, failed(1), removing=True)
    assert decide(scene(new, service(WEB, at(2)), leaving), 200.0).changes == ()
    assert settled(scene(new, service(WEB, at(2)))).state is S.STABLE


def test_a_release_without_services_is_stable_when_those_before_are_gone():
    assert decide(scene(release(2, base=1), service(WEB, at(1), removing=True)), 200.0).changes == ()
    assert settled(scene(release(2, base=1))).state is S.STABLE


@pytest.mark.parametrize("action", ["", "rollback"])
def test_a_failure_is_rolled_back_to_the_last_stable_release(action):
    web = spec("web", action=action)
    seen = scene(release(5, web, base=3), service(web, failed(5)))
    found = settled(seen)
    assert found.state is S.ROLLING_BACK
    assert found.sentence == "the new web.1 keeps failing; release 3 is being restored"
    assert (found.evidence.task, found.evidence.log_tail) == ("web.1", ("boom",))
    wanted = restoration(after(seen, decide(seen, 200.0)))
    assert (wanted.app, wanted.failed, wanted.to) == ("shop", 5, 3)
    assert wanted.reason == "release 5 failed: the new web.1 keeps failing"


@pytest.mark.parametrize("action", ["pause", "continue"])
def test_a_failure_of_a_service_that_does_not_go_back_ends_the_release_where_it_is(action):
    web = spec("web", action=action)
    seen = scene(release(5, web, base=3), service(web, failed(5)))
    found = settled(seen)
    assert found.state is S.FAILED
    assert found.sentence.startswith("the new web.1 keeps failing; its failure_action")
    assert restoration(after(seen, decide(seen, 200.0))) is None


def test_each_service_goes_by_its_own_action_and_going_back_wins():
    calm, strict = spec("a", action="pause"), spec("web")
    rolling = at(5, R.ROLLING)
    assert settled(scene(release(5, calm, strict, base=3), service(calm, failed(5)), service(strict, rolling))).state \
        is S.FAILED  # fmt: skip
    both = scene(release(5, calm, strict, base=3), service(calm, failed(5)), service(strict, failed(5)))
    assert settled(both).state is S.ROLLING_BACK


def test_nothing_stable_before_means_nothing_to_go_back_to():
    found = settled(scene(release(1, WEB), service(WEB, failed(1))))
    assert found.state is S.FAILED
    assert "nothing to go back to" in found.sentence


def test_a_rollback_that_fails_is_not_rolled_back():
    back = release(6, WEB, kind=ReleaseKind.ROLLBACK, base=3, copies=3, undoes=5)
    seen = scene(back, service(WEB, failed(6)))
    assert settled(seen).state is S.FAILED
    assert restoration(after(seen, decide(seen, 200.0))) is None


def test_an_unfinished_release_is_superseded_by_the_next():
    old = (release(1, WEB, state=S.STABLE), release(2, WEB, base=1), release(3, WEB, base=1))
    found = decide(scene(release(4, WEB, base=1), older=old), 200.0)
    assert [(each.number, each.state, each.sentence) for each in found.changes] == [
        (2, S.SUPERSEDED, "release 3 came before it was stable"),
        (3, S.SUPERSEDED, "release 4 came before it was stable"),
    ]


def test_a_failed_release_is_rolled_back_once_the_release_that_undoes_it_is_there():
    bad = release(2, WEB, state=S.ROLLING_BACK, base=1, sentence="it broke; release 1 is being restored")
    found = decide(scene(release(3, WEB, base=1, kind=ReleaseKind.ROLLBACK, undoes=2, copies=1), older=(bad,)), 200.0)
    assert [(each.state, each.sentence) for each in found.changes] == [
        (S.ROLLED_BACK, "it broke; release 3 restores release 1")
    ]


def test_a_deployment_in_the_middle_of_a_rollback_supersedes_it():
    bad = release(2, WEB, state=S.ROLLING_BACK, base=1, sentence="it broke; release 1 is being restored")
    seen = scene(release(3, WEB, base=1), older=(bad,))
    assert [(each.state, each.sentence) for each in decide(seen, 200.0).changes] == [
        (S.SUPERSEDED, "it broke; release 3 came before release 1 was restored")
    ]
    assert restoration(seen) is None


def test_a_restoration_that_is_refused_ends_the_release():
    bad = release(2, WEB, state=S.ROLLING_BACK, base=1, sentence="it broke; release 1 is being restored")
    found = refused(bad, "the grant was taken back", 200.0)
    assert (found.state, found.sentence) == (
        S.FAILED, "it broke; release 1 could not be restored: the grant was taken back"
    )  # fmt: skip
    assert decide(scene(found, service(WEB, failed(2))), 200.0).changes == ()


def test_a_failed_release_goes_on_when_a_person_says_so_and_old_failures_do_not_count_again():
    stopped = release(2, WEB, state=S.FAILED, since=160.0, base=1, sentence="it broke")
    before = scene(stopped, service(WEB, failed(2, since=150.0)), resumed_at=140.0)
    assert decide(before, 200.0).changes == ()
    resumed = scene(stopped, service(WEB, failed(2, since=150.0)), resumed_at=170.0)
    assert settled(resumed).state is S.ROLLING
    rolling = after(resumed, decide(resumed, 200.0)).releases[-1]
    again = scene(rolling, service(WEB, failed(2, since=180.0)), resumed_at=170.0)
    assert settled(again).state is S.ROLLING_BACK


def test_a_failed_release_that_comes_right_by_itself_is_stable():
    stopped = release(1, WEB, state=S.FAILED, since=160.0, sentence="it broke")
    found = settled(scene(stopped, service(WEB, at(1))))
    assert (found.state, found.sentence) == (S.STABLE, "1 service as it says, though it had failed before")


def test_an_app_that_is_leaving_is_left_alone():
    bad = release(2, WEB, state=S.ROLLING_BACK, base=1)
    assert restoration(scene(bad, removing=True)) is None
    assert decide(scene(release(2, WEB, base=1), service(WEB, failed(2)), removing=True), 200.0).changes == ()


def test_an_app_without_releases_on_record_is_left_alone():
    seen = Scene(app=app(3), services=(service(WEB, at(3)),))
    assert decide(seen, 200.0).changes == ()
    assert restoration(seen) is None


ACTIONS = st.sampled_from(["", "rollback", "pause", "continue"])
ROLLOUTS = st.builds(at, st.integers(1, 3), st.sampled_from(list(R)), st.sampled_from([90.0, 150.0]))


@st.composite
def scenes(draw):
    specs = [spec(name, action=draw(ACTIONS)) for name in "ab"[: draw(st.integers(0, 2))]]
    releases = tuple(
        release(
            number, *specs, state=draw(st.sampled_from(list(S))), base=draw(st.integers(0, number - 1)),
            kind=draw(st.sampled_from(list(ReleaseKind))), undoes=draw(st.integers(0, number - 1)),
            since=draw(st.sampled_from([100.0, 160.0])),
        )
        for number in range(1, draw(st.integers(1, 3)) + 1)
    )  # fmt: skip
    services = tuple(service(each, draw(ROLLOUTS), removing=draw(st.booleans())) for each in specs)
    resumed = draw(st.sampled_from([0.0, 120.0, 170.0]))
    return Scene(app=app(len(releases), resumed_at=resumed), releases=releases, services=services)


@given(scenes())
def test_every_decision_holds_its_laws(seen):
    decision = decide(seen, 200.0)
    then = after(seen, decision)
    for before, now in zip(seen.releases, then.releases, strict=True):
        older = now.number < seen.app.revision
        assert not (older and not now.state.over), "an older release goes on"
        if before.state.over and now != before:
            assert before.state is S.FAILED, "what is over has changed"
            assert not older
        if now.state is S.ROLLING_BACK and before.state is S.ROLLING:
            assert now.base, "there is nothing to go back to"
            assert now.kind is not ReleaseKind.ROLLBACK, "a rollback is undone"
            assert now.evidence, "nothing shows why"
        if now != before:
            assert now.sentence
            assert now.since == 200.0


@given(scenes())
def test_looking_again_changes_nothing_unless_a_person_resumed(seen):
    states = []
    for _ in range(3):
        decision = decide(seen, 200.0)
        seen = after(seen, decision)
        states.append(decision.changes)
    # A resumed release first rolls, and may then be found stable or failed: two looks, never more.
    assert states[2] == ()
    assert not any(a and b and seen.app.resumed_at == 0 for a, b in itertools.pairwise(states))
