"""Evidence against "no worse" that may be looked at as often as one likes: one formula for every question of the judge.

Of *trials* events each is a *hit* with a probability of at most *chance*, if the new tasks are no worse. For an odds
ratio θ > 1 the likelihood ratio

    M(θ) = θ^hits / (1 + (θ - 1)·chance)^trials

is then a supermartingale that starts at 1, and so is its mean over any set of ratios fixed beforehand. By Ville's
inequality (J. Ville, Étude critique de la notion de collectif, 1939) the probability that it ever exceeds 1/a is at
most a, however often it is looked at and whenever one stops: 1/M is a p-value that is always valid (Robbins 1970 for
the mixture; Johari, Koomen, Pekelis and Walsh, "Always Valid Inference", Operations Research 70, 2022). Whether a
failed request was one of the new tasks' is such an event: the proxy drew for it, and it stays one when the rate of
errors moves with the time of day. Lindon and Malek ("Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022)
compare canaries by the same reasoning.
"""

import math
from collections.abc import Iterable

ODDS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""The odds ratios looked for, from slightly worse to broken, with equal weights."""


def log_evidence(hits: int, trials: int, chance: float) -> float:
    """Return the logarithm of the evidence that hits are more likely than *chance*; grows with every further hit."""
    return log_mean(hits * math.log(odds) - trials * math.log1p((odds - 1.0) * chance) for odds in ODDS)


def log_mean(logs: Iterable[float]) -> float:
    """Return the logarithm of the mean of numbers given by their logarithms; 0, which says nothing, of none."""
    every = list(logs)
    if not every:
        return 0.0
    most = max(every)
    return most + math.log(math.fsum(math.exp(each - most) for each in every) / len(every))


def p_value(log: float) -> float:
    """Return the always-valid p-value of evidence given by its logarithm."""
    return math.exp(-log) if log > 0.0 else 1.0


def upper_bound(hits: int, trials: int) -> float:
    """Return how high a rate may be of which *hits* of *trials* were seen: Wilson's interval at 99.9 %."""
    if not trials:
        return 1.0
    z = 3.0
    rate, spread = hits / trials, z * z / trials
    middle = rate + spread / 2
    return min(1.0, (middle + z * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials))) / (1 + spread))
