"""`x-pilothouse.release`: what is written, what it means, and what is refused with the place and a way out."""

import msgspec
import pytest

from pilothouse.compose import pages
from pilothouse.compose.convert import convert, convert_loaded
from pilothouse.compose.load import LoadOptions, load
from pilothouse.compose.render import as_yaml
from pilothouse.errors import InvalidManifestError
from pilothouse.model.diff import diff
from pilothouse.model.spec import Judge, ReleasePolicy, ReleaseStep, ServiceSpec, Strategy
from pilothouse.model.strategy import BLUE_GREEN_STEPS, CANARY_STEPS, steps_of, tasks_of


def service(block) -> ServiceSpec:
    project = {"name": "shop", "services": {"web": {"image": "web", "x-pilothouse": {"release": block}}}}
    return convert(project, project_directory="/p", read_file=lambda path: b"").spec.services[0]


def finding(block):
    with pytest.raises(InvalidManifestError) as refused:
        service(block)
    (line,) = str(refused.value).splitlines()
    return line.removeprefix("services.web.x-pilothouse.release")


def test_nothing_written_leaves_everything_to_the_platform():
    assert service({}).release == ReleasePolicy()
    assert steps_of(ReleasePolicy()) == ()


def test_everything_written_is_taken_as_written():
    found = service({
        "strategy": "canary",
        "steps": [{"weight": 10, "for": "1m"}, {"weight": 50}],
        "judge": {"error_rate": "0.5%", "p95": "2x", "requests": 200},
        "settle": "0s",
        "deadline": "2m30s",
    })  # fmt: skip
    assert found.release == ReleasePolicy(
        strategy=Strategy.CANARY,
        steps=(ReleaseStep(weight=10, hold_seconds=60.0), ReleaseStep(weight=50, hold_seconds=30.0)),
        judge=Judge(error_rate=0.005, p95_ratio=2.0, requests=200),
        settle_seconds=0.0,
        deadline_seconds=150.0,
    )


@pytest.mark.parametrize(
    ("written", "rate", "ratio"),
    [
        ({"error_rate": "1%", "p95": "1.5x"}, 0.01, 1.5),
        ({"error_rate": 0.02, "p95": 2}, 0.02, 2.0),
        ({"error_rate": "0.02", "p95": "1.25"}, 0.02, 1.25),
        ({"error_rate": " 3 % ", "p95": "3 x"}, 0.03, 3.0),
        ({"error_rate": 0}, 0.0, 1.5),
    ],
)
def test_a_judges_numbers_may_have_their_units(written, rate, ratio):
    judge = service({"strategy": "canary", "judge": written}).release.judge
    assert (judge.error_rate, judge.p95_ratio, judge.requests) == (pytest.approx(rate), ratio, 50)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"strategy": "blue-green"}, ".strategy: 'blue-green' is not known; write rolling or canary or blue_green"),
        ({"stratgy": "canary"}, ".stratgy: is not known; did you mean 'strategy'?"),
        ({"steps": [{"weight": 5}, {"wait": "1m"}]}, ".steps[1].wait: is not known; did you mean 'weight'?"),
        ({"steps": [{"for": "1m"}]}, ".steps[0]: object missing required field `weight`"),
        ({"steps": [{"weight": "5%"}]}, ".steps[0].weight: expected `int`, got `str`"),
        ({"steps": [{"weight": 5, "for": "long"}]}, ".steps[0].for: 'long' is not a duration; write a number with a "
         'unit, such as "90s" or "1m30s"'),
        ({"steps": {"weight": 5}}, ".steps: expected `array`, got `object`"),
        ({"judge": {"error_rate": "few"}}, ".judge.error_rate: 'few' is no number; write a share such as 0.01 or "
         '"1%"'),
        ({"judge": {"error_rate": "-1%"}}, ".judge.error_rate: '-1%' is no number; write a share such as 0.01 or "
         '"1%"'),
        ({"judge": {"p95": "1.5%"}}, ".judge.p95: '1.5%' is no number; write a ratio such as 1.5 or \"1.5x\""),
        ({"judge": {"error_rates": 1}}, ".judge.error_rates: is not known; did you mean 'error_rate'?"),
        ({"settle": "soon"}, ".settle: 'soon' is not a duration; write a number with a unit, such as \"90s\" or "
         '"1m30s"'),
        ({"deadline": 10}, ".deadline: expected `str`, got `int`"),
        (5, ": expected `object | null`, got `int`"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_at_its_place(block, said):
    assert finding(block) == said


def test_the_platforms_steps_are_those_the_reference_names():
    text = pages.example()
    assert ", ".join(f"{step.weight} %" for step in CANARY_STEPS).replace(", 50", " and 50") in text
    assert {step.hold_seconds for step in (*CANARY_STEPS, *BLUE_GREEN_STEPS)} == {30.0}


@pytest.mark.parametrize(
    ("strategy", "replicas", "tasks"),
    [
        (Strategy.CANARY, 1, [1, 1, 1]),
        (Strategy.CANARY, 4, [1, 1, 2]),
        (Strategy.CANARY, 40, [2, 10, 20]),
        (Strategy.BLUE_GREEN, 4, [4]),
    ],
)
def test_as_large_a_share_of_the_slots_takes_part_as_of_the_traffic(strategy, replicas, tasks):
    policy = ReleasePolicy(strategy=strategy)
    assert [tasks_of(policy, step, replicas) for step in range(len(steps_of(policy)))] == tasks


def test_a_value_of_another_kind_is_refused():
    assert finding({"judge": {"p95": True}}).startswith(".judge.p95: expected ")


def test_what_pilothouse_config_prints_means_the_same(tmp_path):
    made = []
    text = pages.example()
    for _ in range(2):
        (tmp_path / "compose.yaml").write_text(text)
        loaded = load(LoadOptions(current_directory=str(tmp_path)))
        made.append({spec.name: spec.release for spec in convert_loaded(loaded).spec.services})
        text = as_yaml(loaded.project)
    assert made[0] == made[1]
    assert made[0]["api"].strategy is Strategy.CANARY


def test_a_changed_step_is_told_by_its_place():
    before, after = (service({"strategy": "canary", "steps": [{"weight": weight}]}) for weight in (5, 10))
    (change,) = diff(before, after)
    assert (change.path, change.before, change.after) == ("release.steps[0].weight", "5", "10")


def test_a_policy_travels_as_json():
    policy = service({"strategy": "blue_green", "judge": {"error_rate": "2%"}}).release
    assert msgspec.json.decode(msgspec.json.encode(policy), type=ReleasePolicy) == policy
