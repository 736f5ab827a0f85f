"""A machine is fit, or every reason why not is named with what to do."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.cli.provision import preflight
from pilothouse.cli.provision.facts import Facts
from pilothouse.cli.provision.preflight import Verdict, Wanted, judge, refused
from pilothouse.model.cluster import Role

FIT = Facts(
    uid=0,
    offset_seconds=0.02,
    system="Linux",
    kernel="6.1.0-18-amd64",
    machine="x86_64",
    hostname="node7",
    libc="glibc 2.36",
    python="3.11",
    venv=True,
    engine="docker",
    engine_version="20.10.24+dfsg1",
    live_restore=True,
    cgroups=2,
    mtu=1500,
    memory_bytes=4 << 30,
    disk_data_bytes=50 << 30,
    disk_install_bytes=50 << 30,
)
AGENT = Wanted(role=Role.AGENT, python="3.11", machine="x86_64")
MANAGER = Wanted(role=Role.MANAGER, python="3.11", machine="x86_64", ports=(7443, 7444))


def _not_good(wanted=AGENT, **facts):
    found = judge(msgspec.structs.replace(FIT, **facts), wanted)
    return [(each.check, each.verdict.value) for each in found if each.verdict is not Verdict.GOOD]


def test_a_fit_machine_passes_every_check():
    assert _not_good() == []
    assert _not_good(MANAGER) == []


@pytest.mark.parametrize(
    ("facts", "check", "verdict"),
    [
        ({"uid": 1000}, "root", "refused"),
        ({"system": "FreeBSD"}, "kernel", "refused"),
        ({"kernel": "3.10.0-1160.el7"}, "kernel", "refused"),
        ({"kernel": "4.18.0-553.el8"}, "kernel", None),
        ({"kernel": ""}, "kernel", "refused"),
        ({"machine": "aarch64"}, "platform", "refused"),
        ({"libc": ""}, "platform", "refused"),
        ({"libc": "glibc 2.17"}, "platform", "refused"),
        ({"python": ""}, "python", "refused"),
        ({"python": "3.12"}, "python", "refused"),
        ({"venv": False}, "python", "refused"),
        ({"cgroups": 0}, "cgroups", "refused"),
        ({"engine": ""}, "engine", "refused"),
        ({"engine_version": "19.03.15"}, "engine", "refused"),
        ({"engine": "podman", "engine_version": "3.4.4"}, "engine", "refused"),
        ({"engine": "podman", "engine_version": "4.3.1"}, "engine", None),
        ({"live_restore": False}, "live restore", "warning"),
        ({"offset_seconds": 1.5}, "clock", "warning"),
        ({"offset_seconds": -3600.0}, "clock", "refused"),
        ({"mtu": 0}, "mtu", "warning"),
        ({"mtu": 1400}, "mtu", "warning"),
        ({"mtu": 576}, "mtu", "refused"),
        ({"unreachable": (("10.0.0.1:7444", "No route to host"),)}, "managers", "refused"),
        ({"disk_data_bytes": 100 << 20}, "disk", "refused"),
        ({"disk_install_bytes": 100 << 20}, "disk", "refused"),
        ({"disk_data_bytes": 2 << 30}, "disk", "warning"),
        ({"memory_bytes": 256 << 20}, "memory", "warning"),
        ({"joined": True}, "member", "refused"),
    ],
    ids=str,
)
def test_each_thing_in_the_way_is_found_by_its_check(facts, check, verdict):
    assert _not_good(**facts) == ([(check, verdict)] if verdict else [])


def test_a_node_may_get_another_installation_but_not_join_again():
    told = {each.check: each for each in judge(replace(FIT, joined=True), replace(AGENT, joins=False))}
    assert told["member"].verdict is Verdict.GOOD
    assert "restart it there" in told["member"].message


def test_taken_ports_matter_only_to_who_wants_to_listen():
    assert _not_good(AGENT, listening=frozenset({7443})) == []
    assert _not_good(MANAGER, listening=frozenset({7443, 22})) == [("ports", "refused")]


def test_python_and_platform_do_not_matter_where_nothing_is_sent():
    by_hand = Wanted(role=Role.AGENT, python="", machine="")
    assert _not_good(by_hand, python="3.13", machine="aarch64") == []


numbers = st.integers(0, 1 << 50)
texts = st.text(max_size=20)
anything = st.builds(
    Facts, uid=st.integers(0, 9), offset_seconds=st.floats(allow_nan=False), system=texts, kernel=texts, machine=texts,
    libc=texts, python=texts, venv=st.booleans(), engine=st.sampled_from(["", "docker", "podman"]),
    engine_version=texts, live_restore=st.booleans(), cgroups=st.integers(0, 2), mtu=numbers, memory_bytes=numbers,
    disk_data_bytes=numbers, disk_install_bytes=numbers, listening=st.frozensets(numbers), joined=st.booleans(),
    unreachable=st.lists(st.tuples(texts, texts), max_size=2).map(tuple))  # fmt: skip


@given(anything, st.sampled_from([AGENT, MANAGER]))
def test_every_machine_is_judged_by_every_check_and_says_what_to_do(facts, wanted):
    found = judge(facts, wanted)
    assert len({each.check for each in found}) == 14
    assert all(each.message for each in found)
    assert all(":" in each.message for each in refused(found)), "what was found, and what to do"


def test_more_time_apart_never_makes_a_clock_better():
    order = [Verdict.GOOD, Verdict.WARNING, Verdict.REFUSED]
    seconds = [0.0, 0.5, 1.0, 1.1, 59.0, 60.0, 61.0, 1e6]
    verdicts = [next(each for each in judge(msgspec.structs.replace(FIT, offset_seconds=s * sign), AGENT)
                     if each.check == "clock").verdict for s in seconds for sign in (1, -1)]  # fmt: skip
    assert verdicts == sorted(verdicts, key=order.index)
    assert preflight.CLOCK_SECONDS < preflight.CLOCK_LIMIT_SECONDS
