"""Where tasks may run: what makes no sense, or what no node could ever keep, is refused with a way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.model.constraints import Operator, holds, parse_constraint
from pilothouse.model.container import ContainerSpec, Mount, MountKind
from pilothouse.model.contradictions import contradiction
from pilothouse.model.placement import Affinity, Placement, Preference, Spread, Toleration
from pilothouse.model.spec import AppSpec, CutOff, CutOffAction, ServiceSpec, TaskSpec, VolumeSpec
from pilothouse.model.validate import validate
from pilothouse.model.volumes import companions, is_local, local_volumes_of


def service(name="web", container=None, cut_off=None, **placement):
    container = replace(container or ContainerSpec(image="x"), image="shop/web:1")
    return ServiceSpec(name=name, task=TaskSpec(container=container, placement=Placement(**placement)), cut_off=cut_off)


def findings(*services, volumes=()):
    return validate(AppSpec(name="shop", services=services, volumes=volumes))


def near(service, level="node", weight=0):
    return Affinity(service=service, level=level, weight=weight)


def apart(service, level="node", weight=0):
    return Affinity(service=service, level=level, weight=weight, apart=True)


DEPLOY, OURS = "services.web.deploy.placement", "services.web.x-pilothouse.placement"


def test_all_that_can_be_asked_for_can_be_asked_for_at_once():
    asked = service(
        constraints=("node.labels.zone in (eu, us)", "node.labels.zone != us", "node.kernel >= 6", "node.kernel < 7"),
        spread=(Spread(level="node.labels.zone", targets={"eu": 100}), Spread(level="node.id")),
        max_replicas_per_node=2,
        tolerations=(Toleration(), Toleration(key="gpu", value="a")),
        preferences=(Preference(constraint="node.labels.disk exists", weight=-100),),
        affinities=(
            near("db", "node.labels.zone"),
            apart("db"),
            apart("web"),
            near("blog/web", weight=100),
            near("db", weight=5),
        ),
        priority=1000,
        cut_off=CutOff(action=CutOffAction.STOP, after_seconds=60),
    )
    # A rule to be apart and a wish to be near on one level is the one clash in it.
    assert findings(asked, service("db")) == (
        f"{OURS}.near: tasks cannot be near db (node) and apart from it (node) at once; remove one of them",
    )
    fine = replace(asked, task=replace(asked.task, placement=replace(asked.task.placement, affinities=())))
    assert findings(fine, service("db")) == ()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            service(constraints=("disk ssd",)),
            f"{DEPLOY}.constraints[0]: placement constraint 'disk ssd' cannot be used",
        ),
        (
            service(constraints=("node.labels.a==x", "node.os==linux", "node.labels.a in (y, z)")),
            f"{DEPLOY}.constraints: no node can meet `node.labels.a == x` and `node.labels.a in (y, z)` at once; ",
        ),
        (
            service(container=ContainerSpec(image="x", platform="linux/arm64"), constraints=("node.arch==amd64",)),
            f"{DEPLOY}.constraints: no node can meet `node.arch == amd64` and `platform: linux/arm64` at once; remove",
        ),
        (service(max_replicas_per_node=-1), f"{DEPLOY}.max_replicas_per_node: -1 is outside of 0 to 1e+06"),
        (service(priority=1001), f"{OURS}.priority: 1001 is outside of 0 to 1000"),
        (service(tolerations=(Toleration(value="x"),)), f"{OURS}.tolerate[0].value: has no meaning for every taint"),
        (
            service(preferences=(Preference(constraint="disk==ssd"),)),
            f"{OURS}.prefer[0].constraint: preference 'disk==ssd' cannot be used: at character 1: a node has no "
            "'disk'; write node.labels.disk",
        ),
        (
            service(preferences=(Preference(constraint="node.id==a", weight=101),)),
            f"{OURS}.prefer[0].weight: 101 is outside of -100 to 100",
        ),
        (
            service(preferences=(Preference(constraint="node.id==a", weight=0),)),
            f"{OURS}.prefer[0].weight: 0 changes nothing; write 1 to 100 to prefer such nodes",
        ),
        (
            service(affinities=(apart("web"), near("dbb"))),
            f"{OURS}.near[0].service: there is no service 'dbb' in this app; name one of it, or APP/SERVICE of another",
        ),
        (service(affinities=(near("Blog/web"),)), f"{OURS}.near[0].service: 'Blog' cannot be the name of an app"),
        (service(affinities=(near("web", weight=101),)), f"{OURS}.near[0].weight: 101 is outside of 0 to 100"),
        (
            service(affinities=(near("web", "zone"),)),
            f"{OURS}.near[0].level: 'zone' is no level; write node, or the key of a label such as node.labels.zone",
        ),
        (
            service(affinities=(apart("web"), apart("web", weight=5))),
            f"{OURS}.apart: web is named twice at level node; keep one of the two",
        ),
        (
            service(affinities=(apart("web", "node.labels.zone"), near("web"))),
            f"{OURS}.near: tasks cannot be near web (node) and apart from it (node.labels.zone) at once",
        ),
        (
            service(spread=(Spread(level="zone"),)),
            f"{OURS}.spread[0].level: 'zone' is no level; write node, or the key of a label such as node.labels.zone",
        ),
        (
            service(spread=(Spread(level="node.id"), Spread(level="node.id", targets={"a": 5}))),
            f"{OURS}.spread[1]: node.id is spread over twice (deploy.placement.preferences counts too); keep one",
        ),
        (
            service(spread=(Spread(level="node.labels.z", targets={"eu": 60, "us": 41}),)),
            f"{OURS}.spread[0].targets: are 101 % in all; write percentages of which the sum is 100 at most",
        ),
        (
            service(spread=(Spread(level="node.labels.z", targets={"eu": -1}),)),
            f"{OURS}.spread[0].targets.eu: -1 is outside of 0 to 100",
        ),
        (
            service(constraints=("node.labels.z != eu",), spread=(Spread(level="node.labels.z", targets={"eu": 60}),)),
            f"{OURS}.spread[0].targets.eu: the constraints keep tasks away from there; change them, or leave it out",
        ),
        (
            service(cut_off=CutOff(action=CutOffAction.STOP)),
            "services.web.x-pilothouse.cut_off.stop: 0 is outside of 1 to 604800",
        ),
        (
            service(cut_off=CutOff(action=CutOffAction.KEEP, after_seconds=5)),
            "services.web.x-pilothouse.cut_off: keep takes no time; write keep alone, or stop with a time",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(asked, said):
    (finding,) = findings(asked)
    assert finding.startswith(said)


SIDECAR = ContainerSpec(image="x", network_mode="service:web")
DATA = ContainerSpec(image="x", mounts=(Mount(kind=MountKind.VOLUME, source="data", target="/data"),))


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (service("proxy", SIDECAR), service(), "proxy uses namespaces or volumes of web"),
        (service("proxy", DATA), service("web", DATA), "proxy and web both mount the local volume data"),
        (service("proxy", affinities=(near("web"),)), service(), "proxy is to be near web"),
    ],
)
def test_what_must_be_on_one_node_can_be(one, other, why):
    volumes = (VolumeSpec(key="data", name="shop_data"),)
    assert findings(one, other, volumes=volumes) == ()
    there, here = _asking(one, "node.labels.disk==ssd"), _asking(other, "node.labels.disk==hdd")
    assert findings(there, here, volumes=volumes) == (
        f"services.proxy.deploy.placement.constraints: {why}, so they are on one node, and none can meet "
        "`node.labels.disk == ssd` and `node.labels.disk == hdd` of the two at once; change one of them",
    )
    away = replace(other.task.placement, affinities=(apart("proxy"),))
    assert findings(one, replace(other, task=replace(other.task, placement=away)), volumes=volumes) == (
        f"services.web.x-pilothouse.placement.apart: {why}, so they are on one node; remove proxy here",
    )


def _asking(service, constraint):
    asked = replace(service.task.placement, constraints=(constraint,))
    return replace(service, task=replace(service.task, placement=asked))


def test_a_volume_that_every_node_reaches_ties_nobody_to_a_node():
    shared = VolumeSpec(key="data", name="shop_data", driver_opts={"type": "NFS4", "device": ":/x"})
    one, other = (service(name, DATA, constraints=(f"node.id=={name}",)) for name in ("a", "b"))
    assert findings(one, other, volumes=(shared,)) == ()


@pytest.mark.parametrize(
    ("fields", "local"),
    [
        ({}, True),
        ({"driver": "local"}, True),
        ({"external": True}, True),
        ({"driver_opts": {"type": "none", "o": "bind", "device": "/srv"}}, True),
        ({"driver_opts": {"type": "tmpfs"}}, True),
        ({"driver": "local", "driver_opts": {"type": "nfs", "o": "addr=10.0.0.1"}}, False),
        ({"driver_opts": {"type": "cifs"}}, False),
        ({"driver": "rexray"}, False),
    ],
)
def test_a_local_volume_is_on_one_node_only(fields, local):
    volume = VolumeSpec(key="data", name="shop_data", **fields)
    assert is_local(volume) is local
    assert local_volumes_of(DATA, [volume]) == (("data",) if local else ())


def test_anonymous_volumes_and_host_paths_are_no_named_volumes():
    mounts = (Mount(kind=MountKind.VOLUME, target="/a"), Mount(kind=MountKind.BIND, source="data", target="/b"))
    body = ContainerSpec(image="x", mounts=mounts)
    assert local_volumes_of(body, [VolumeSpec(key="data", name="shop_data")]) == ()


def test_companions_are_those_whose_containers_are_used():
    body = ContainerSpec(image="x", network_mode="service:a", volumes_from=("b:ro", "container:c", "a"))
    assert companions(body) == ("a", "b")


@pytest.mark.parametrize(
    ("texts", "against"),
    [
        (("node.id==a", "node.id==A"), ()),
        (("node.id==a", "node.id!=a"), (0, 1)),
        (("node.id in (a, b)", "node.id != b", "node.hostname==x", "node.id not in (a)"), (0, 1, 3)),
        (("node.labels.v > 1.9", "node.labels.v < 1.10"), ()),
        (("node.labels.v >= 1.10", "node.labels.v <= 1.9"), (0, 1)),
        (("node.labels.v >= 2", "node.labels.v <= 2.0"), ()),
        (("node.labels.v > 2", "node.labels.v <= 2"), (0, 1)),
        (("node.labels.v == 5", "node.labels.v >= 6"), (0, 1)),
        (("node.labels.v not exists", "node.labels.v != 5"), ()),
        (("node.labels.v != 5", "node.labels.v not exists", "node.labels.v > 5"), (1, 2)),
        (("node.labels.v exists", "engine.labels.v not exists"), (0, 1)),
        (("node.os == linux", "node.platform.os == windows"), (0, 1)),
        (("node.role == worker", "node.role == agent"), ()),
        (("node.role == worker", "node.role == manager"), (0, 1)),
        (("node.ip == 10.0.0.0/8", "node.ip == 10.1.2.3"), ()),
    ],
)
def test_constraints_that_exclude_each_other_are_found(texts, against):
    found = [parse_constraint(text) for text in texts]
    assert contradiction(found) == tuple(found[index] for index in against)


_CONSTRAINTS = st.lists(
    st.tuples(
        st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "exists", "not exists"]),
        st.lists(st.sampled_from(["1", "2", "3", "4"]), min_size=1, max_size=2),
    ),
    max_size=4,
)


@given(_CONSTRAINTS)
def test_whatever_some_node_meets_is_no_contradiction(asked):
    made = []
    for sign, values in asked:
        operator = Operator(sign)
        several = values if "in" in sign else [] if "exists" in sign else values[:1]
        made.append(replace(parse_constraint("node.labels.v exists"), operator=operator, values=tuple(several)))
    facts = [None, *(f"{whole}{part}" for whole in range(6) for part in ("", ".0", ".5")), "ssd"]
    possible = any(all(holds(each, fact) for each in made) for fact in facts)
    assert possible is (contradiction(made) == ())
