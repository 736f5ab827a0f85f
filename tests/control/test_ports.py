"""An engine port is one task's until it is dead, an ingress port a service's; who cannot have one is told why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.resources.ports import FIRST_CHOSEN, LAST_CHOSEN, Ledger
from pilothouse.model.container import ContainerSpec, Port, PortMode
from pilothouse.model.objects import PortBinding
from pilothouse.model.ports import must_give_way
from pilothouse.model.spec import TaskSpec
from pilothouse.model.states import TaskState
from tests.control.world import World, spec

TASK = replace(World(spec()).rest().one(), state=TaskState.NEW, node_id="")


def _task(id, *ports, **fields):
    return replace(TASK, id=id, spec=TaskSpec(container=ContainerSpec(image="x", ports=ports)), **fields)


def _holding(id, port, **fields):
    given = PortBinding(
        target=80,
        host_port=port,
        host_ip=fields.pop("host_ip", ""),
        protocol=fields.pop("protocol", "tcp"),
        ingress=fields.pop("ingress", False),
    )
    return replace(TASK, id=id, **{"service": "db", "ports": (given,), **fields})


def _web(first, last=None, **fields):
    """Return a port that the engine publishes."""
    return Port(target=80, published=(first, last or first), mode=PortMode.HOST, **fields)


def _shared(first, target=80, **fields):
    """Return a port that the proxy serves."""
    return Port(target=target, published=first and (first, first), **fields)


def test_a_free_port_is_given():
    assert Ledger([]).give(_task("a", _web(8080))).ports == (PortBinding(target=80, host_port=8080),)


def test_two_tasks_asking_at_once_do_not_get_the_same_port_of_a_range():
    ledger = Ledger([])
    assert ledger.give(_task("a", _web(8080, 8081))).ports[0].host_port == 8080
    assert ledger.give(_task("b", _web(8080, 8081), slot=2)).ports[0].host_port == 8081
    assert "is held by web.1 of shop (a)" in ledger.give(_task("c", _web(8080, 8081), slot=3)).reason


def test_a_fixed_port_of_the_engine_is_given_to_tasks_that_need_not_be_on_one_node():
    ledger = Ledger([_holding("old", 8080, node_id="n1")])
    assert [bool(ledger.give(_task(f"t{slot}", _web(8080), slot=slot)).ports) for slot in (1, 2, 3)] == [True] * 3
    elsewhere, there = _task("x", _web(8080), slot=0, node_id="n2"), _task("y", _web(8080), slot=0, node_id="n1")
    assert ledger.give(elsewhere).ports
    assert "is held by db.1 of shop (old)" in ledger.give(there).reason
    assert ledger.give(_task("z", _web(8080, 8081), slot=5)).ports[0].host_port == 8081


def test_a_stopping_task_still_holds_its_port_and_the_reason_says_that_it_stops():
    stopping = _holding("old", 8080, state=TaskState.RUNNING, desired_state=TaskState.SHUTDOWN, node_id="n1")
    assert "(old, which is stopping)" in Ledger([stopping]).give(_task("a", _web(8080), slot=0, node_id="n1")).reason


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
    given = Ledger([_holding("old", 53, node_id="n1", **held)]).give(
        _task("a", _web(53, **asked), slot=0, node_id="n1")
    )
    assert bool(given.ports) is free


def test_a_task_waiting_for_the_one_it_replaces_gets_its_ports_in_advance():
    old = replace(_holding("old", 8080), service="web", state=TaskState.RUNNING)
    waiting = _task("new", _web(8080, 8081), desired_state=TaskState.READY)
    assert Ledger([old]).give(waiting).ports[0].host_port == 8080
    assert Ledger([old]).give(waiting, beside=True).ports[0].host_port == 8081
    assert Ledger([old]).give(replace(waiting, desired_state=TaskState.RUNNING)).ports[0].host_port == 8081
    assert Ledger([old]).give(replace(waiting, slot=2)).ports[0].host_port == 8081


def test_a_task_that_publishes_one_port_twice_is_told_so():
    assert "is asked for twice by the task itself" in Ledger([]).give(_task("a", _web(80), _web(80))).reason


@given(st.integers(1, 65535), st.integers(1, 40), st.sampled_from(["tcp", "udp"]), st.sampled_from(PortMode))
def test_a_chosen_port_is_the_same_each_time_and_in_the_range_that_is_free_for_it(target, slot, protocol, mode):
    task = _task("a", Port(target=target, protocol=protocol, mode=mode), slot=slot)
    (first,), (again,) = Ledger([]).give(task).ports, Ledger([]).give(replace(task, id="b")).ports
    assert first == again
    assert FIRST_CHOSEN <= first.host_port <= LAST_CHOSEN
    (other,) = Ledger([replace(TASK, service="db", ports=(first,))]).give(task).ports
    assert other.host_port != first.host_port


def test_all_tasks_of_a_service_share_an_ingress_port_whatever_it_leads_to():
    ledger = Ledger([])
    given = [ledger.give(_task(f"t{slot}", _shared(8080), slot=slot)).ports for slot in (1, 2, 3)]
    assert given == [(PortBinding(target=80, host_port=8080, ingress=True),)] * 3
    newer = ledger.give(_task("new", _shared(8080, target=9000), slot=1))
    assert newer.ports == (PortBinding(target=9000, host_port=8080, ingress=True),)


def test_an_ingress_port_belongs_to_nobody_else_and_the_reason_names_the_service():
    ledger = Ledger([_holding("old", 8080, ingress=True)])
    for port in (_shared(8080), _web(8080), _shared(8080, host_ip="127.0.0.1")):
        assert ledger.give(_task("a", port)).reason == (
            "host port 8080/tcp is held by the service db of shop, for all its tasks; it becomes free when the last of "
            "them has stopped, or publish another port"
        )
    assert ledger.give(_task("a", _shared(8080), app="blog", service="db")).reason


def test_an_ingress_port_waits_for_an_engine_port_of_another_service():
    ledger = Ledger([_holding("old", 8080)])
    assert ledger.give(_task("a", _shared(8080))).reason == (
        "host port 8080/tcp is held by db.1 of shop (old); it becomes free when that task has stopped, or publish "
        "another port"
    )


def test_a_service_waits_for_its_own_task_that_publishes_through_the_engine_and_is_told_how_to_replace_it():
    old = _holding("old", 8080, service="web", state=TaskState.RUNNING)
    assert (
        Ledger([old])
        .give(_task("a", _shared(8080), slot=2))
        .reason.endswith("the proxy serves it for all tasks once that task is replaced: `pilothouse restart shop web`")
    )
    waiting = _task("a", _shared(8080), desired_state=TaskState.READY)
    assert Ledger([old]).give(waiting).ports[0].ingress
    assert must_give_way(old.ports, waiting.spec.container.ports)
    assert not must_give_way(_holding("old", 8080, ingress=True).ports, waiting.spec.container.ports)
    assert must_give_way(_holding("old", 8080, ingress=True).ports, (_web(8080),))


def test_a_container_that_is_taken_over_keeps_its_ports_with_the_engine():
    assert not Ledger([]).give(_task("a", _shared(8080), adopts="c1")).ports[0].ingress


def test_a_chosen_ingress_port_is_that_of_the_whole_service_and_stays():
    first = Ledger([]).give(_task("a", _shared(None), slot=1)).ports
    number = first[0].host_port
    blocker = replace(_holding("x", number, ingress=True), service="other")
    moved = Ledger([blocker]).give(_task("a", _shared(None), slot=1)).ports
    assert moved[0].host_port != number
    # It stays although its favourite is free again, for another slot, and after the last task of it is dead.
    for state in (TaskState.RUNNING, TaskState.FAILED):
        held = replace(TASK, id="a", ports=moved, state=state)
        assert Ledger([held]).give(_task("b", _shared(None), slot=2)).ports == moved


def test_two_chosen_ports_of_a_service_are_never_one():
    held = replace(TASK, id="a", ports=Ledger([]).give(_task("a", _shared(None, target=81))).ports)
    taken = replace(held, ports=(replace(held.ports[0], host_port=_favourite(80)),))
    assert Ledger([taken]).give(_task("b", _shared(None, target=80), slot=2)).ports[0].host_port != _favourite(80)


def _favourite(target):
    return Ledger([]).give(_task("a", _shared(None, target=target))).ports[0].host_port


def test_a_once_per_release_step_gets_no_port():
    assert Ledger([]).give(_task("a", _shared(8080), _web(9000), step=0)).ports == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["web", "api"]),
            st.integers(1, 3),
            st.lists(
                st.builds(
                    Port,
                    target=st.integers(80, 82),
                    published=st.sampled_from([None, (8080, 8080), (8081, 8081), (8080, 8082)]),
                    host_ip=st.sampled_from(["", "127.0.0.1"]),
                    mode=st.sampled_from(PortMode),
                ),
                max_size=3,
            ),
        ),
        max_size=8,
    )
)
def test_whatever_is_asked_for_a_port_is_one_tasks_or_one_services(asked):
    ledger = Ledger([])
    holders = {}
    for number, (service, slot, ports) in enumerate(asked):
        task = _task(f"t{number}", *ports, service=service, slot=slot)
        given = ledger.give(task)
        assert bool(given.reason) is (given.ports == () and bool(ports))
        for port in given.ports:
            for other, owner in holders.get(port.host_port, []):
                fixed = any(each.fixed and not each.ingress for each in ports)
                assert (other.ingress and port.ingress and owner.service_id == task.service_id) or (
                    fixed and not other.ingress and not port.ingress
                )
        for port in given.ports:
            holders.setdefault(port.host_port, []).append((port, task))
