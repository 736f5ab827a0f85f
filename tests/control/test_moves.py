"""Tasks that must go elsewhere: replaced at their service's pace, although nothing about them changed."""

import pytest
from msgspec.structs import replace

from pilothouse.control.orchestrators.scene import is_ready
from pilothouse.model.cluster import Disruption, DisruptionKind
from pilothouse.model.container import ContainerSpec
from pilothouse.model.node import Node
from pilothouse.model.objects import Service
from pilothouse.model.placement import Placement, Taint, TaintEffect, Toleration
from pilothouse.model.release import ReleaseKind
from pilothouse.model.rollout import RolloutState
from pilothouse.model.spec import Condition, Mode, TaskSpec, UpdatePolicy
from pilothouse.model.states import TaskState, Writer
from tests.control.moving import REASON, WRITES, ask, database, drain, running, take_back, world_of
from tests.control.world import needs, spec

S = TaskState


def places(world, service="web"):
    return sorted(task.node_id for task in world.live(service))


def on(world, node_id, service="web"):
    return [task for task in world.live(service) if task.node_id == node_id]


def test_a_new_task_is_ready_and_settled_elsewhere_before_the_old_one_is_told_to_stop():
    world = running(spec())
    old = world.one()
    drain(world, old.node_id)
    world.rest()
    both = world.live()
    new = next(task for task in both if task.id != old.id)
    assert new.node_id not in {"", old.node_id}
    assert (new.slot, new.replaces, new.fingerprint) == (old.slot, old.id, old.fingerprint)
    assert new.reason == f"replaces {old.id}: {REASON}"
    assert [task.desired_state for task in both] == [S.RUNNING, S.RUNNING], "it has not settled yet"
    world.pass_time(60)
    assert [task.id for task in world.live()] == [new.id]
    stopped = world.get(type(old), old.id)
    assert stopped.desired_reason == f"{REASON}; {new.id} is ready in its place"
    assert world.service().rollout.state is RolloutState.DONE


def test_a_service_whose_containers_would_collide_is_prepared_elsewhere_and_only_then_stopped():
    world = running(database())
    old = world.one("db")
    drain(world, old.node_id)
    world.orchestrate()
    new = next(task for task in world.live("db") if task.id != old.id)
    assert (new.desired_state, new.desired_reason) == (
        S.READY, f"waits until the task it replaces ({old.id}) has stopped",
    )  # fmt: skip
    world.orchestrate()
    assert world.get(type(old), old.id).desired_state is S.RUNNING, "an image that cannot be had costs no running task"
    for _ in range(50):
        alive = world.running("db")
        assert len(alive) <= 1
        if not world.turn():
            break
    assert [task.id for task in world.live("db")] == [new.id]
    assert world.get(type(old), old.id).desired_reason == f"{REASON}; makes room for {new.id}, which is prepared"


def test_one_task_of_a_service_moves_at_a_time_and_services_move_side_by_side():
    world = running(spec(replicas=6), spec("api", replicas=6), nodes=2)
    leaving = on(world, "node1"), on(world, "node1", "api")
    assert [len(each) for each in leaving] == [3, 3]
    drain(world, "node1")
    most = 0
    for _ in range(400):
        changed = world.turn()
        moving = [len(world.live(name)) - 6 for name in ("web", "api")]
        assert max(moving) <= 1
        assert all(sum(is_ready(task) for task in world.live(name)) >= 6 for name in ("web", "api"))
        most = max(most, sum(moving))
        if not changed:
            if not world.wake:
                break
            world.now = min(world.wake.values())
    assert most == 2
    assert places(world) == places(world, "api") == ["node2"] * 6


def test_a_request_that_is_withdrawn_ends_the_move_and_the_old_task_stays():
    world = running(spec())
    old = world.one()
    ask(world, old)
    world.rest()
    assert len(world.live()) == 2
    take_back(world, old)
    world.rest()
    assert [task.id for task in world.live()] == [old.id]
    gone = next(task for task in world.tasks() if task.replaces == old.id)
    assert gone.desired_reason == "what it was to replace need not go any more"
    ask(world, world.one())
    world.pass_time(60)
    assert world.one().reason == f"replaces {old.id}: {REASON}", "one that was called off counts for nothing"


def test_a_request_that_is_withdrawn_after_the_old_task_was_told_to_stop_changes_nothing_any_more():
    world = running(database())
    old = world.one("db")
    ask(world, old)
    world.rest()
    new = world.one("db")
    assert new.id != old.id
    world.reap()
    assert world.find(Disruption) == []
    world.rest()
    assert world.one("db").id == new.id


def test_the_reaper_deletes_a_request_whose_task_is_gone():
    world = running(spec())
    old = world.one()
    ask(world, old)
    world.rest()
    world.reap()
    assert len(world.find(Disruption)) == 1, "its task still runs"
    world.fail(old)
    world.reap()
    assert world.find(Disruption) == []


def test_a_task_that_dies_while_its_replacement_starts_is_simply_followed_by_it():
    world = running(spec())
    old = world.one()
    ask(world, old)
    world.orchestrate()
    new = next(task for task in world.live() if task.id != old.id)
    world.fail(old)
    world.pass_time(60)
    assert [task.id for task in world.live()] == [new.id]


def test_a_replacement_that_fails_is_tried_again_with_a_growing_wait_while_the_old_task_runs_on():
    world = running(spec())
    old = world.one()
    drain(world, old.node_id)
    for failures in range(1, 4):
        world.orchestrate()
        world.prepare()
        new = next(task for task in world.live() if task.id != old.id)
        world.now = max(world.now, new.not_before)
        world.orchestrate()
        world.fail(new)
        world.orchestrate()
        again = next(task for task in world.live() if task.id != old.id)
        assert (again.failures, again.replaces) == (failures, new.id)
        assert world.get(type(old), old.id).desired_state is S.RUNNING
    assert again.desired_reason.startswith("waits")
    assert world.service().rollout.state is RolloutState.DONE, "a move is no release"
    world.pass_time(600)
    assert world.one().id != old.id


def test_at_once_the_old_task_is_stopped_in_the_same_look_that_makes_its_replacement():
    world = running(spec(replicas=3), nodes=3)
    victims = world.live()[:2]
    ask(world, *victims, kind=DisruptionKind.PREEMPTION, reason="its room went to shop/db", at_once=True,
        writer=Writer.SCHEDULER)  # fmt: skip
    world.orchestrate()
    told = [world.get(type(task), task.id) for task in victims]
    assert [(t.desired_state, t.desired_reason) for t in told] == [(S.SHUTDOWN, "its room went to shop/db")] * 2
    made = [task for task in world.live() if task.replaces in {task.id for task in victims}]
    assert [task.reason for task in made] == [f"replaces {t.id}: its room went to shop/db" for t in victims]
    world.pass_time(60)
    assert [task.slot for task in world.live()] == [1, 2, 3]
    assert all(is_ready(task) for task in world.live())


def test_at_its_deadline_a_task_that_could_not_be_moved_is_stopped_all_the_same():
    world = running(database(), nodes=1)
    old = world.one("db")
    drain(world, "node1", deadline=world.now + 300)
    world.pass_time(299)
    assert world.get(type(old), old.id).desired_state is S.RUNNING, "no other node can have it"
    world.pass_time(2)
    assert world.get(type(old), old.id).desired_reason == f"{REASON}; the time it was given for that is over"
    assert [task.state for task in world.live("db")] == [S.PENDING]


def test_what_has_not_begun_on_its_node_is_called_off_without_waiting_for_another():
    world = world_of(spec())
    world.orchestrate()
    world.prepare()
    old = world.one()
    drain(world, old.node_id)
    world.orchestrate()
    assert world.get(type(old), old.id).desired_state is S.SHUTDOWN
    world.pass_time(60)
    assert world.one().node_id != old.node_id
    assert REASON in world.one().reason


@pytest.mark.parametrize("mode", [Mode.REPLICATED_JOB, Mode.GLOBAL_JOB])
def test_a_job_that_runs_on_a_drained_node_runs_to_its_end(mode):
    world = world_of(spec("job", mode=mode), nodes=1).rest()
    old = world.one("job")
    drain(world, "node1")
    world.pass_time(3600)
    assert world.one("job").desired_state is S.RUNNING
    world.complete(old)
    world.rest()
    assert world.live("job") == []
    assert world.service("job").rollout.state is RolloutState.DONE


def test_a_job_is_stopped_at_the_deadline_and_done_again_elsewhere():
    world = world_of(spec("job", mode=Mode.REPLICATED_JOB), nodes=2).rest()
    old = world.one("job")
    drain(world, old.node_id, deadline=world.now + 60)
    world.pass_time(59)
    assert world.one("job").id == old.id
    world.pass_time(10)
    assert world.one("job").node_id not in {"", old.node_id}


def test_a_service_that_others_wait_for_to_complete_is_not_run_twice():
    edge = needs("migrate", Condition.COMPLETED)
    world = world_of(spec("migrate"), spec(depends_on=(edge,))).rest()
    old = world.one("migrate")
    drain(world, old.node_id)
    world.pass_time(600)
    assert world.one("migrate").id == old.id
    world.complete(old)
    world.pass_time(60)
    assert is_ready(world.one())


def test_a_global_service_leaves_a_drained_node_and_comes_back_with_it():
    world = running(spec(mode=Mode.GLOBAL))
    drain(world, "node1")
    world.pass_time(60)
    assert places(world) == ["node2", "node3"]
    world.reap()
    world.writer = Writer.API
    node = world.get(Node, "node1")
    world.put(replace(node, spec=replace(node.spec, availability=type(node.spec.availability).ACTIVE)))
    world.pass_time(60)
    assert places(world) == ["node1", "node2", "node3"]


@pytest.mark.parametrize("effect", TaintEffect)
def test_a_global_service_keeps_off_a_node_whose_taint_it_does_not_tolerate(effect):
    tolerant = spec("calm", mode=Mode.GLOBAL, task=TaskSpec(
        container=spec().task.container, placement=Placement(tolerations=(Toleration(key="flaky"),)),
    ))  # fmt: skip
    world = running(spec(mode=Mode.GLOBAL), tolerant)
    world.writer = Writer.API
    node = world.get(Node, "node2")
    world.put(replace(node, spec=replace(node.spec, taints=(Taint(key="flaky", effect=effect),))))
    world.pass_time(60)
    assert places(world, "calm") == ["node1", "node2", "node3"]
    assert ("node2" in places(world)) is (effect is TaintEffect.NO_SCHEDULE), "what is there already may stay"


def test_a_paused_app_is_drained_too_and_each_task_as_it_was():
    world = running(spec(replicas=4), nodes=2)
    world.now += 1
    world.release(spec(image="web:2", replicas=4))
    world.orchestrate()
    world.pause()
    world.rest()
    drain(world, "node1")
    world.pass_time(300)
    assert on(world, "node1") == []
    old = [task for task in world.live() if task.spec.container.image == "web:1"]
    assert len(old) >= 3, "the pause lets no further slot begin"
    assert world.service().rollout.state is RolloutState.PAUSED
    world.resume()
    world.pass_time(300)
    assert [task.spec.container.image for task in world.live()] == ["web:2"] * 4


def test_what_is_moved_as_it_was_may_go_wherever_its_image_is_known_to_be_by_now():
    world = running(spec(replicas=4), nodes=2)
    world.now += 1
    world.release(spec(replicas=4, container=ContainerSpec(image="web:1", environment={"A": "new"})))
    world.orchestrate()
    world.pause()
    world.rest()
    service = world.service()
    world.writer = Writer.API
    world.put(replace(service, image=replace(service.image, nodes=("node1", "node2"))))
    drain(world, "node1")
    world.pass_time(300)
    old = [task for task in world.live() if not task.spec.container.environment]
    moved = [task for task in old if task.replaces]
    assert moved
    assert {task.image.nodes for task in moved} == {("node1", "node2")}


def test_what_an_update_has_not_come_to_yet_leaves_its_node_by_the_update_and_goes_first():
    world = running(spec(replicas=4), nodes=2)
    world.now += 1
    leaving = on(world, "node2")
    drain(world, "node2")
    world.release(spec(image="web:2", replicas=4))
    world.orchestrate()
    (first,) = [task for task in world.live() if task.desired_state is S.RUNNING and task.replaces]
    assert first.slot in {task.slot for task in leaving}
    assert first.spec.container.image == "web:2"
    world.pass_time(300)
    assert places(world) == ["node1"] * 4
    moves = [task for task in world.tasks() if task.reason.startswith("replaces") and REASON in task.reason]
    assert moves == [], "nobody is moved only to be replaced at once"


def test_an_update_that_overtakes_a_move_keeps_the_old_task_until_the_new_version_is_ready():
    world = running(spec())
    old = world.one()
    drain(world, old.node_id)
    world.rest()
    moved = next(task for task in world.live() if task.id != old.id)
    world.now += 1
    world.release(spec(image="web:2"))
    world.orchestrate()
    assert world.get(type(old), moved.id).desired_state is S.SHUTDOWN
    assert world.get(type(old), old.id).desired_state is S.RUNNING
    for _ in range(200):
        assert sum(is_ready(task) for task in world.live()) >= 1
        if not world.turn():
            if not world.wake:
                break
            world.now = min(world.wake.values())
    assert [(t.spec.container.image, t.node_id != old.node_id) for t in world.live()] == [("web:2", True)]
    assert world.service().rollout.state is RolloutState.DONE


def test_moves_and_an_update_share_one_budget():
    one = UpdatePolicy(parallelism=1)
    world = running(spec(replicas=4, update=one), nodes=2)
    drain(world, "node1")
    world.rest()
    assert len(world.live()) == 5, "a move is under way"
    world.now += 0.5
    world.release(spec(image="web:2", replicas=4, update=one))
    for _ in range(600):
        meant = [task for task in world.live() if task.desired_state is S.RUNNING]
        assert len(meant) <= 5
        assert sum(is_ready(task) for task in world.live()) >= 4
        if not world.turn():
            if not world.wake:
                break
            world.now = min(world.wake.values())
    assert [task.spec.container.image for task in world.live()] == ["web:2"] * 4
    assert places(world) == ["node2"] * 4


def test_where_tasks_stop_first_one_that_is_missing_uses_up_the_room():
    world = running(database(replicas=3, update=UpdatePolicy(parallelism=1)))
    one, two = world.live("db")[:2]
    world.fail(one)
    ask(world, two)
    world.orchestrate()
    assert [task.id for task in world.live("db") if task.replaces == two.id] == []
    world.pass_time(60)
    assert [task.slot for task in world.live("db")] == [1, 2, 3]
    assert two.id not in {task.id for task in world.live("db")}


def test_tasks_beside_each_other_in_a_stage_are_moved_each_as_it_is():
    from tests.control.test_stages import staged

    world = staged(tasks=1)
    for number in (2, 3):
        world.force(replace(world.get(Node, "node1"), id=f"node{number}", version=0))
    drain(world, "node1")
    world.pass_time(300)
    assert on(world, "node1") == []
    images = sorted(task.spec.container.image for task in world.live())
    assert images == ["web:1"] * 4 + ["web:2"]
    assert world.service().rollout.state is RolloutState.HELD


def test_a_rollback_takes_over_from_a_move_of_the_version_that_failed():
    world = running(spec(replicas=2), nodes=2)
    world.now += 1
    world.release(spec(image="web:2", replicas=2))
    world.pass_time(120)
    drain(world, "node1")
    world.rest()
    world.now += 1
    world.release(spec(replicas=2), kind=ReleaseKind.ROLLBACK, undoes=2)
    world.pass_time(300)
    assert [task.spec.container.image for task in world.live()] == ["web:1"] * 2
    assert places(world) == ["node2"] * 2
    assert world.service().rollout.state is RolloutState.DONE


def test_a_dependent_does_not_notice_that_its_dependency_moves():
    world = running(database(), spec(depends_on=(needs("db", Condition.HEALTHY),)))
    web = world.one()
    ask(world, world.one("db"))
    world.pass_time(120)
    assert world.one().id == web.id


def test_a_service_that_is_removed_takes_its_moves_with_it():
    world = running(spec())
    ask(world, world.one())
    world.rest()
    world.down()
    world.rest()
    world.reap()
    world.reap()
    assert world.find(Disruption) == []
    assert world.find(Service) == []


def test_a_prepared_task_that_an_older_release_wants_no_more_does_not_start_beside_the_one_that_stops():
    world = running(database())
    for image in ("db:2", "db:1"):
        world.now += 100
        world.release(database(container=replace(WRITES, image=image)))
        for _ in range(10):
            world.orchestrate()
            world.prepare()
            if any(task.desired_state is S.SHUTDOWN for task in world.live("db")):
                break
            for task in world.live("db"):
                if task.desired_state is S.READY and task.state < S.READY:
                    world.report(task, S.READY)
        if image == "db:2":
            world.pass_time(60)
    world.now += 1
    world.release(database(container=replace(WRITES, image="db:2")), kind=ReleaseKind.ROLLBACK, undoes=3)
    world.orchestrate()
    meant = [task for task in world.live("db") if task.desired_state is S.RUNNING]
    assert meant == [], "what stops has not stopped yet"
    world.pass_time(60)
    assert world.one("db").spec.container.image == "db:2"
