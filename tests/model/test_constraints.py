"""A constraint says which nodes suit; one that cannot be read says where it is wrong and what to write instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import InvalidManifestError
from pilothouse.model.constraints import KEYS, LONGEST, Constraint, Operator, fact, holds, parse_constraint, satisfies
from pilothouse.model.node import Node, NodeDescription, NodeSpec
from pilothouse.model.versions import plain_version, version_of


def node(role="agent", **labels):
    about = NodeDescription(
        hostname="db1",
        os="linux",
        arch="x86_64",
        kernel="6.1.0-18-amd64",
        engine="docker 20.10.24+dfsg1",
        version="0.4.1",
        address="10.1.2.3",
    )
    return Node(id="n1", role=role, description=about, spec=NodeSpec(labels=labels))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("node.labels.disk == SSD", True),
        ("node.labels.disk!=ssd", False),
        ("node.labels.none != ssd", True),
        ("node.labels.none == ssd", False),
        ("engine.labels.disk in (nvme, ssd)", True),
        ("node.labels.disk in(nvme,hdd)", False),
        ("node.labels.disk not in (hdd, tape)", True),
        ("node.labels.none not in (hdd)", True),
        ("node.labels.none in (hdd)", False),
        ("node.labels.rank > 9", True),
        ("node.labels.rank > 10", False),
        ("node.labels.rank >= 10", True),
        ("node.labels.rank < 9", False),
        ("node.labels.rank <= 10", True),
        ("node.labels.disk < 9", False),
        ("node.labels.none < 9", False),
        ("node.labels.rack EXISTS", True),
        ("node.labels.rack not exists", False),
        ("node.labels.none exists", False),
        ("node.labels.none not exists", True),
        ("NODE.ID == N1", True),
        ("node.Hostname in (db1, db2)", True),
        ("node.role == worker", True),
        ("node.role == agent", True),
        ("node.role != manager", True),
        ("node.ip == 10.1.0.0/16", True),
        ("node.ip != 10.1.2.3", False),
        ("node.platform.arch == amd64", True),
        ("node.arch in (arm64, AMD64)", True),
        ("node.os == Linux", True),
        ("node.kernel >= 5.15", True),
        ("node.kernel > 6.1.0", False),
        ("node.engine == docker", True),
        ("node.engine.version >= 20.10", True),
        ("node.engine.version < 20.10.24", False),
        ("node.pilothouse.version >= 0.4", True),
        ("node.pilothouse.version > v0.5", False),
    ],
)
def test_a_constraint_holds_for_the_nodes_it_describes(text, holds):
    assert satisfies(parse_constraint(text), node(disk="ssd", rank="10", rack="")) is holds


@pytest.mark.parametrize(("role", "text"), [("manager", "node.role==manager"), ("agent", "node.role!=manager")])
def test_a_nodes_role_is_its_own(role, text):
    assert satisfies(parse_constraint(text), node(role))


def test_a_node_that_has_not_said_what_it_is_meets_no_demand():
    new = Node(id="n1")
    assert fact("node.kernel", new) is None
    assert not satisfies(parse_constraint("node.kernel >= 1"), new)
    assert satisfies(parse_constraint("node.kernel not exists"), new)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at character 1: the key of a node belongs here; write one of "),
        ("== ssd", "at character 1: the key of a node belongs here; write one of "),
        ("node.labels.disk", "at character 17: an operator and a value are missing; write node.labels.disk == VALUE"),
        ("node.labels.disk=ssd", "at character 17: '=' is no operator; write =="),
        ("node.labels.a ~ b", "at character 15: '~ b' is no operator; write node.labels.a == VALUE, or one of ==, "),
        ("node.labels.a=>5", "at character 14: '=>' is no operator; write >="),
        ("node.disk==ssd", "at character 1: a node has no 'node.disk'; write node.labels.disk for a label, or one of "),
        ("node.label.disk==ssd", "a node has no 'node.label.disk'; write node.labels.disk for a label"),
        ("node.hostnam==a", "a node has no 'node.hostnam'; did you mean 'node.hostname'? Write node.labels.hostnam"),
        ("kernel>=5", "a node has no 'kernel'; did you mean 'node.kernel'?"),
        ("node.labels.==x", "at character 1: a node has no 'node.labels.'; write node.labels.NAME for a label"),
        ("node.labels.a ==", "at character 17: the value is missing; write one after ==, or `exists` for any value"),
        ("node.id==a && node.os==b", "at character 12: '&&' begins another condition; write each condition as a "),
        ("node.labels.a in x,y", "at character 18: a list in parentheses belongs here; write in (A, B)"),
        ("node.labels.a in (x,,y)", "at character 21: a value is missing; write in (A, B), with commas between"),
        ("node.labels.a in ()", "at character 19: a value is missing"),
        ("node.labels.a in (x", "at character 20: the list has no end; write ) after its last value"),
        ("node.labels.a in (x) y", "at character 22: 'y' follows the list; write each condition as a constraint of"),
        ("node.labels.a exists 5", "at character 22: '5' follows exists, which takes no value; remove it"),
        ("node.id > 5", "at character 11: node.id has no order; write ==, != or in (A, B)"),
        ("node.labels.rank < ten", "'ten' is no number or version; write one such as node.labels.rank >= 1.10"),
        ("node.labels.mem > 16GB", "'16GB' is no number or version"),
        ("node.kernel >= 6.1.0-18", "at character 16: of '6.1.0-18' only 6.1.0 would be compared; write 6.1.0"),
        ("node.role == boss", "at character 14: 'boss' is no role; write manager or agent (worker means agent)"),
        ("node.ip == 10.1/33", "at character 12: '10.1/33' is no address; write one such as 10.1.2.3, or 10.1.0.0/16"),
        ("node.labels.a in (" + "x," * 101 + "x)", "102 values are too many; write 100 at most"),
        ("node.labels.a == " + "x" * LONGEST, "has 1,017 characters; at most 1,000 can be read"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_a_way_out(text, said):
    with pytest.raises(InvalidManifestError) as refused:
        parse_constraint(text)
    assert said in str(refused.value)


@given(st.text(max_size=60) | st.from_regex(r"node\.[a-z.]{0,12} ?(==|!=|<|>=|in|not in|exists)? ?[(a-z0-9.,)]{0,12}"))
def test_any_text_is_a_constraint_or_refused_in_plain_words(text):
    try:
        found = parse_constraint(text)
    except InvalidManifestError as problem:
        assert "; " in str(problem)  # noqa: PT017 - either outcome is fine, and each is checked
    else:
        assert satisfies(found, node()) in {True, False}


_VALUES = st.sampled_from(["a", "B", "1.9", "1.10", "2", "2.0-rc1", ""]) | st.none()


@given(_VALUES, st.lists(st.sampled_from(["a", "b", "1.9", "1.10", "2"]), min_size=1, max_size=3))
def test_each_operator_and_its_opposite_never_agree_on_a_value_that_is_there(value, wanted):
    def asked(sign, values=tuple(wanted)):
        return holds(Constraint(key="node.labels.x", operator=sign, values=values), value)

    assert asked(Operator.IN) is not asked(Operator.NOT_IN)
    assert asked(Operator.EXISTS, ()) is not asked(Operator.MISSING, ())
    assert asked(Operator.IN) is any(asked(Operator.EQUAL, (each,)) for each in wanted)
    if value is None:
        assert not any(asked(sign, (wanted[0],)) for sign in (Operator.LESS, Operator.AT_LEAST, Operator.EQUAL))
    elif version_of(value) is not None and version_of(wanted[0]) is not None:
        assert asked(Operator.LESS) is not asked(Operator.AT_LEAST)
        assert asked(Operator.MORE) is not asked(Operator.AT_MOST)


def test_versions_are_ordered_as_people_count_them():
    ordered = [
        "0.9",
        "1",
        "1.2-alpha",
        "1.2-beta.2",
        "1.2-rc.1",
        "1.2rc2",
        "1.2",
        "1.9",
        "1.10",
        "v2",
        "20.10.24+dfsg1",
    ]
    found = [version_of(text) for text in ordered]
    assert None not in found
    assert sorted(found) == found
    assert len(set(found)) == len(found)
    assert version_of("1.0.0") == version_of("1")
    assert plain_version("6.1.0-18-amd64") == "6.1.0"


@pytest.mark.parametrize("text", ["", "ssd", "16GB", "-1", "1..2", "9" * 19, "1." * 20])
def test_what_is_no_number_has_no_order(text):
    assert version_of(text) is None


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_numbers_are_compared_part_by_part(one, other):
    longest = max(len(one), len(other))
    padded = [[*parts, *[0] * (longest - len(parts))] for parts in (one, other)]
    first, second = (version_of(".".join(map(str, parts))) for parts in (one, other))
    assert (first < second) is (padded[0] < padded[1])
    assert (first == second) is (padded[0] == padded[1])


def test_every_key_can_be_asked_for():
    for key in KEYS:
        assert parse_constraint(f"{key} exists").key == key
