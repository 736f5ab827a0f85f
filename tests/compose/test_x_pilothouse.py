"""`x-pilothouse`: typed, strict, and documented by its own example."""

import pathlib

import msgspec
import pytest
import yaml

from pilothouse.compose import pages
from pilothouse.compose.convert import convert
from pilothouse.compose.x_pilothouse import LATER, AppBlock, ServiceBlock, struct_in
from pilothouse.errors import InvalidManifestError
from pilothouse.model.spec import Ownership, Probe, ProbeKind, Probes
from pilothouse.model.validate import validate

REFERENCE = pathlib.Path(__file__).parent.parent.parent / "docs" / "reference"


def converted(project):
    return convert(project, project_directory="/p", read_file=lambda path: b"")


def probes(block):
    service = {"image": "web", "x-pilothouse": {"probes": block}}
    return converted({"name": "shop", "services": {"web": service}}).spec.services[0].task.probes


def findings(top=None, service=None):
    project = {"name": "shop", "services": {"web": {"image": "web", "x-pilothouse": service}}, "x-pilothouse": top}
    with pytest.raises(InvalidManifestError) as refused:
        converted(project)
    return str(refused.value).splitlines()


def traffic(block, *ports):
    service = {"image": "web", "ports": list(ports), "x-pilothouse": {"traffic": block}}
    return converted({"name": "shop", "services": {"web": service}}).spec.services[0].task.container.ports


TCP = {"target": 25, "published": "2525", "protocol": "tcp", "mode": "ingress"}


def test_the_proxy_protocol_is_asked_for_once_for_every_raw_tcp_port_that_the_proxy_serves():
    others = (
        {**TCP, "target": 80, "app_protocol": "http"},
        {**TCP, "target": 53, "protocol": "udp"},
        {**TCP, "target": 26, "mode": "host"},
        {**TCP, "target": 27, "published": "3000-3005"},
    )
    found = traffic({"client_address": "proxy-protocol"}, TCP, {**TCP, "app_protocol": "tcp"}, *others)
    assert [port.client_address for port in found] == ["proxy-protocol"] * 2 + [""] * 4
    assert [port.client_address for port in traffic({}, TCP)] == [""]


@pytest.mark.parametrize(
    ("block", "ports", "message"),
    [
        ({"client_address": "header"}, [TCP], "client_address: 'header' is not known; write proxy-protocol"),
        (
            {"client_address": "proxy-protocol"},
            [{**TCP, "mode": "host"}],
            "client_address: is for raw TCP ports that the proxy serves, and the service publishes none; remove it, or "
            "publish one with `mode: ingress`, TCP and a single host port",
        ),
        ({"retries": 3}, [TCP], "retries: is not supported yet; remove it until a release honours it"),
        ({"client": 3}, [TCP], "client: is not known; did you mean 'client_address'?"),
    ],
)
def test_traffic_is_decoded_strictly(block, ports, message):
    with pytest.raises(InvalidManifestError) as refused:
        traffic(block, *ports)
    assert str(refused.value) == f"services.web.x-pilothouse.traffic.{message}"


def test_ownership_is_kept_with_the_app():
    found = converted({"name": "shop", "services": {}, "x-pilothouse": {"owner": "team", "runbook": "https://r"}})
    assert found.spec.ownership == Ownership(owner="team", runbook="https://r")


def test_a_probe_of_each_kind():
    found = probes(
        {
            "startup": {"tcp": {"port": 80}},
            "live": {"exec": {"command": ["alive", "-v"]}, "interval": "30s", "timeout": "500ms"},
            "ready": {"http": {"port": 80, "path": "/r", "headers": {"Host": "h"}}, "failures": 2, "successes": 4},
        }
    )
    assert found == Probes(
        startup=Probe(kind=ProbeKind.TCP, port=80),
        live=Probe(kind=ProbeKind.EXEC, command=("alive", "-v"), interval_seconds=30.0, timeout_seconds=0.5),
        ready=Probe(kind=ProbeKind.HTTP, port=80, path="/r", headers={"Host": "h"}, failures=2, successes=4),
    )
    assert probes({"ready": {"grpc": {"port": 9, "service": "s"}}}).ready == Probe(
        kind=ProbeKind.GRPC, port=9, service="s"
    )


def test_an_unknown_field_is_refused_with_the_nearest_name():
    assert findings(top={"onwer": "x"}, service={"probes": {"redy": {}}}) == [
        "services.web.x-pilothouse.probes.redy: is not known; did you mean 'ready'?",
        "x-pilothouse.onwer: is not known; did you mean 'owner'?",
    ]


@pytest.mark.parametrize("field", sorted(LATER))
def test_a_field_of_a_later_release_is_refused_and_not_ignored(field):
    assert findings(service={field: {"x": 1}}) == [
        f"services.web.x-pilothouse.{field}: is not supported yet; remove it until a release honours it"
    ]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"ready": {}}, "ready: needs exactly one of http, tcp, grpc and exec"),
        ({"ready": {"tcp": {"port": 1}, "http": {"port": 1}}}, "ready: needs exactly one of http, tcp, grpc and exec"),
        ({"ready": {"tcp": {"port": "eighty"}}}, "ready.tcp.port: expected `int`, got `str`"),
        ({"ready": {"tcp": {}}}, "ready.tcp: object missing required field `port`"),
        ({"live": {"tcp": {"port": 1}, "interval": "often"}}, "live.interval: 'often' is not a duration; write a "
         'number with a unit, such as "90s" or "1m30s"'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_found_at_its_path(block, message):
    assert findings(service={"probes": block}) == [f"services.web.x-pilothouse.probes.{message}"]


@pytest.mark.parametrize(
    "wrong", ["text", 5, ["a"], {"probes": [1]}, {"probes": {"ready": 5}}, {5: {}}, {"probes": "\ud800"}]
)
def test_no_shape_makes_it_fail_otherwise(wrong):
    assert findings(service=wrong)


def test_a_runbook_is_an_address():
    assert findings(top={"runbook": "see wiki"}) == [
        "x-pilothouse.runbook: must be an address that begins with https:// or http://"
    ]


def _keys(value):
    if isinstance(value, dict):
        return set(value).union(*map(_keys, value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()


def _field_names(block):
    for field in msgspec.structs.fields(block):
        yield field.encode_name
        below = struct_in(field.type)
        if below is not None:
            yield from _field_names(below)


def test_the_commented_example_shows_every_field_and_converts():
    document = yaml.safe_load(pages.example())
    wanted = {*_field_names(AppBlock), *_field_names(ServiceBlock)}
    assert wanted - _keys(document) == set()
    assert validate(converted(document).spec) == ()


def test_every_field_of_the_example_is_explained():
    lines = pages.example().splitlines()
    explained = [line.split(":")[0].strip() for line in lines if "  # " in line]
    prose = " ".join(line for line in lines if line.startswith("#"))
    wanted = {*_field_names(AppBlock), *_field_names(ServiceBlock)}
    assert {name for name in wanted if name not in explained and f"`{name}`" not in prose} == {
        "probes",
        "release",
        "traffic",
    }


@pytest.mark.parametrize("name", sorted(pages.pages()))
def test_the_reference_pages_are_up_to_date(name):
    assert (REFERENCE / name).read_text() == pages.pages()[name], "run scripts/docs"
