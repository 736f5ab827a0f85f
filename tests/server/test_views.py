"""What `ps` and `up` show: counts, whether it is settled, and the one sentence that matters."""

import pytest

from pilothouse.model.api import AppView
from pilothouse.model.container import ContainerSpec, Port
from pilothouse.model.objects import Health, TaskStatus
from pilothouse.model.placement import Placement
from pilothouse.model.spec import (
    Condition,
    Mode,
    Probe,
    ProbeKind,
    Probes,
    RestartCondition,
    RestartPolicy,
    TaskSpec,
)
from pilothouse.model.states import TaskState
from pilothouse.server.sentences import task_sentence
from pilothouse.server.views import app_view, app_views, service_view, task_view, task_views
from tests.agent.world import make_task
from tests.control.world import World, needs, spec


def _web(world):
    return service_view(world, "shop", "web")


def test_a_settled_app_says_so():
    world = World(spec(replicas=2), spec("db")).rest()
    view = app_view(world, "shop", world.now)
    assert isinstance(view, AppView)
    assert (view.converged, view.failed, view.revision, view.deployed_by) == (True, False, 1, "alice")
    assert view.sentence == "all 2 services are as the manifest says"
    web = view.services[1]
    assert (web.wanted, web.running, web.healthy, web.outdated, web.sentence) == (2, 2, 2, 0, "")
    assert app_views(world, world.now) == [view]


def test_what_does_not_exist_has_no_view():
    assert app_view(World(), "shop", 0.0) is None
    assert service_view(World(spec()), "shop", "db") is None


def test_a_new_app_is_not_settled_and_says_what_it_waits_for():
    world = World(spec(), nodes=())
    assert _web(world).sentence == "web.1 has no task yet"
    world.rest()
    assert not _web(world).converged
    assert _web(world).sentence == (
        "web.1 waits for a node: no node has joined yet; it is placed as soon as an agent connects"
    )


def test_an_unhealthy_task_runs_but_is_not_healthy():
    world = World(spec(replicas=2)).rest()
    world.run(world.running()[1], ready=False, health=Health.UNHEALTHY)
    view = _web(world)
    assert (view.running, view.healthy, view.converged, view.failed) == (2, 1, False, False)
    assert view.sentence == "1 of 2 tasks is as it should be; web.2 runs, but its health check fails"


def test_a_crash_loop_has_failed_after_three_times_and_is_told_with_its_cause():
    world = World(spec()).rest()
    for attempt in (1, 2, 3):
        world.now = max(world.now, world.one().not_before)
        world.rest()
        world.now += 1
        world.fail(world.one(), 1)
        world.orchestrate()
        if attempt < 3:
            assert not _web(world).failed
    assert _web(world).failed
    assert _web(world).sentence == (
        "web.1 keeps failing: it exited with code 1 after 1 s (3 times in a row); the platform goes on trying"
    )
    world.now = world.one().not_before
    world.rest()
    assert _web(world).converged, "it is no failure any more once it runs"
    (view,) = task_views(world, "shop")
    assert view.sentence == "runs again after 3 failures in a row; counted until it has run for 10 min"


def test_failures_of_an_older_spec_do_not_count():
    world = World(spec()).rest()
    for _ in range(3):
        world.now = max(world.now, world.one().not_before)
        world.rest()
        world.fail(world.one(), 1)
        world.orchestrate()
    assert _web(world).failed
    world.deploy(spec(image="web:2"))
    assert not _web(world).failed


def test_a_first_deployment_that_never_passes_its_checks_has_failed_in_the_end():
    probes = Probes(startup=Probe(kind=ProbeKind.TCP, port=80))
    world = World(spec(task=TaskSpec(container=ContainerSpec(image="web:1"), probes=probes)))
    world.orchestrate()
    world.prepare()
    world.run(world.one(), ready=False, health=Health.STARTING)
    world.orchestrate()
    assert _web(world).sentence == "web.1 runs, but its startup probe has not passed yet"
    world.now += 599
    world.orchestrate()
    assert not _web(world).failed
    assert min(world.wake.values()) == world.now + 1, "somebody looks when the time is up"
    world.now += 1
    world.orchestrate()
    assert _web(world).failed
    assert _web(world).sentence == (
        "web.1 runs, but its startup probe has not passed in 10 min; it is left running and is asked on"
    )
    world.run(world.one(), health=Health.HEALTHY)
    world.orchestrate()
    assert _web(world).converged


def test_a_parked_service_has_failed_and_so_has_its_app():
    world = World(spec(restart=RestartPolicy(max_attempts=1))).rest()
    for _ in range(2):
        world.now = max(world.now, world.one().not_before)
        world.rest()
        world.fail(world.one(), 5)
        world.orchestrate()
    assert _web(world).failed
    assert app_view(world, "shop", world.now).failed
    assert (
        "web.1 is parked: it failed 2 times in a row; last it exited with code 5"
        in app_view(world, "shop", world.now).sentence
    )


def test_three_rejections_have_failed_although_it_is_tried_on():
    world = World(spec())
    for _ in range(3):
        world.orchestrate()
        world.now = max(world.now, world.one().not_before)
        world.prepare()
        assert not _web(world).failed
        world.report(world.one(), TaskState.REJECTED, message="no such image")
    world.orchestrate()
    assert _web(world).failed
    assert _web(world).sentence == (
        "web.1 keeps failing: it could not be started: no such image (3 times in a row); the platform goes on trying"
    )


def test_a_task_that_ended_well_is_done_where_it_is_meant_to_end():
    policy = RestartPolicy(condition=RestartCondition.ON_FAILURE)
    world = World(spec(restart=policy), spec("job", mode=Mode.REPLICATED_JOB)).rest()
    assert not service_view(world, "shop", "job").converged, "a job is done when it has completed"
    for name in ("web", "job"):
        world.complete(world.one(name))
    world.rest()
    assert _web(world).converged
    assert service_view(world, "shop", "job").converged
    assert service_view(world, "shop", "job").completed == 1


def test_a_task_that_may_not_be_tried_again_has_failed():
    world = World(spec(restart=RestartPolicy(condition=RestartCondition.NONE))).rest()
    world.fail(world.one(), 2)
    world.rest()
    assert _web(world).failed
    assert _web(world).sentence == (
        "web.1 failed and is not tried again: it exited with code 2 after 0.0 s and its restart policy is 'none'"
    )


def test_an_update_counts_what_is_outdated():
    world = World(spec(replicas=2)).rest()
    world.deploy(spec(replicas=2, image="web:2"))
    world.rest()
    view = _web(world)
    assert (view.outdated, view.converged) == (2, False)
    assert "has yet to be replaced" in view.sentence
    world.pass_time(60)
    assert _web(world).converged


def test_a_removed_app_is_never_settled():
    world = World(spec("db"), spec("web", depends_on=(needs("db", Condition.HEALTHY),))).rest()
    world.down()
    view = app_view(world, "shop", world.now)
    assert (view.removing, view.converged, view.failed) == (True, False, False)
    assert _web(world).sentence == "is being removed: 1 task has yet to stop"


def test_a_global_service_no_node_suits_is_not_settled():
    task = TaskSpec(container=ContainerSpec(image="x"), placement=Placement(constraints=("node.labels.a==b",)))
    world = World(spec(mode=Mode.GLOBAL, task=task)).rest()
    assert (_web(world).wanted, _web(world).converged) == (0, False)
    assert "no node meets its placement constraints" in _web(world).sentence


def test_a_service_scaled_to_nothing_is_settled():
    assert _web(World(spec(replicas=0)).rest()).converged


def test_ports_are_shown_as_people_know_them():
    ports = (
        Port(target=80, published=(8080, 8080), host_ip="127.0.0.1"),
        Port(target=53, published=(53, 53), protocol="udp"),
    )
    world = World(spec(container=ContainerSpec(image="x", ports=ports))).rest()
    assert _web(world).ports == ("127.0.0.1:8080->80/tcp", "53->53/udp")


def test_tasks_are_listed_by_slot_and_dead_ones_only_if_asked_for():
    world = World(spec(replicas=2), spec("db")).rest()
    world.now += 5
    world.fail(world.running("web")[0], 137, oom=True)
    world.rest()
    assert [view.name for view in task_views(world, "shop")] == ["db.1", "web.1", "web.2"]
    views = task_views(world, "shop", "web", dead=True)
    assert [(view.name, view.state.terminal) for view in views] == [("web.1", False), ("web.1", True), ("web.2", False)]
    assert views[1].exit_code == 137
    assert "using more memory" in views[1].sentence
    assert task_views(world, "other") == []


@pytest.mark.parametrize(("image", "current"), [("web:1", True), ("web:2", False)])
def test_a_task_knows_whether_it_is_current(image, current):
    world = World(spec()).rest()
    task = world.one()
    world.deploy(spec(image=image))
    assert task_view(world, task).current is current


def test_a_task_that_nothing_checks_must_run_for_a_moment_to_be_believed_and_longer_after_a_failure():
    world = World(spec()).rest()
    assert _web(world).settles_at == pytest.approx(world.now + 0.3)
    world.fail(world.one(), 1)
    world.rest()
    assert _web(world).settles_at == pytest.approx(world.now + 5)
    world.run(world.one(), health=Health.HEALTHY)
    assert _web(world).settles_at == 0


def test_what_its_node_holds_back_says_why_and_what_the_manager_decides_is_not_taken_from_the_node():
    held = make_task(state=TaskState.READY, status=TaskStatus(message="waits for the node's guard"))
    assert task_sentence(held) == "is prepared: waits for the node's guard"
    over = make_task(state=TaskState.READY, status=TaskStatus(message="prepared; waits for db"))
    assert task_sentence(over) == "is prepared"
