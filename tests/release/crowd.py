"""Simulated traffic: callers whose requests fail and take as long as two versions of a program make them, seeded.

A look's worth of requests is drawn at once, as counts: binomial numbers of failures and of latencies per bucket.
"""

import itertools
import math
import random
from dataclasses import dataclass

from pilothouse.model.rollout import Golden

# As fine as a proxy's usual histogram, in milliseconds.
BOUNDS = (0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0)


def binomial(chance, trials, rate):
    """The number of successes of *trials* with *rate*: exact when it is small, else by its normal limit."""
    if rate <= 0.0 or trials <= 0:
        return 0
    if rate >= 1.0:
        return trials
    if rate > 0.5:
        return trials - binomial(chance, trials, 1.0 - rate)
    if trials * rate < 30:
        seen, at = -1, 0
        while at <= trials:
            at += 1 + int(math.log(1.0 - chance.random()) / math.log1p(-rate))
            seen += 1
        return seen
    drawn = chance.gauss(trials * rate, math.sqrt(trials * rate * (1 - rate)))
    return min(trials, max(0, round(drawn)))


def poisson(chance, mean):
    return binomial(chance, 1_000_000, mean / 1_000_000)


@dataclass(frozen=True)
class Program:
    """How one version behaves: failures by chance, latencies log-normal with a median and a spread."""

    error_rate: float = 0.0
    median_ms: float = 20.0
    spread: float = 0.8

    def shares(self):
        """The probability of each bucket, and of none."""
        below = [0.5 * (1 + math.erf(math.log(b / self.median_ms) / self.spread / math.sqrt(2))) for b in BOUNDS]
        return [b - a for a, b in itertools.pairwise([0.0, *below])]


class Counter:
    """What a proxy counted of one set."""

    def __init__(self, program):
        self.program = program
        self.requests = self.errors = 0
        self.buckets = [0] * len(BOUNDS)
        self._shares = program.shares()

    def serve(self, chance, requests):
        self.requests += requests
        self.errors += binomial(chance, requests, self.program.error_rate)
        left, rest = requests, 1.0
        for place, share in enumerate(self._shares):
            here = binomial(chance, left, min(1.0, share / rest)) if rest > 1e-12 else 0
            self.buckets[place] += here
            left, rest = left - here, rest - share

    def golden(self):
        cumulative = itertools.accumulate(self.buckets)
        return Golden(
            requests=self.requests, errors=self.errors, buckets=tuple(zip(BOUNDS, cumulative, strict=True))
        )  # fmt: skip


class Crowd:
    """Callers of one service: so many requests a second, divided by chance as the proxy was told."""

    def __init__(self, seed, old, new, per_second):
        self.chance = random.Random(seed)
        self.old, self.new = Counter(old), Counter(new)
        self.per_second = per_second

    def call(self, seconds, weight):
        requests = poisson(self.chance, self.per_second * seconds)
        to_new = binomial(self.chance, requests, weight / 100)
        self.old.serve(self.chance, requests - to_new)
        self.new.serve(self.chance, to_new)
