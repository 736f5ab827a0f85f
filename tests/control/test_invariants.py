"""What holds whatever happens, over random histories of faults, changes and delays."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.orchestrators.rollout import parallelism, update_order
from pilothouse.control.orchestrators.scene import is_ready, key_of
from pilothouse.model.container import ContainerSpec, Port
from pilothouse.model.objects import App, Health, Service, Task
from pilothouse.model.spec import (
    Condition,
    Mode,
    Resources,
    RestartCondition,
    RestartPolicy,
    TaskSpec,
    UpdateOrder,
    UpdatePolicy,
)
from pilothouse.model.states import TaskState
from tests.control.world import World, needs, spec
from tests.examples import examples

STEPS = (TaskState.ACCEPTED, TaskState.PREPARING, TaskState.READY, TaskState.STARTING)


def _random_service(chance, name="web", depends_on=()):
    ports = (
        (Port(target=80, published=chance.choice([None, (8000, 8000), (8000, 8020)])),) if chance.random() < 0.3 else ()
    )
    wanted = Resources(cpu_nano=chance.choice([0, 0, 500_000_000]))
    task = TaskSpec(container=ContainerSpec(image=f"v{chance.randrange(4)}", ports=ports), reservations=wanted)
    return spec(
        name,
        task=task,
        replicas=chance.randrange(6),
        mode=chance.choice([Mode.REPLICATED, Mode.REPLICATED, Mode.REPLICATED, Mode.REPLICATED_JOB, Mode.GLOBAL]),
        depends_on=depends_on,
        restart=RestartPolicy(
            condition=chance.choice(list(RestartCondition)), max_attempts=chance.choice([None, None, 2])
        ),
        update=UpdatePolicy(
            order=chance.choice([None, *UpdateOrder]),
            parallelism=chance.choice([None, 0, 1, 2]),
            delay_seconds=chance.choice([None, 3.0]),
            failure_action=chance.choice(["", "pause", "continue"]),
        ),
    )


def _shop(chance):
    db = _random_service(chance, "db")
    condition = chance.choice(list(Condition))
    return db, _random_service(chance, "web", (needs("db", condition, restart=chance.random() < 0.3),))


def _move_one(world, chance):
    """The node does one thing to one task: the next step, or a fault."""
    tasks = [task for task in world.find(Task) if TaskState.ASSIGNED <= task.state <= TaskState.RUNNING]
    if not tasks:
        return
    task = chance.choice(tasks)
    fault = chance.random() < 0.15
    if task.desired_state is TaskState.SHUTDOWN:
        world.report(task, TaskState.SHUTDOWN, ready=False, finished_at=world.now)
    elif fault and task.state < TaskState.STARTING:
        world.report(task, TaskState.REJECTED, message="refused")
    elif task.state is TaskState.RUNNING:
        health = chance.choice([Health.NONE, Health.HEALTHY, Health.UNHEALTHY])
        if fault:
            chance.choice([world.fail, world.complete])(task)
        else:
            world.run(task, ready=health is not Health.UNHEALTHY, health=health)
    else:
        _step(world, task)


def _step(world, task):
    further = next((state for state in STEPS if state > task.state), TaskState.RUNNING)
    if further > TaskState.READY and task.desired_state is TaskState.READY:
        return
    if further is TaskState.RUNNING:
        world.run(task, ready=False)
    else:
        world.report(task, further)


def _check(world):
    if world.alone:
        assert world.settled(), "deciding twice decides nothing new"
    # A service sees only in the next pass what a pass did to its neighbour; two services need two at most.
    world.orchestrate()
    world.orchestrate()
    assert world.settled()
    for service in world.find(Service):
        _check_slots(world, service)
    for task in world.find(Task):
        if not task.state.terminal:
            assert task.reason, task
            assert task.desired_reason, task


def _check_slots(world, service):
    live = world.live(service.name)
    running = Counter(key_of(task) for task in live if task.desired_state is TaskState.RUNNING)
    most = 2 if update_order(service.spec) is UpdateOrder.START_FIRST and not service.spec.mode.job else 1
    if not world.orders_changed:
        assert max(running.values(), default=0) <= most
    assert max(Counter(key_of(task) for task in live).values(), default=0) <= 3


def _history(seed, steps, alone=False):
    chance = random.Random(seed)
    world = World(*_shop(chance)[: 1 if alone else 2], seed=seed)
    world.orders_changed, world.alone = False, alone
    for _ in range(steps):
        action = chance.random()
        if action < 0.30:
            world.orchestrate()
            _check(world)
        elif action < 0.45:
            world.prepare()
            _every_waiting_task_says_why(world)
        elif action < 0.85:
            _move_one(world, chance)
        elif action < 0.95:
            world.now += chance.choice([0.1, 1, 5, 30, 700])
        elif action < 0.97:
            world.orders_changed = True
            world.deploy(*_shop(chance)[: 1 if alone else 2])
        elif action < 0.98:
            service = chance.choice(world.find(Service))
            world.force(replace(service, restarts_requested=service.restarts_requested + 1))
        else:
            world.reap()
    return world, chance


def _every_waiting_task_says_why(world):
    for task in world.find(Task):
        if task.state is TaskState.NEW:
            assert task.resource_message
        if task.state is TaskState.PENDING:
            assert task.placement_message


@examples(20)
@given(st.integers(0, 2**32))
def test_over_random_histories_deciding_is_idempotent_and_slots_are_held_once(seed):
    _history(seed, 100, alone=True)
    _history(seed, 100)


@examples(12)
@given(st.integers(0, 2**32))
def test_after_any_history_a_node_that_works_again_brings_every_service_to_what_it_should_be(seed):
    world, chance = _history(seed, 80)
    fixed = [
        spec(name, image="fixed", replicas=chance.randrange(1, 5), depends_on=edges)
        for name, edges in (("db", ()), ("web", (needs("db", Condition.HEALTHY),)))
    ]
    world.deploy(*fixed)
    for task in world.find(Task):
        if task.state is TaskState.RUNNING:
            world.run(task)
    world.pass_time(4000)
    for each in fixed:
        assert [(task.slot, task.spec) for task in world.live(each.name)] == [
            (slot, each.task) for slot in range(1, each.replicas + 1)
        ]
        assert all(is_ready(task) for task in world.live(each.name))
        assert world.service(each.name).notice == ""
    assert world.settled()


@examples(12)
@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from([None, 0, 1, 2, 5]), st.sampled_from(UpdateOrder))
def test_an_update_never_has_too_many_tasks_and_never_too_few_ready_ones(seed, replicas, at_once, order):
    chance = random.Random(seed)
    update = UpdatePolicy(order=order, parallelism=at_once)
    world = World(spec(replicas=replicas, update=update)).rest()
    world.deploy(spec(image="new", replicas=replicas, update=update))
    width = parallelism(world.service().spec, replicas)
    for turn in range(4000):
        chance.choice([world.orchestrate, world.prepare, lambda: _well(world, chance), lambda: _later(world)])()
        if turn in {20, 60}:
            world.deploy(spec(image=f"overtaken {turn}", replicas=replicas, update=update))
        if turn == 100:
            world.deploy(spec(image="new", replicas=replicas, update=update))
        assert len([task for task in world.live() if task.desired_state is TaskState.RUNNING]) <= replicas + width
        waiting = [task for task in world.live() if task.desired_state is TaskState.READY]
        new = [task for task in waiting if task.spec == world.service().spec.task]
        assert turn > 20 or len(new) <= 2 * width, "at most those whose turn it is and as many ahead"
        assert len(new) <= 4 * width
        assert sum(is_ready(task) for task in world.live()) >= replicas - width
        if order is UpdateOrder.START_FIRST:
            assert sum(is_ready(task) for task in world.live()) >= replicas
        if [task.spec.container.image for task in world.live()] == ["new"] * replicas and world.settled():
            return
    raise AssertionError("the update did not end")


def _well(world, chance):
    """The node moves one task on, without a fault."""
    tasks = [task for task in world.find(Task) if TaskState.ASSIGNED <= task.state <= TaskState.RUNNING]
    tasks = [t for t in tasks if not (is_ready(t) and t.desired_state is TaskState.RUNNING)]
    if not tasks:
        return
    task = chance.choice(tasks)
    if task.desired_state is TaskState.SHUTDOWN:
        world.report(task, TaskState.SHUTDOWN, ready=False, finished_at=world.now)
    elif task.state is TaskState.RUNNING:
        world.run(task, ready=True)
    else:
        _step(world, task)


def _later(world):
    world.now += 1


@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(5, 200, 5))])
def test_depends_on_is_never_violated_in_200_random_graphs_neither_at_start_nor_at_stop(first):
    for seed in range(first, first + 5):
        _graph(random.Random(seed), seed)


def _graph(chance, seed):
    count = chance.randrange(2, 8)
    names = [f"s{number}" for number in range(count)]
    services = []
    for number, name in enumerate(names):
        before = chance.sample(names[:number], k=chance.randrange(0, min(number, 3) + 1))
        done = [services[names.index(other)].restart.condition is RestartCondition.ON_FAILURE for other in before]
        edges = tuple(
            needs(other, Condition.COMPLETED if ends else chance.choice([Condition.STARTED, Condition.HEALTHY]))
            for other, ends in zip(before, done, strict=True)
        )
        ends = chance.random() < 0.25
        policy = RestartPolicy(condition=RestartCondition.ON_FAILURE if ends else RestartCondition.ANY)
        services.append(spec(name, replicas=chance.randrange(1, 4), depends_on=edges, restart=policy))
    world = World(*services, seed=seed)
    _run_watched(world, chance, services, lambda: _is_up(world, services))
    world.down()
    _run_watched(world, chance, services, lambda: not [t for t in world.find(Task) if not t.state.terminal])


def _run_watched(world, chance, services, done):
    for _ in range(5000):
        chance.choice([world.orchestrate, world.prepare, lambda: _act(world, chance), lambda: _later(world)])()
        _order_holds(world, services)
        if done():
            return
    raise AssertionError("it does not end")


def _act(world, chance):
    running = [t for t in world.find(Task) if t.state is TaskState.RUNNING and is_ready(t)]
    ending = [t for t in running if world.service(t.service).spec.restart.condition is RestartCondition.ON_FAILURE]
    if ending and chance.random() < 0.5:
        world.complete(chance.choice(ending))
    else:
        _well(world, chance)


def _is_up(world, services):
    return all(
        len([t for t in world.tasks(s.name) if is_ready(t) or t.state is TaskState.COMPLETE]) >= s.replicas
        for s in services
    )


def _order_holds(world, services):
    removing = world.get(App, "shop").removing
    for service in services:
        live = world.live(service.name)
        for edge in service.depends_on:
            other = world.tasks(edge.service)
            if not removing and any(task.state >= TaskState.STARTING for task in live):
                assert _holds(edge, other, next(s for s in services if s.name == edge.service)), (service.name, edge)
            if removing and any(task.state >= TaskState.STARTING for task in live):
                stopped = [t for t in other if t.desired_state is TaskState.SHUTDOWN and t.status.started_at]
                assert not stopped, f"{edge.service} was told to stop before {service.name} was gone"


def _holds(edge, tasks, service):
    if edge.condition is Condition.COMPLETED:
        return len([t for t in tasks if t.state is TaskState.COMPLETE]) >= service.replicas
    if edge.condition is Condition.HEALTHY:
        return len([t for t in tasks if is_ready(t)]) >= service.replicas
    return len([t for t in tasks if t.state is TaskState.RUNNING]) >= service.replicas
