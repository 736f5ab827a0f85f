"""The judge is a rule with laws: what they are, and how often it is wrong."""

import math
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.model.rollout import Golden
from pilothouse.model.spec import Judge
from pilothouse.release import counts
from pilothouse.release.judge import ALPHA, Case, judge
from pilothouse.release.sequential import ODDS, log_evidence, p_value, upper_bound
from tests.release.crowd import BOUNDS, Counter, Program, binomial


def golden(requests=0, errors=0, buckets=()):
    return Golden(requests=requests, errors=errors, buckets=tuple(buckets))


def case(old, new, weight=5, **fields):
    return Case(
        judge=fields.pop("judge", Judge()), weight=weight, old=old, new=new,
        warm_old=fields.pop("warm_old", old), warm_new=fields.pop("warm_new", new), **fields
    )  # fmt: skip


HISTOGRAMS = st.lists(st.integers(0, 400), min_size=len(BOUNDS), max_size=len(BOUNDS)).map(
    lambda each: tuple(zip(BOUNDS, [sum(each[: at + 1]) for at in range(len(each))], strict=True))
)


@st.composite
def goldens(draw):
    buckets = draw(HISTOGRAMS)
    requests = buckets[-1][1]
    return golden(requests, draw(st.integers(0, requests)), buckets)


CASES = st.builds(case, goldens(), goldens(), st.sampled_from([1, 5, 25, 50, 99, 100]), before=goldens())


@given(CASES, st.integers(1, 50))
def test_more_new_errors_never_turn_roll_back_into_anything_else(seen, more):
    worse = replace(seen.new, errors=seen.new.errors + more)
    assume(worse.errors <= worse.requests)
    before, after = judge(seen), judge(replace(seen, new=worse))
    assert after.error_p <= before.error_p
    assert after.guilty or not before.guilty


@given(CASES, st.integers(1, 50))
def test_more_old_errors_never_turn_anything_into_roll_back(seen, more):
    worse = replace(seen.old, errors=seen.old.errors + more)
    assume(worse.errors <= worse.requests)
    assert judge(seen).guilty or not judge(replace(seen, old=worse)).guilty


@given(CASES)
def test_slower_new_answers_never_turn_roll_back_into_anything_else(seen):
    """Each answer falls into the next bucket but one."""
    slower = tuple((bound, seen.warm_new.buckets[max(0, at - 1)][1] if at else 0)
                   for at, (bound, _) in enumerate(seen.warm_new.buckets))  # fmt: skip
    slower = (*slower[:-1], (slower[-1][0], seen.warm_new.buckets[-1][1]))
    after = judge(replace(seen, warm_new=replace(seen.warm_new, buckets=slower)))
    assert after.latency_p <= judge(seen).latency_p + 1e-12
    assert after.guilty or not judge(seen).guilty


@given(goldens(), st.sampled_from([5, 25, 50, 100]))
def test_what_is_counted_alike_is_never_guilty(counts, weight):
    assert not judge(case(counts, counts, weight, before=counts)).guilty


@given(CASES)
def test_a_difference_the_manifest_allows_is_never_guilty(seen):
    generous = Judge(error_rate=1.0, p95_ratio=1e9)
    assert not judge(replace(seen, judge=generous)).guilty


@given(st.integers(0, 40), st.integers(0, 40), st.fractions(Fraction(1, 50), Fraction(49, 50)))
def test_evidence_is_a_martingale(hits, misses, chance):
    """Its mean over what may come next is what it is now: why one may look as often as one likes."""
    trials = hits + misses
    now = math.exp(log_evidence(hits, trials, float(chance)))
    after = [math.exp(log_evidence(hits + hit, trials + 1, float(chance))) for hit in (0, 1)]
    assert after[1] * float(chance) + after[0] * (1 - float(chance)) == pytest.approx(now)


def test_evidence_exceeds_its_bound_no_more_often_than_promised():
    import random

    alpha, wrong, runs = 0.05, 0, 400
    for seed in range(runs):
        chance, hits = random.Random(seed), 0
        for trials in range(1, 301):
            hits += chance.random() < 0.2
            if p_value(log_evidence(hits, trials, 0.2)) <= alpha:
                wrong += 1
                break
    assert wrong / runs <= alpha
    assert wrong > 0


def test_nothing_seen_says_nothing():
    assert judge(case(golden(), golden())).error_p == 1.0
    assert not judge(case(golden(), golden())).suspicious


def test_errors_of_the_new_tasks_convict_as_soon_as_they_are_significant_and_too_many():
    old = golden(1900, 0)
    found = judge(case(old, golden(100, 5)))
    assert found.guilty
    assert found.sentence.startswith("5 % of 100 requests to the new tasks failed, of 1,900 to the old ones 0 % (p = ")
    assert found.error_p <= ALPHA
    assert not judge(case(old, golden(100, 2))).guilty
    assert judge(case(old, golden(100, 2))).suspicious
    # Significant, but less than the manifest allows.
    assert not judge(case(golden(190_000, 0), golden(10_000, 60))).guilty


def test_errors_that_both_make_alike_convict_nobody():
    assert not judge(case(golden(1900, 95), golden(100, 6))).guilty
    assert judge(case(golden(1900, 95), golden(100, 40))).guilty


def test_new_tasks_that_got_more_traffic_than_they_were_meant_to_are_excused_by_it():
    assert not judge(case(golden(1000, 10), golden(1000, 25))).guilty
    assert judge(case(golden(19_000, 10), golden(1000, 25))).guilty


def test_old_tasks_that_get_hardly_any_traffic_are_nothing_to_compare_with():
    assert judge(case(golden(10, 0), golden(2000, 120))).guilty


def test_without_old_traffic_the_manifest_alone_decides():
    assert judge(case(golden(), golden(200, 12), weight=100)).guilty
    assert not judge(case(golden(), golden(200, 2), weight=100)).guilty
    assert not judge(case(golden(), golden(200, 12), weight=100, judge=Judge(error_rate=0.06))).guilty


def test_what_the_old_tasks_did_before_counts_when_they_have_no_traffic_now():
    before = golden(4000, 200)
    assert not judge(case(golden(), golden(2000, 100), weight=100, before=before)).guilty
    assert judge(case(golden(), golden(2000, 240), weight=100, before=before)).guilty
    # Too little was seen of them to be excused by.
    assert judge(case(golden(), golden(2000, 100), weight=100, before=golden(20, 1))).guilty


def counter(program, requests, seed=1):
    import random

    found = Counter(program)
    found.serve(random.Random(seed), requests)
    return found.golden()


def test_latency_convicts_when_it_is_surely_and_much_higher():
    old, slow = counter(Program(), 4000), counter(Program(median_ms=60), 200)
    found = judge(case(old, slow))
    assert found.guilty
    assert found.latency_p <= ALPHA
    assert found.new_p95_ms > 1.5 * found.old_p95_ms
    assert "95 % of the new tasks' answers took at most" in found.sentence
    assert not judge(case(old, counter(Program(median_ms=60), 5))).guilty
    assert not judge(case(old, counter(Program(median_ms=24), 4000))).guilty


def test_latency_is_compared_with_before_when_the_old_tasks_have_no_traffic():
    before = counter(Program(), 4000)
    assert judge(case(golden(), counter(Program(median_ms=100), 400), weight=100, before=before)).guilty
    assert not judge(case(golden(), counter(Program(), 400, seed=2), weight=100, before=before)).guilty


def test_a_difference_of_less_than_five_milliseconds_is_nobodys_fault():
    old, new = counter(Program(median_ms=0.2), 4000), counter(Program(median_ms=0.4), 400)
    found = judge(case(old, new))
    assert found.new_p95_ms > 1.5 * found.old_p95_ms
    assert not found.guilty


def test_connections_without_latencies_are_judged_by_errors_alone():
    found = judge(case(golden(1900, 0), golden(100, 0)))
    assert (found.latency_p, found.old_p95_ms, found.new_p95_ms) == (1.0, None, None)
    assert judge(case(golden(1900, 0), golden(100, 10))).guilty


@given(goldens(), goldens())
def test_counts_add_up_and_come_apart_again(one, two):
    both = counts.total([one, two])
    assert (both.requests, both.errors) == (one.requests + two.requests, one.errors + two.errors)
    assert counts.since(both, two) == one
    assert counts.since(one, both).requests == 0


@given(goldens(), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_that_holds_it(found, share):
    at = counts.quantile_ms(found, share)
    if not counts.timed(found):
        assert at is None
        return
    inside = next(bound for bound, total in found.buckets if total >= share * counts.timed(found) and total)
    below = max((bound for bound in BOUNDS if bound < inside), default=0.0)
    assert below <= at <= inside


@given(st.integers(0, 200), st.integers(1, 200))
def test_the_upper_bound_is_above_what_was_seen(hits, more):
    trials = hits + more
    assert hits / trials <= upper_bound(hits, trials) <= 1.0
    assert upper_bound(hits, trials * 4) < upper_bound(hits, trials)


def test_the_simulated_crowd_draws_what_it_should():
    import random

    chance = random.Random(5)
    for trials, rate in ((50, 0.05), (400, 0.3), (20, 0.97)):
        drawn = [binomial(chance, trials, rate) for _ in range(4000)]
        assert sum(drawn) / len(drawn) == pytest.approx(trials * rate, rel=0.03)
        assert min(drawn) >= 0
        assert max(drawn) <= trials


def test_the_ratios_looked_for_are_all_worse():
    assert min(ODDS) > 1.0
    assert list(ODDS) == sorted(ODDS)
