"""Canary and blue/green releases from first look to end: seen is the traffic, expected is what comes of it."""

import statistics

import pytest
from msgspec.structs import replace

from pilothouse.model.release import ReleaseKind, ReleaseState, release_id
from pilothouse.model.rollout import Golden, RolloutState, Stage
from pilothouse.model.spec import Judge, ReleasePolicy, ReleaseStep, Strategy
from pilothouse.release.decide import decide, restoration
from pilothouse.release.measured import reported_until, reports
from tests.release.crowd import Program
from tests.release.rehearsal import BEGAN, Rehearsal
from tests.release.world import failed, release, service, spec, traffic

S = ReleaseState
GOOD, BAD = Program(), Program(error_rate=0.05)
BLUE_GREEN = ReleasePolicy(strategy=Strategy.BLUE_GREEN)


def promoted(number, **fields):
    """How many of *number* releases of a program that is no worse end stable."""
    found = [Rehearsal(seed=seed, **fields).run().release.state for seed in range(number)]
    assert set(found) <= {S.STABLE, S.ROLLING_BACK}
    return found.count(S.STABLE)


def seconds_to_roll_back(number, **fields):
    """How long the new tasks had traffic before each of *number* bad releases was rolled back."""
    waits = []
    for seed in range(number):
        found = Rehearsal(seed=seed, **fields).run()
        assert found.release.state is S.ROLLING_BACK, f"seed {seed}"
        began = next(at for at, _, _, weight, _ in found.history if weight)
        waits.append(found.now - BEGAN - began)
    return waits


def test_a_canary_goes_through_its_steps_with_a_growing_share_of_tasks_and_traffic():
    found = Rehearsal(new=GOOD).run()
    assert found.release.state is S.STABLE
    # When, step, tasks, weight, promoted: made and settled, watched for 30 s, and so on.
    assert found.history == [
        (0, 0, 1, 0, False), (11, 0, 1, 5, False),
        (41, 1, 5, 5, False), (52, 1, 5, 25, False),
        (82, 2, 10, 25, False), (93, 2, 10, 50, False),
        (123, 2, 10, 50, True),
    ]  # fmt: skip
    verdicts = found.release.verdicts
    assert [(each.service, each.step, each.outcome) for each in verdicts] == [("web", n, "promote") for n in range(3)]
    assert all(each.new.requests >= 50 and each.new_p95_ms and each.error_p == 1.0 for each in verdicts)


def test_steps_that_need_no_more_tasks_follow_at_once():
    found = Rehearsal(new=GOOD, replicas=2).run()
    assert [(step, tasks, weight) for _, step, tasks, weight, _ in found.history[:-1]] == [
        (0, 1, 0), (0, 1, 5), (1, 1, 25), (2, 1, 50)
    ]  # fmt: skip


def test_blue_green_makes_all_then_moves_the_whole_traffic_then_promotes():
    found = Rehearsal(new=GOOD, policy=BLUE_GREEN).run()
    assert found.release.state is S.STABLE
    assert found.history == [(0, 0, 20, 0, False), (11, 0, 20, 100, False), (41, 0, 20, 100, True)]


def test_written_steps_are_gone_through_as_written():
    steps = (ReleaseStep(weight=10, hold_seconds=5.0), ReleaseStep(weight=100, hold_seconds=7.0))
    found = Rehearsal(new=GOOD, policy=ReleasePolicy(strategy=Strategy.CANARY, steps=steps)).run()
    assert found.history == [
        (0, 0, 2, 0, False), (11, 0, 2, 10, False), (16, 1, 20, 10, False), (27, 1, 20, 100, False),
        (34, 1, 20, 100, True),
    ]  # fmt: skip


@pytest.mark.parametrize("policy", [ReleasePolicy(strategy=Strategy.CANARY), BLUE_GREEN], ids=["canary", "blue_green"])
def test_a_bad_one_loses_its_traffic_and_is_rolled_back_with_the_numbers(policy):
    found = Rehearsal(new=BAD, policy=policy).run()
    assert found.release.state is S.ROLLING_BACK
    assert found.stage.weight == 0
    assert "requests to the new tasks failed" in found.release.sentence
    assert found.release.sentence.endswith("; release 1 is being restored")
    assert found.release.evidence.service == "web"
    assert restoration(found.scene).to == 1
    (verdict,) = found.release.verdicts
    assert (verdict.outcome, verdict.old.errors) == ("roll-back", 0)
    assert verdict.error_p < 0.001
    assert verdict.new.errors > 0


def test_one_that_is_only_slower_is_rolled_back_too():
    found = Rehearsal(new=Program(median_ms=60.0)).run()
    assert found.release.state is S.ROLLING_BACK
    assert "of the new tasks' answers took at most" in found.release.sentence


def test_with_pause_a_bad_canary_stays_without_traffic_until_a_person_decides():
    found = Rehearsal(new=BAD, action="pause").run()
    assert (found.release.state, found.stage.weight, found.stage.tasks) == (S.FAILED, 0, 1)
    found.now += 60
    found.scene = replace(found.scene, app=replace(found.app, resumed_at=found.now))
    found.run(lambda self: self.stage.weight == 5)
    assert (found.release.state, found.release.evidence) == (S.ROLLING, None)
    # What was counted before does not count again, but it is judged anew.
    assert found.stage.counted.new.errors > 0
    assert found.run().release.state is S.FAILED


def test_a_task_failure_in_the_middle_of_a_canary_takes_the_traffic_back_at_once():
    found = Rehearsal(new=GOOD).run(lambda self: self.stage is not None and self.stage.weight == 25)
    found.scene = replace(
        found.scene, services=(replace(found.scene.services[0], rollout=failed(2, since=found.now)),)
    )  # fmt: skip
    found.look()
    assert (found.release.state, found.stage.weight) == (S.ROLLING_BACK, 0)


def test_a_version_whose_tasks_die_under_traffic_is_convicted_by_their_errors_and_never_promoted():
    assert Rehearsal(new=BAD, restless=True).run().release.state is S.ROLLING_BACK
    found = Rehearsal(new=GOOD, restless=True).run(lambda self: self.now > BEGAN + 300)
    assert (found.stage.step, found.release.verdicts) == (0, ())


def test_without_traffic_it_waits_three_holds_and_says_that_only_task_failures_were_judged():
    found = Rehearsal(new=GOOD, per_second=0.0).run()
    assert found.release.state is S.STABLE
    assert [at for at, *_ in found.history] == [0, 11, 101, 112, 202, 213, 303]
    assert {each.sentence for each in found.release.verdicts} == {
        "judged by task failures alone: the new tasks got 0 requests, and a verdict needs 50"
    }


def test_a_service_that_the_proxy_does_not_serve_waits_for_nothing_but_the_hold():
    found = Rehearsal(new=GOOD, ports=()).run()
    assert [at for at, *_ in found.history] == [0, 11, 41, 52, 82, 93, 123]
    assert "no port of it goes through the proxy" in found.release.verdicts[0].sentence


def test_people_who_watch_are_told_why_a_step_takes_longer():
    found = Rehearsal(new=GOOD, per_second=10.0).run(lambda self: self.release.verdicts != ())
    (verdict,) = found.release.verdicts
    assert verdict.outcome == "wait"
    assert verdict.sentence.startswith("watched for longer: the new tasks got ")
    later = found.run(lambda self: self.release.verdicts[0].at > verdict.at)
    assert later.now >= verdict.at + 10
    assert found.run().release.state is S.STABLE


def test_new_tasks_that_look_worse_are_watched_for_longer_and_then_believed():
    found = Rehearsal(new=GOOD, reports=False).run(lambda self: self.stage is not None and self.stage.weight == 5)

    def counted(at):
        seen = {"old": Golden(requests=1900), "new": Golden(requests=100, errors=2)}
        report = replace(traffic(**seen, measured_from=BEGAN, measured_at=found.stage.since + at), fingerprint="new")
        found.now = found.stage.since + at
        found.scene = replace(found.scene, traffic=(report,))
        found.look()
        return found.release.verdicts[-1]

    begun = found.stage
    verdict = counted(30)
    assert (verdict.outcome, found.stage.step) == ("wait", 0)
    assert verdict.sentence.startswith("watched for longer, because the new tasks look worse: 2 % of 100 requests")
    assert found.stage.since == begun.since
    verdict = counted(90)
    assert (verdict.outcome, found.stage.step) == ("promote", 1)
    assert verdict.sentence.startswith("the new tasks were not found to be worse in 3 times the hold")


def test_what_proxies_measured_is_taken_from_those_that_still_report():
    newest = release(2, created_at=BEGAN)
    gone = replace(traffic(measured_at=BEGAN - 1), node_id="gone")
    here = traffic(measured_at=BEGAN + 5, new=Golden(requests=7))
    web = service(spec("web"))
    assert reports(newest, web, (gone, here)) == (here,)
    assert reported_until(reports(newest, web, (gone, here))) == BEGAN + 5
    assert (reports(newest, web, ()), reported_until(())) == ((), 0.0)


def test_counts_that_are_late_are_waited_for():
    found = Rehearsal(new=GOOD).run(lambda self: self.stage is not None and self.stage.weight == 5)
    found.run(lambda self: self.now >= self.stage.since + 20)
    found.reports = False
    found.run(lambda self: self.release.verdicts != ())
    assert found.release.verdicts[0].sentence == "watched for longer, because the counts of web are late"
    found.reports = True
    found.run(lambda self: self.stage.step == 1)
    assert found.now - BEGAN < 50


def test_a_proxy_that_begins_anew_is_counted_from_there():
    found = Rehearsal(new=GOOD).run(lambda self: self.stage is not None and self.stage.weight == 25)
    found.run(lambda self: self.now >= self.stage.since + 4)
    fresh = Rehearsal(new=BAD, seed=9)
    found.crowd, found.measured_from = fresh.crowd, found.now
    began = found.now
    assert found.run().release.state is S.ROLLING_BACK
    assert found.now - began < 10
    assert found.release.verdicts[-1].new == found.scene.traffic[0].new


def test_what_was_measured_of_an_earlier_release_is_not_held_against_this_one():
    found = Rehearsal(new=GOOD)
    old = Rehearsal(new=Program(error_rate=0.5)).run()
    stale = replace(old.scene.traffic[0], measured_from=BEGAN - 500, measured_at=BEGAN - 1)
    found.scene, found.reports = replace(found.scene, traffic=(stale,)), False
    assert found.run().release.state is S.STABLE
    assert found.release.verdicts[0].new.requests == 0


def test_counts_of_other_new_tasks_are_not_taken_from_those_of_these():
    """A release that supersedes a canary: the proxy still tells of that one for a moment."""
    found = Rehearsal(new=BAD, reports=False).run(lambda self: self.stage is not None)
    stale = Rehearsal(new=Program(error_rate=0.5), seed=3).run().scene.traffic[0]
    many = Golden(requests=1_000_000, errors=500_000)
    stale = replace(stale, fingerprint="other", measured_at=BEGAN + 1, old=many, new=many)
    found.scene = replace(found.scene, traffic=(stale,))
    found.run(lambda self: self.stage.weight == 5)
    assert found.stage.counted.fingerprint == "other"
    found.reports = True
    assert found.run().release.state is S.ROLLING_BACK
    assert found.now - BEGAN < 60


def test_tasks_that_are_there_already_are_not_waited_for():
    """The same new tasks as in the release before, which it superseded: the orchestrator says HELD from the start."""
    found = Rehearsal(new=GOOD)
    found.rollout(RolloutState.HELD, held=5)
    found.look()
    found.look()
    assert (found.stage.step, found.stage.weight) == (0, 5)


def test_a_paused_app_goes_no_step_further_and_judges_nobody():
    found = Rehearsal(new=BAD).run(lambda self: self.stage is not None and self.stage.weight == 5)
    found.scene = replace(found.scene, app=replace(found.app, paused=True))
    for _ in range(60):
        found.second()
        found.look()
    assert (found.release.state, found.stage.weight) == (S.ROLLING, 5)
    found.scene = replace(found.scene, app=replace(found.app, paused=False))
    found.look()
    assert found.release.state is S.ROLLING_BACK


@pytest.mark.parametrize("fields", [{"base": 0}, {"kind": ReleaseKind.ROLLBACK}])
def test_what_has_nothing_to_be_compared_with_or_was_judged_before_has_no_stages(fields):
    found = Rehearsal(new=GOOD)
    found.scene = replace(found.scene, releases=(replace(found.release, **fields),))
    found.look()
    assert found.release.stages == {}


def test_what_is_only_restarted_is_not_held_back():
    found = Rehearsal(new=GOOD)
    found.scene = replace(found.scene, releases=(replace(found.release, kind=ReleaseKind.RESTART),))
    found.look()
    assert found.stage == Stage(promoted=True, since=BEGAN)


def test_what_was_stable_before_is_gone_back_to_without_stages_over_an_unfinished_canary():
    """Else the unfinished canary would get the traffic that the stable version must have."""
    found = Rehearsal(new=GOOD)
    base = replace(found.release, id=release_id("shop", 1), number=1, state=S.STABLE, base=0)
    found.scene = replace(found.scene, releases=(base, found.release))
    found.look()
    assert found.release.stages == {}


def test_a_service_that_does_not_change_gets_no_stage():
    found = Rehearsal(new=GOOD)
    found.rollout(RolloutState.DONE)
    found.look()
    assert found.release.stages == {}
    assert found.release.state is S.STABLE


def test_a_held_rollout_from_before_the_step_is_not_taken_for_its_end():
    found = Rehearsal(new=GOOD).run(lambda self: self.stage is not None and self.stage.step == 1)
    assert found.scene.services[0].rollout.state is RolloutState.HELD
    assert decide(found.scene, found.now).changes == ()
    assert decide(found.scene, found.now + 100).changes == ()


def test_every_look_twice_changes_nothing_more():
    found = Rehearsal(new=GOOD, per_second=40.0)
    while found.release.state is S.ROLLING:
        found.look()
        assert decide(found.scene, found.now).changes == ()
        found.second()


def test_a_step_that_is_watched_is_looked_at_every_two_seconds_and_when_its_hold_is_over():
    found = Rehearsal(new=GOOD).run(lambda self: self.stage is not None and self.stage.weight == 5)
    assert decide(found.scene, found.now).wake_at == found.now + 2
    assert decide(found.scene, found.now + 29).wake_at == found.now + 30


def test_each_canary_of_a_release_goes_at_its_own_pace_and_one_bad_one_ends_all():
    found = Rehearsal(new=BAD).run(lambda self: self.stage is not None and self.stage.weight == 5)
    other = replace(found.scene.services[0].spec, name="api")
    beside = replace(found.scene.services[0], id="shop/api", name="api", spec=other)
    whole = replace(found.release.spec, services=(other, *found.release.spec.services))
    both = replace(found.release, spec=whole, stages={"api": Stage(step=0, tasks=1), **found.release.stages})
    found.scene = replace(found.scene, services=(beside, *found.scene.services), releases=(both,))
    for _ in range(60):
        found.second()
        web = found.scene.services[0]
        found.scene = replace(found.scene, services=(beside, replace(web, id="shop/web", name="web")))
        found.look()
        if found.release.state is not S.ROLLING:
            break
    assert found.release.state is S.ROLLING_BACK
    assert found.release.evidence.service == "web"
    assert {name: stage.weight for name, stage in found.release.stages.items()} == {"api": 0, "web": 0}


def test_a_bad_canary_is_rolled_back_within_seconds():
    waits = seconds_to_roll_back(100, new=BAD)
    assert max(waits) <= 30
    assert statistics.median(waits) <= 6


def test_a_canary_without_a_difference_is_promoted():
    steps = tuple(ReleaseStep(weight=weight, hold_seconds=10.0) for weight in (5, 25, 50))
    policy = ReleasePolicy(strategy=Strategy.CANARY, steps=steps)
    same = Program(error_rate=0.01)
    assert promoted(30, new=same, old=same, policy=policy) == 30


@pytest.mark.slow
def test_a_thousand_bad_canaries_are_rolled_back_within_seconds():
    waits = seconds_to_roll_back(1000, new=BAD)
    assert max(waits) < 60
    assert statistics.quantiles(waits, n=100)[98] < 15


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [Strategy.CANARY, Strategy.BLUE_GREEN])
@pytest.mark.parametrize("per_second", [20.0, 400.0, 4000.0])
@pytest.mark.parametrize(
    "same",
    [Program(), Program(error_rate=0.01), Program(error_rate=0.05), Program(error_rate=0.01, spread=2.0)],
    ids=["none", "1 %", "5 %", "skewed"],
)
def test_of_a_hundred_canaries_without_a_difference_ninety_nine_are_promoted(same, per_second, strategy):
    policy = ReleasePolicy(strategy=strategy)
    assert promoted(100, new=same, old=same, per_second=per_second, policy=policy) >= 99


@pytest.mark.slow
def test_a_judge_that_is_told_to_be_generous_is():
    policy = ReleasePolicy(strategy=Strategy.CANARY, judge=Judge(error_rate=0.2))
    assert promoted(20, new=BAD, policy=policy) == 20
