"""One run tells everything that is wrong in a manifest, and nothing that is only a consequence of it."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.compose.load import LoadOptions, load
from pilothouse.errors import InvalidManifestError
from tests.examples import examples

MISTAKEN = """\
services:
  web:
    imge: a
    ports: ["80:80:80:80"]
    mem_limit: lots
    depends_on: [db]
  api:
    image: b
    restart: sometimes
    healthcheck: {interval: soon}
    networks: [nope]
"""


def findings(directory, text):
    """Return what is reported about a manifest, each without the directory."""
    (directory / "compose.yaml").write_text(text)
    with pytest.raises(InvalidManifestError) as caught:
        load(LoadOptions(current_directory=str(directory), project_name="p"))
    return [error.removeprefix(f"{directory}/") for error in caught.value.errors]


def test_findings_of_all_stages_come_at_once_in_the_order_of_the_file(tmp_path):
    assert findings(tmp_path, MISTAKEN) == [
        "compose.yaml:3:5: services.web.imge: unknown key; write `image`",
        "compose.yaml:4:5: services.web.ports: '80:80:80:80' has the invalid IP address '80:80'; "
        "write [[IP:]HOST:]CONTAINER[/PROTOCOL]",
        "compose.yaml:5:5: services.web.mem_limit: 'lots' is not a size; write it like 512m, 1g or 1048576",
        "compose.yaml:6:18: services.web.depends_on.db: there is no service 'db'; "
        "write the name of a service of this project",
        "compose.yaml:10:19: services.api.healthcheck.interval: 'soon' is not a duration; "
        "write it like 30s, 1m30s or 500ms",
        "compose.yaml:11:16: services.api.networks.nope: the network 'nope' is not defined; "
        "add it under the top-level `networks`, or correct the name",
    ]


CONSEQUENCES = {
    "a reference to what failed": "services: {a: {image: x, networks: [n]}}\nnetworks: {n: 5}",
    "a reference to a mistyped section": "services: {a: {image: x, networks: [n]}}\nnetwoks: {n: {}}",
    "an image that failed": "services: {a: {image: 5}}",
    "an image the base would have given": "services: {a: {extends: b}, b: {imge: x}}",
    "a service whose profile is mistyped": "services: {a: {image: x, networks: [n], profile: [p]}}",
    "a required key that is mistyped": "services: {a: {image: x, depends_on: {b: {conditio: x}}}, b: {image: x}}",
    "a limit that no longer agrees": (
        "services: {a: {image: x, mem_limit: 1g, deploy: {resources: {limits: {memory: lots}}}}}"
    ),
    "a secret whose source failed": "services: {a: {image: x}}\nsecrets: {s: {file: 5}}",
    "a file that cannot be included": "include: [gone.yaml]\nservices: {a: {image: x, depends_on: [b]}}",
}


@pytest.mark.parametrize("what", CONSEQUENCES)
def test_a_mere_consequence_is_no_finding(what, tmp_path):
    assert len(findings(tmp_path, CONSEQUENCES[what])) == 1


def test_what_an_env_file_lacks_is_told_with_what_is_undefined(tmp_path):
    found = findings(tmp_path, "services:\n  a:\n    image: x\n    env_file: gone\n    networks: [n]\n")
    assert [error.split(": ")[1] for error in found] == ["services.a.env_file.0", "services.a.networks.n"]


#: What is wrong with each key: stages find these one after another when they are alone.
MUTATIONS = {
    "imagge": "x",
    "ports": ["80:80:80:80"],
    "mem_limit": "lots",
    "stop_grace_period": "soon",
    "privileged": "perhaps",
    "cpus": "${missing:?}",
    "pids_limit": [],
    "devices": ["a:b:c:d"],
    "init": 5,
    "volumes": ["data::b"],
    "shm_size": "big",
    "command": "echo 'open",
    "networks": ["undefined"],
    "depends_on": ["undefined"],
    "env_file": "gone.env",
}
DEEPER = {
    "devices": "devices.0",
    "volumes": "volumes.0",
    "networks": "networks.undefined",
    "depends_on": "depends_on.undefined",
    "env_file": "env_file.0",
}
IMAGES = {"a": {"image": "x"}, "b": {"image": "y", "labels": {"k": "v"}}, "c": {"image": "z", "restart": "always"}}


@given(chosen=st.sets(st.tuples(st.sampled_from(sorted(IMAGES)), st.sampled_from(sorted(MUTATIONS))), min_size=1))
@examples(20, deadline=None)
def test_every_one_of_several_mistakes_is_reported_and_nothing_else(chosen, tmp_path_factory):
    services = {name: dict(service) for name, service in IMAGES.items()}
    for name, key in sorted(chosen):
        services[name][key] = MUTATIONS[key]
    found = findings(tmp_path_factory.mktemp("several"), yaml.safe_dump({"services": services}))
    places = [error.split(": ")[1] for error in found]
    assert sorted(places) == sorted(f"services.{name}.{DEEPER.get(key, key)}" for name, key in chosen)
    lines = [int(error.split(":")[1]) for error in found]
    assert lines == sorted(lines)
