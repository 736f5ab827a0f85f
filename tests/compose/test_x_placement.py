"""`x-pilothouse.placement` and `cut_off`: what is written, what it means, what is refused with its place."""

import msgspec
import pytest

from pilothouse.compose import pages
from pilothouse.compose.convert import convert, convert_loaded
from pilothouse.compose.load import LoadOptions, load
from pilothouse.compose.render import as_yaml
from pilothouse.errors import InvalidManifestError
from pilothouse.model.diff import diff
from pilothouse.model.placement import (
    PRIORITIES,
    Affinity,
    Packing,
    Placement,
    Pool,
    Preference,
    Spread,
    Toleration,
)
from pilothouse.model.spec import CutOff, CutOffAction, ServiceSpec


def service(block=None, deploy=None, **ours) -> ServiceSpec:
    body = {"image": "web", "deploy": deploy or {}, "x-pilothouse": {"placement": block, **ours}}
    project = {"name": "shop", "services": {"web": body}}
    return convert(project, project_directory="/p", read_file=lambda path: b"").spec.services[0]


def finding(block=None, **ours):
    with pytest.raises(InvalidManifestError) as refused:
        service(block, **ours)
    (line,) = str(refused.value).splitlines()
    return line.removeprefix("services.web.x-pilothouse.")


def test_nothing_written_asks_nothing():
    found = service({})
    assert (found.task.placement, found.cut_off) == (Placement(), None)
    assert found.task.placement.priority == PRIORITIES["normal"]


def test_everything_written_is_taken_as_written():
    found = service(
        {
            "tolerate": [{"key": "gpu", "value": "a"}, {"key": "*"}],
            "prefer": [{"constraint": "node.labels.disk == ssd", "weight": 80}, {"constraint": "node.id == a"}],
            "near": [{"service": "db", "level": "node.id", "weight": 60}],
            "apart": [{"service": "web"}],
            "spread": [{"level": "node"}, {"level": "node.labels.z", "targets": {"eu": "60%", "us": 40}}],
            "pool": "batch",
            "packing": "pack",
            "priority": "high",
            "preemptible": False,
        },
        {
            "placement": {
                "constraints": ["node.labels.zone in (eu, us)", "disk=ssd"],
                "preferences": [{"spread": "node.labels.rack"}],
                "max_replicas_per_node": 2,
            }
        },
    )
    assert found.task.placement == Placement(
        constraints=("node.labels.zone in (eu, us)", "node.labels.disk==ssd"),
        spread=(
            Spread(level="node.labels.rack"),
            Spread(level="node.id"),
            Spread(level="node.labels.z", targets={"eu": 60, "us": 40}),
        ),
        max_replicas_per_node=2,
        tolerations=(Toleration(key="gpu", value="a"), Toleration()),
        preferences=(
            Preference(constraint="node.labels.disk == ssd", weight=80),
            Preference(constraint="node.id == a"),
        ),
        affinities=(Affinity(service="db", weight=60), Affinity(service="web", apart=True)),
        pool=Pool.BATCH,
        packing=Packing.PACK,
        priority=700,
        preemptible=False,
    )


@pytest.mark.parametrize(
    ("written", "number"),
    [*((name, number) for name, number in PRIORITIES.items()), (0, 0), (1000, 1000), ("250", 250)],
)
def test_a_priority_is_a_class_or_a_number(written, number):
    assert service({"priority": written}).task.placement.priority == number


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("keep", CutOff(action=CutOffAction.KEEP)),
        ("fence", CutOff(action=CutOffAction.FENCE)),
        ({"stop": "5m"}, CutOff(action=CutOffAction.STOP, after_seconds=300.0)),
    ],
)
def test_a_cut_off_node_keeps_fences_or_stops(written, meant):
    assert service(cut_off=written).cut_off == meant


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"tolerat": []}, "placement.tolerat: is not known; did you mean 'tolerate'?"),
        ({"tolerate": [{"value": "a"}]}, "placement.tolerate[0]: object missing required field `key`"),
        ({"prefer": [{"constraint": "node.id==a", "wait": 5}]}, "placement.prefer[0].wait: is not known; did you mean "
         "'weight'?"),
        ({"near": [{"weight": 5}]}, "placement.near[0]: object missing required field `service`"),
        ({"near": {"service": "db"}}, "placement.near: expected `array`, got `object`"),
        ({"spread": [{"level": "node", "targets": {"a": "half"}}]}, "placement.spread[0].targets.a: 'half' is no "
         "percentage; write a whole number such as 60%"),
        ({"pool": "jobs"}, "placement.pool: 'jobs' is not known; write services or batch or datastores"),
        ({"pool": "service"}, "placement.pool: 'service' is not known; write services"),
        ({"packing": "bin"}, "placement.packing: 'bin' is not known; write spread or pack"),
        ({"priority": "hihg"}, "placement.priority: 'hihg' is not known; write high, or a number from 0 to 1000"),
        ({"priority": 1.5}, "placement.priority: expected `int | str`, got `float`"),
        ({"preemptible": "no"}, "placement.preemptible: expected `bool`, got `str`"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_at_its_place(block, said):
    assert finding(block) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("stop", "cut_off: 'stop' is not known; write keep, fence, or stop with a time: {stop: 5m}"),
        ({"stop": "soon"}, "cut_off.stop: 'soon' is not a duration; write a number with a unit, such as \"90s\" or "
         '"1m30s"'),
        ({"after": "5m"}, "cut_off.after: is not known; known here: stop"),
    ],
)  # fmt: skip
def test_a_cut_off_that_cannot_be_read_is_refused(written, said):
    assert finding(cut_off=written) == said


def test_what_pilothouse_config_prints_means_the_same(tmp_path):
    made = []
    text = pages.example()
    for _ in range(2):
        (tmp_path / "compose.yaml").write_text(text)
        loaded = load(LoadOptions(current_directory=str(tmp_path)))
        specs = convert_loaded(loaded).spec.services
        made.append({spec.name: (spec.task.placement, spec.cut_off) for spec in specs})
        text = as_yaml(loaded.project)
    assert made[0] == made[1]
    assert made[0]["orders"][0].affinities[0] == Affinity(service="cache", weight=60)


def test_a_changed_wish_is_told_by_its_place():
    one, other = (service({"prefer": [{"constraint": "node.id==a", "weight": weight}]}) for weight in (5, 10))
    (change,) = diff(one, other)
    assert (change.path, change.before, change.after) == ("task.placement.preferences[0].weight", "5", "10")


def test_a_placement_travels_as_json():
    placement = service({"spread": [{"level": "node", "targets": {"a": 5}}], "pool": "batch"}).task.placement
    assert msgspec.json.decode(msgspec.json.encode(placement), type=Placement) == placement
