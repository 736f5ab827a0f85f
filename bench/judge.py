"""How fast the judge takes a bad canary back, and how often it lets one go on that is no worse. Simulated, seeded.

Usage: bench/judge.py [RUNS]. Each run goes through the releaser's own decisions, second by second; nothing is real but
these. The last line is the longest wait for a canary with 5 % errors, and the fewest of 100 good ones promoted.
"""

import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from tests.release.crowd import Program
from tests.release.rehearsal import BEGAN, Rehearsal

from pilothouse.model.release import ReleaseState
from pilothouse.model.spec import ReleasePolicy, Strategy

WORSE = {
    "0 % -> 5 % errors": (Program(), Program(error_rate=0.05)),
    "0 % -> 2 % errors": (Program(), Program(error_rate=0.02)),
    "1 % -> 5 % errors": (Program(error_rate=0.01), Program(error_rate=0.05)),
    "5 % -> 10 % errors": (Program(error_rate=0.05), Program(error_rate=0.10)),
    "twice as slow": (Program(), Program(median_ms=40.0)),
    "a longer tail": (Program(), Program(spread=1.3)),
}
ALIKE = {
    "0 % errors": Program(),
    "1 % errors": Program(error_rate=0.01),
    "5 % errors": Program(error_rate=0.05),
    "1 %, skewed latencies": Program(error_rate=0.01, spread=2.0),
}


def waited(seed: int, old: Program, new: Program) -> float | None:
    """Return how long the new tasks had traffic before they were found to be worse; None if they were not."""
    found = Rehearsal(seed=seed, old=old, new=new).run()
    if found.release.state is not ReleaseState.ROLLING_BACK:
        return None
    return found.now - BEGAN - next(at for at, _, _, weight, _ in found.history if weight)


def main(runs: int) -> None:
    """Print the table and the figure."""
    longest, fewest = 0.0, 100.0
    for name, (old, new) in WORSE.items():
        number = runs if new.error_rate == 0.05 and not old.error_rate else min(runs, 100)
        waits = [each for seed in range(number) if (each := waited(seed, old, new)) is not None]
        parts = statistics.quantiles(waits, n=100)
        print(
            f"{name:24} {len(waits)} of {number} taken back; half of them in {statistics.median(waits):g} s, "
            f"99 of 100 in {parts[98]:.0f} s, all in {max(waits):g} s"
        )
        if number == runs:
            longest = max(longest, *waits) if len(waits) == number else float("inf")
    for strategy in (Strategy.CANARY, Strategy.BLUE_GREEN):
        for name, same in ALIKE.items():
            for rate in (20.0, 400.0):
                policy = ReleasePolicy(strategy=strategy)
                made = (Rehearsal(seed=s, old=same, new=same, per_second=rate, policy=policy) for s in range(100))
                good = sum(each.run().release.state is ReleaseState.STABLE for each in made)
                print(f"{strategy.value:10} no worse, {name:22} {rate:5g} requests/s: {good} of 100 promoted")
                fewest = min(fewest, good)
    print(f"longest wait for 5 % errors: {longest:g} s; fewest promoted of 100 that are no worse: {fewest:g}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
