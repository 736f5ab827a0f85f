"""Whether new tasks are worse than old ones, from what the proxy counted of both. Pure.

The rule in plain words, with what it needs, is docs/reference/canary.md.

A difference convicts if it is significant (an always-valid p-value below ALPHA, see `sequential`) *and* larger than the
manifest allows (`model.spec.Judge`). Two questions are asked, with the same formula:

errors: of the failed requests of both sets, how many were the new tasks'? If these are no worse, their part is that of
their traffic.

latency: the same of the requests slower than a bound, averaged over all bounds of the histogram; and their 95th
percentile must be too high.

Where the old tasks get no traffic beside the new ones, the share of failed (or slow) requests itself is compared with
what was seen of the old ones before plus what the manifest allows; with what it allows alone, if too little was seen.
"""

import msgspec

from pilothouse.model.rollout import Golden
from pilothouse.model.spec import Judge
from pilothouse.release.counts import not_slower, quantile_ms, timed
from pilothouse.release.sequential import log_evidence, log_mean, p_value, upper_bound

ALPHA = 0.002
"""The probability, over a whole release and for each of the two questions, to convict tasks that are no worse."""

SUSPICIOUS = 0.05
"""Below this p-value a difference that is too large keeps a step from being promoted for now."""

BESIDE = 10
"""Old tasks are compared side by side if they get at least one request for so many of the new ones."""

LEAST_MS = 5.0
"""A 95th percentile that is higher by less is never too high: the machine and a coarse histogram do that alone."""

SLOW = 0.95
_LEAST_RATE = 1e-4


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to judge.

    Attributes:
        weight: Percent of the traffic the new tasks are meant to get.
        old, new: What was counted of either set in this step.
        warm_old, warm_new: The same without the time in which new tasks got their first requests; for latencies.
        before: What was counted of the old tasks before this step.
        alpha: The part of ALPHA that this step may use.
    """

    judge: Judge
    weight: int
    old: Golden
    new: Golden
    warm_old: Golden
    warm_new: Golden
    before: Golden = Golden()
    alpha: float = ALPHA


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question.

    Attributes:
        p: The always-valid p-value of "no worse".
        beyond: The difference is larger than the manifest allows.
        sentence: What was compared, with the numbers.
    """

    p: float = 1.0
    beyond: bool = False
    sentence: str = ""


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """What the counts say so far.

    Attributes:
        guilty: The new tasks are worse, surely and by more than is allowed.
        suspicious: They look worse by more than is allowed, but chance alone could do that.
        sentence: Why, with the numbers in words.
    """

    guilty: bool
    suspicious: bool
    sentence: str
    error_p: float
    latency_p: float
    old_p95_ms: float | None
    new_p95_ms: float | None


def judge(case: Case) -> Opinion:
    """Return what is to be thought of the new tasks; more of their requests failing never makes them better."""
    errors, latency = _errors(case), _latency(case)
    old = case.warm_old if timed(case.warm_old) else case.before
    guilty = [each for each in (errors, latency) if each.beyond and each.p <= case.alpha]
    suspicious = [each for each in (errors, latency) if each.beyond and each.p <= SUSPICIOUS]
    return Opinion(
        guilty=bool(guilty),
        suspicious=bool(suspicious),
        sentence="; ".join(each.sentence for each in guilty or suspicious or (errors, latency) if each.sentence),
        error_p=errors.p,
        latency_p=latency.p,
        old_p95_ms=quantile_ms(old, SLOW),
        new_p95_ms=quantile_ms(case.warm_new, SLOW),
    )


def _errors(case: Case) -> Finding:
    old, new = case.old, case.new
    rate = _rate(new.errors, new.requests)
    said = f"{_percent(rate)} of {new.requests:,} requests to the new tasks failed"
    if _beside(case, old.requests, new.requests):
        chance = _share(case, old.requests, new.requests)
        p = p_value(log_evidence(new.errors, new.errors + old.errors, chance))
        base = _rate(old.errors, old.requests)
        beyond = rate - base > case.judge.error_rate
        return Finding(
            p=p, beyond=beyond, sentence=f"{said}, of {old.requests:,} to the old ones {_percent(base)}{_by(p)}"
        )
    seen = case.before.requests + old.requests
    known = seen >= case.judge.requests
    usual = upper_bound(case.before.errors + old.errors, seen) if known else 0.0
    allowed = min(1.0, max(_LEAST_RATE, usual + case.judge.error_rate))
    p = p_value(log_evidence(new.errors, new.requests, allowed))
    why = f"{_percent(allowed)} are allowed" + (", judged by the old ones before" if known else "")
    return Finding(p=p, beyond=rate > allowed, sentence=f"{said}; {why}{_by(p)}")


def _latency(case: Case) -> Finding:
    old, new = case.warm_old, case.warm_new
    beside = _beside(case, timed(old), timed(new))
    usual = quantile_ms(old if beside else case.before, SLOW)
    found = quantile_ms(new, SLOW)
    if usual is None or found is None or (not beside and timed(case.before) < case.judge.requests):
        return Finding()
    limit = usual * case.judge.p95_ratio
    p = _slower_beside(case) if beside else _slower_than(case.before, new, limit)
    return Finding(
        p=p,
        beyond=found > limit and found - usual >= LEAST_MS,
        sentence=f"95 % of the new tasks' answers took at most {found:.3g} ms, of the old ones' {usual:.3g} ms{_by(p)}",
    )


def _slower_beside(case: Case) -> float:
    """Return the p-value of: among the requests slower than any bound, the new tasks have no more than their part."""
    old, new = case.warm_old, case.warm_new
    chance = _share(case, timed(old), timed(new))
    # The bounds are the proxy's own and known beforehand, so the mean over them is as valid as each alone.
    bounds = [bound for bound, _ in (new.buckets or old.buckets)]
    slow = ((timed(new) - not_slower(new, bound), timed(old) - not_slower(old, bound)) for bound in bounds)
    return p_value(log_mean(log_evidence(theirs, theirs + ours, chance) for theirs, ours in slow))


def _slower_than(before: Golden, new: Golden, limit: float) -> float:
    """Return the p-value of: no more of the new answers take longer than *limit* than did before."""
    bound = min((at for at, _ in new.buckets if at >= limit), default=None)
    if bound is None:
        return 1.0
    usual = upper_bound(timed(before) - not_slower(before, bound), timed(before))
    slow = timed(new) - not_slower(new, bound)
    return p_value(log_evidence(slow, timed(new), max(1.0 - SLOW, usual)))


def _beside(case: Case, old: int, new: int) -> bool:
    """Whether both sets get traffic at the same time, so that they can be compared side by side."""
    return case.weight < 100 and (old > 0 or not new) and old * BESIDE >= new


def _share(case: Case, old: int, new: int) -> float:
    """Return the new tasks' part of the traffic: as the proxy was told or as it was, whichever excuses more."""
    return max(case.weight / 100, _rate(new, new + old))


def _rate(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _percent(rate: float) -> str:
    return f"{100 * rate:.2g} %" if rate < 0.1 else f"{100 * rate:.0f} %"


def _by(p: float) -> str:
    return f" (p = {p:.2g})" if p < 1.0 else ""
