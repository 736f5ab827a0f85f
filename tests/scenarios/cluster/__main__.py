"""Plays many seeds and says what they were: `scripts/simulate SEEDS`."""

import argparse
import sys
import time

from tests.scenarios.cluster.play import FailedError, play


def main():
    """Play the seeds; the exit code is 1 if a promise was broken. Who interrupts it is told what was played so far."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description="Play random scripts on simulated clusters.")
    parser.add_argument("seeds", type=int, nargs="?", default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--nodes", type=int, default=4, help="how many nodes each cluster has")
    parser.add_argument("--keep-going", action="store_true", help="go on after a broken promise")
    asked = parser.parse_args()
    seeds = [asked.seed] if asked.seed is not None else range(asked.first, asked.first + asked.seeds)
    began, broken, played = time.monotonic(), [], []
    for seed in seeds:
        try:
            played.append(play(seed, asked.nodes))
        except KeyboardInterrupt:
            break
        except FailedError as error:
            broken.append(seed)
            sys.stderr.write(f"{error}\n")
            if not asked.keep_going:
                break
    took = time.monotonic() - began
    sys.stdout.write(
        f"{len(played) + len(broken)} seeds on {asked.nodes} nodes in {took:.0f} s: "
        f"{sum(p.commits for p in played)} commits, {sum(p.starts for p in played)} containers, "
        f"{sum(p.terms for p in played)} terms, "
        f"{sum(p.refused for p in played)} commits of ended terms refused, "
        f"{sum(p.seconds for p in played) / 3600:.1f} simulated hours; "
        f"settled after at most {max((p.settled_after for p in played), default=0):.0f} s; "
        f"{len(broken)} broken promises{': seeds ' if broken else ''}{', '.join(map(str, broken))}\n"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
