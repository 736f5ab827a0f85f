"""A host port belongs to one task until that task is dead; who cannot have one is told who holds it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.resources.ports import FIRST_CHOSEN, LAST_CHOSEN, Ledger
from pilothouse.model.container import ContainerSpec, Port
from pilothouse.model.objects import PortBinding
from pilothouse.model.spec import TaskSpec
from pilothouse.model.states import TaskState
from tests.control.world import World, spec

TASK = replace(World(spec()).rest().one(), state=TaskState.NEW)


def _task(id, *ports, **fields):
    return replace(TASK, id=id, spec=TaskSpec(container=ContainerSpec(image="x", ports=ports)), **fields)


def _holding(id, port, **fields):
    given = PortBinding(
        target=80, host_port=port, host_ip=fields.pop("host_ip", ""), protocol=fields.pop("protocol", "tcp")
    )
    return replace(TASK, id=id, service="db", ports=(given,), **fields)


def _web(first, last=None, **fields):
    return Port(target=80, published=(first, last or first), **fields)


def test_a_free_port_is_given():
    assert Ledger([]).give(_task("a", _web(8080))).ports == (PortBinding(target=80, host_port=8080),)


def test_two_tasks_asking_at_once_do_not_get_the_same_port():
    ledger = Ledger([])
    assert ledger.give(_task("a", _web(8080))).ports
    assert "is held by web.1 of shop (a)" in ledger.give(_task("b", _web(8080), slot=2)).reason


def test_a_stopping_task_still_holds_its_port_and_the_reason_says_that_it_stops():
    ledger = Ledger([_holding("old", 8080, state=TaskState.RUNNING, desired_state=TaskState.SHUTDOWN)])
    assert "(old, which is stopping)" in ledger.give(_task("a", _web(8080))).reason


def test_a_dead_task_holds_nothing():
    assert Ledger([_holding("old", 8080, state=TaskState.FAILED)]).give(_task("a", _web(8080))).ports


def test_a_range_gives_its_first_free_port():
    ledger = Ledger([_holding("old", 8000)])
    assert ledger.give(_task("a", _web(8000, 8002))).ports[0].host_port == 8001


def test_a_range_that_is_used_up_names_the_range_and_a_holder():
    ledger = Ledger([_holding("x", 8000), _holding("y", 8001)])
    assert ledger.give(_task("a", _web(8000, 8001))).reason.startswith(
        "each of the host ports 8000 to 8001 is held by db.1 of shop (x)"
    )


@pytest.mark.parametrize(
    ("held", "asked", "free"),
    [
        ({"host_ip": "127.0.0.1"}, {"host_ip": "10.0.0.1"}, True),
        ({"host_ip": "127.0.0.1"}, {"host_ip": "127.0.0.1"}, False),
        ({"host_ip": "127.0.0.1"}, {}, False),
        ({"host_ip": "0.0.0.0"}, {"host_ip": "127.0.0.1"}, False),
        ({"protocol": "udp"}, {"protocol": "tcp"}, True),
    ],
)
def test_a_port_is_taken_on_an_address_and_for_a_protocol(held, asked, free):
    given = Ledger([_holding("old", 53, **held)]).give(_task("a", _web(53, **asked)))
    assert bool(given.ports) is free


def test_a_task_waiting_for_the_one_it_replaces_gets_its_ports_in_advance():
    old = replace(_holding("old", 8080), service="web", state=TaskState.RUNNING)
    waiting = _task("new", _web(8080), desired_state=TaskState.READY)
    assert Ledger([old]).give(waiting).ports
    assert Ledger([old]).give(waiting, beside=True).reason
    assert Ledger([old]).give(replace(waiting, desired_state=TaskState.RUNNING)).reason
    assert Ledger([old]).give(replace(waiting, slot=2)).reason


def test_a_task_that_publishes_one_port_twice_is_told_so():
    assert "is asked for twice by the task itself" in Ledger([]).give(_task("a", _web(80), _web(80))).reason


@given(st.integers(1, 65535), st.integers(1, 40), st.sampled_from(["tcp", "udp"]))
def test_a_chosen_port_is_the_same_each_time_and_in_the_range_that_is_free_for_it(target, slot, protocol):
    task = _task("a", Port(target=target, protocol=protocol), slot=slot)
    (first,), (again,) = Ledger([]).give(task).ports, Ledger([]).give(replace(task, id="b")).ports
    assert first == again
    assert FIRST_CHOSEN <= first.host_port <= LAST_CHOSEN
    (other,) = Ledger([replace(TASK, service="db", ports=(first,))]).give(task).ports
    assert other.host_port != first.host_port
