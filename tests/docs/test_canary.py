"""The page about canaries says what the code does."""

import pathlib
import re

from pilothouse.model.rollout import Golden
from pilothouse.model.spec import Judge
from pilothouse.model.strategy import BLUE_GREEN_STEPS, CANARY_STEPS
from pilothouse.release import judge, sequential, stages

PAGE = (pathlib.Path(__file__).parent.parent.parent / "docs/reference/canary.md").read_text()
TEXT = re.sub(r"\s+", " ", PAGE)


def test_the_steps_are_those_of_the_platform():
    hold = CANARY_STEPS[0].hold_seconds
    weights = ", ".join(f"{step.weight} %" for step in CANARY_STEPS)
    assert f"{weights} of the traffic for {hold:g} s each" in TEXT
    assert f"{BLUE_GREEN_STEPS[0].weight} % for {BLUE_GREEN_STEPS[0].hold_seconds:g} s" in TEXT
    assert stages.LONGEST_HOLDS == 3
    assert "three times its time at most" in TEXT


def test_the_rule_is_the_one_in_the_code():
    *most, last = (f"{odds:g}" for odds in sequential.ODDS)
    assert f"θ = {', '.join(most)} and {last}" in TEXT
    assert f"at most {judge.ALPHA:g} divided by the number of steps" in TEXT
    assert f"at most {2 * judge.ALPHA * 1000:g} of 1,000 cases" in TEXT
    assert f"at least {judge.LEAST_MS:g} ms higher" in TEXT
    assert f"the first {stages.WARM_SECONDS:g} s of a step" in TEXT
    assert f"every {stages.LOOK_SECONDS:g} seconds" in TEXT
    assert f"at most {100 * (1 - judge.SLOW):.0f} % of the answers" in TEXT


def test_the_formula_is_the_one_in_the_code():
    """Worked out by hand for one failed request of the new tasks among one, at half of the traffic."""
    by_hand = sum(odds**1 / (1 + (odds - 1) * 0.5) ** 1 for odds in sequential.ODDS) / len(sequential.ODDS)
    plain = Golden(requests=10)
    case = judge.Case(judge=Judge(), weight=50, old=plain, new=Golden(requests=10, errors=1),
                      warm_old=Golden(), warm_new=Golden())  # fmt: skip
    assert abs(judge.judge(case).error_p - 1 / by_hand) < 1e-9


def test_the_judges_defaults_are_in_the_table():
    plain = Judge()
    assert f"`judge.error_rate` | {100 * plain.error_rate:g} % |" in TEXT
    assert f"{plain.p95_ratio:g}x |" in TEXT
