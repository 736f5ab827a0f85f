"""What does not belong on a node goes, and nothing else."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent import orphans
from pilothouse.agent.orphans import Leftovers
from pilothouse.agent.plan import hook_name
from pilothouse.model.names import container_name
from pilothouse.model.spec import Hook
from pilothouse.model.states import TaskState
from tests.agent.world import INSTALLATION, make_assignment, make_network, make_state, make_task, make_volume


def leftovers(*arguments, **keywords):
    """Ask on behalf of INSTALLATION."""
    return orphans.leftovers(*arguments, installation=INSTALLATION, **keywords)


def test_a_container_without_a_task_is_an_orphan_and_an_assigned_one_is_not():
    mine, other = make_task(1), make_task(2)
    found = leftovers(make_assignment(mine), [make_state(mine), make_state(other)], ())
    assert found == Leftovers(containers=(container_name(other),))


def test_a_dead_task_keeps_its_container_until_its_worker_has_saved_what_it_said():
    dead = make_task(state=TaskState.FAILED)
    assert leftovers(make_assignment(dead), [make_state(dead, "exited")], ()).containers == ()


def test_a_container_of_the_same_task_under_another_name_is_an_orphan():
    task = make_task()
    moved = make_state(task, name="ph.shop.api.1.t00000000001")
    assert leftovers(make_assignment(task), [moved], ()).containers == (moved.name,)


def test_hook_containers_stay_while_a_task_needs_them():
    task = make_task(spec={"pre_start": (Hook(command=("a",), per_replica=True),) * 2})
    ran = [make_state(task, "exited", name=hook_name(task, index)) for index in (0, 1)]
    assert leftovers(make_assignment(task), ran, ()).containers == ()
    newer = msgspec.structs.replace(task, id="t00000000009", fingerprint="fedcba9876543210")
    assert set(leftovers(make_assignment(newer), ran, ()).containers) == {state.name for state in ran}


def test_a_container_that_is_being_adopted_is_left_alone():
    task = make_task()
    assert leftovers(make_assignment(), [make_state(task)], (), protected={task.id}).containers == ()


def test_a_container_of_another_installation_is_left_alone_whatever_it_is_called():
    mine = make_task(1)
    other = make_state(make_task(2), installation="i00000000002")
    twin = make_state(mine, name="ph.shop.api.1.t00000000001", installation="i00000000002")
    assert leftovers(make_assignment(mine), [other, twin], (), known={"t00000000002"}) == Leftovers()


def test_a_container_that_nobody_labelled_goes_only_if_its_task_is_known_to_have_been_ours():
    task = make_task()
    adopted = make_state(task, installation="")
    assert leftovers(make_assignment(), [adopted], ()).containers == ()
    assert leftovers(make_assignment(), [adopted], (), known={task.id}).containers == (adopted.name,)
    moved = make_state(task, name="ph.shop.api.1.t00000000001", installation="")
    dead = msgspec.structs.replace(task, state=TaskState.FAILED)
    assert leftovers(make_assignment(dead), [moved], ()).containers == (moved.name,)


def test_what_the_manager_removes_goes_and_what_nobody_knows_goes_when_it_is_not_used():
    going, staying = make_network("old", removing=True), make_network()
    volume = make_volume(removing=True)
    task = make_task()
    on_stray = make_state(task, addresses={"shop_used": "10.0.0.2"})
    found = leftovers(
        make_assignment(task, networks=(going, staying), volumes=(volume,)),
        [on_stray],
        ("shop_old", "shop_default", "shop_used", "shop_forgotten"),
    )
    assert found == Leftovers(networks=(going,), volumes=(volume,), strays=("shop_forgotten",))


NUMBERS = st.sets(st.integers(1, 6))


@given(NUMBERS, NUMBERS, NUMBERS)
def test_after_the_leftovers_are_gone_nothing_is_left_over(assigned, existing, protected):
    tasks = {number: make_task(number) for number in range(1, 7)}
    assignment = make_assignment(*(tasks[n] for n in sorted(assigned)))
    states = [make_state(tasks[n]) for n in sorted(existing)]
    guarded = {tasks[n].id for n in protected}
    gone = leftovers(assignment, states, ("shop_a",), guarded)
    assert not set(gone.containers) & {container_name(tasks[n]) for n in assigned | protected}
    rest = [state for state in states if state.name not in gone.containers]
    assert leftovers(assignment, rest, (), guarded) == Leftovers()
    assert {state.name for state in rest} == {container_name(tasks[n]) for n in existing & (assigned | protected)}
