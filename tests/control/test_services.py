"""Services get as many tasks as they want, each in its slot, and lose those they do not want."""

from msgspec.structs import replace

from pilothouse.model.container import ContainerSpec, Port, PortMode
from pilothouse.model.node import Availability, NodeSpec
from pilothouse.model.objects import PortBinding
from pilothouse.model.placement import Placement
from pilothouse.model.spec import Condition, Mode, Resources, RestartCondition, RestartPolicy, TaskSpec
from pilothouse.model.states import TaskState
from tests.control.world import World, needs, node, spec

COMPLETED, HEALTHY = Condition.COMPLETED, Condition.HEALTHY


def test_a_service_of_three_gets_slots_one_to_three_and_every_task_says_why():
    world = World(spec(replicas=3)).rest()
    assert [(task.slot, task.state) for task in world.tasks()] == [(n, TaskState.RUNNING) for n in (1, 2, 3)]
    assert world.tasks()[2].reason == "web.3 is missing: revision 1 of shop, deployed by alice"


def test_scaling_down_stops_the_highest_slots_and_leaves_the_others_alone():
    world = World(spec(replicas=4)).rest()
    before = world.running()
    world.deploy(spec(replicas=2))
    world.rest()
    assert world.running() == before[:2]
    assert world.tasks()[3].desired_reason == "2 tasks are wanted: revision 2 of shop, deployed by alice"


def test_scaling_up_again_fills_the_slots_that_were_given_up():
    world = World(spec(replicas=2)).rest()
    world.deploy(spec(replicas=0))
    world.rest()
    assert world.live() == []
    world.deploy(spec(replicas=2))
    world.rest()
    assert [task.slot for task in world.running()] == [1, 2]


def test_a_task_that_no_node_knows_of_is_called_off_at_once():
    world = World(spec(), nodes=())
    world.rest()
    assert world.one().state is TaskState.PENDING
    world.deploy(spec(replicas=0))
    world.orchestrate()
    assert world.tasks()[0].state is TaskState.SHUTDOWN


def test_an_unplaceable_task_is_superseded_at_once_when_the_service_is_corrected():
    broken = spec(task=TaskSpec(container=ContainerSpec(image="a"), reservations=Resources(cpu_nano=99_000_000_000)))
    world = World(broken).rest()
    assert world.one().placement_message == "no place: node1: has 4 of 4 cores free, and the task reserves 99"
    world.deploy(spec())
    world.rest()
    assert world.one().state is TaskState.RUNNING


def test_two_tasks_in_one_slot_are_one_too_many_and_the_one_that_is_further_stays():
    world = World(spec()).rest()
    first = world.one()
    world.force(replace(first, id="zzzz", version=0, state=TaskState.NEW))
    world.orchestrate()
    assert world.live() == [first]


def test_a_global_service_has_a_task_on_each_node_that_suits():
    label = NodeSpec(labels={"disk": "ssd"})
    nodes = [node("a", spec=label), node("b"), node("c", spec=label), node("d", spec=label, ready=False)]
    placement = Placement(constraints=("node.labels.disk==ssd",))
    service = spec(mode=Mode.GLOBAL, task=TaskSpec(container=ContainerSpec(image="x"), placement=placement))
    world = World(service, nodes=nodes).rest()
    assert [(task.slot, task.node_id) for task in world.running()] == [(0, "a"), (0, "c")]
    world.force(replace(world.get(type(nodes[0]), "a"), ready=False))
    world.rest()
    assert len(world.running()) == 2, "a node that is away keeps its task"
    world.force(replace(world.get(type(nodes[0]), "c"), spec=replace(label, availability=Availability.DRAIN)))
    world.rest()
    assert [task.node_id for task in world.running()] == ["a"]


def test_a_job_runs_until_each_slot_has_completed_once():
    world = World(spec(mode=Mode.REPLICATED_JOB, replicas=2)).rest()
    first, second = world.running()
    world.complete(first)
    world.fail(second)
    world.rest()
    assert [task.slot for task in world.running()] == [2]
    world.complete(world.one())
    world.rest()
    assert world.live() == []
    assert world.settled()
    world.deploy(spec(mode=Mode.REPLICATED_JOB, replicas=2, image="web:2"))
    world.rest()
    assert len(world.running()) == 2


def test_a_job_that_may_not_try_again_says_that_it_failed():
    world = World(spec(mode=Mode.REPLICATED_JOB, restart=RestartPolicy(condition=RestartCondition.NONE))).rest()
    world.fail(world.one(), 3)
    world.rest()
    assert world.live() == []
    assert "the job web.1 failed: it exited with code 3" in world.service().notice


def test_a_global_job_completes_once_on_each_node():
    world = World(spec(mode=Mode.GLOBAL_JOB), nodes=[node("a"), node("b")]).rest()
    for task in world.running():
        world.complete(task)
    world.rest()
    assert (len(world.tasks()), world.live()) == (2, [])


def test_a_dependent_is_prepared_and_waits_for_its_dependency_to_be_healthy():
    world = World(spec("db"), spec("web", depends_on=(needs("db", HEALTHY),)))
    world.orchestrate()
    world.prepare()
    world.run(world.one("db"), ready=False)
    world.rest()
    web = world.one()
    assert (web.state, web.desired_reason) == (TaskState.READY, "waits for db to be healthy")
    world.run(world.one("db"), ready=True)
    world.rest()
    assert world.one().state is TaskState.RUNNING


def test_a_dependent_waits_for_a_job_to_complete_and_a_failed_one_does_not_count():
    job = spec("migrate", restart=RestartPolicy(condition=RestartCondition.ON_FAILURE))
    world = World(job, spec("web", depends_on=(needs("migrate", COMPLETED),))).rest()
    world.fail(world.one("migrate"))
    world.rest()
    assert world.one().desired_reason == "waits for migrate to complete"
    world.complete(world.one("migrate"))
    world.rest()
    assert world.one().state is TaskState.RUNNING
    assert world.live("migrate") == []


def test_an_optional_dependency_that_the_app_does_not_have_is_not_waited_for():
    world = World(spec("web", depends_on=(needs("db", HEALTHY, required=False),))).rest()
    assert world.one().state is TaskState.RUNNING


def test_a_broken_replica_of_a_dependency_does_not_keep_a_dependent_from_being_healed():
    world = World(spec("db", replicas=2), spec("web", depends_on=(needs("db", HEALTHY),))).rest()
    world.run(world.running("db")[0], ready=False)
    world.fail(world.one())
    world.rest()
    assert world.one().state is TaskState.RUNNING


def test_a_removed_app_stops_dependents_before_what_they_depend_on():
    world = World(spec("db"), spec("web", depends_on=(needs("db"),))).rest()
    world.down()
    world.orchestrate()
    assert world.one("web").desired_state is TaskState.SHUTDOWN
    assert world.one("db").desired_state is TaskState.RUNNING
    assert world.one("db").desired_reason == "runs on until web has stopped; shop is being taken down"
    world.rest()
    world.reap()
    assert world.live("db") == []
    assert not any(world.objects[kind] for kind in world.objects if kind.__name__ in {"App", "Service", "Task"})


def test_a_service_that_left_the_manifest_goes():
    world = World(spec("web"), spec("old")).rest()
    world.deploy(spec("web"))
    world.rest()
    world.reap()
    assert world.tasks("old") == []
    assert world.service("old") is None
    assert len(world.running("web")) == 1


def test_a_dependent_that_asks_for_it_is_replaced_after_its_dependency():
    world = World(spec("db"), spec("web", depends_on=(needs("db", restart=True),)), spec("other")).rest()
    web, other = world.one("web"), world.one("other")
    world.deploy(spec("db", image="db:2"), spec("web", depends_on=(needs("db", restart=True),)), spec("other"))
    world.orchestrate()
    assert world.live("web") == [web], "its turn comes when the new db runs"
    world.pass_time(60)
    assert world.one("web").id != web.id
    assert world.one("web").created_at >= world.one("db").status.started_at
    assert world.one("other") == other


def test_all_replicas_share_one_host_port_that_the_proxy_serves():
    container = ContainerSpec(image="x", ports=(Port(target=80, published=(8080, 8080)),))
    world = World(spec(container=container, replicas=3)).rest()
    assert {task.ports for task in world.running()} == {(PortBinding(target=80, host_port=8080, ingress=True),)}
    assert len(world.running()) == 3


def test_two_replicas_of_one_engine_port_leave_one_waiting_with_the_reason():
    container = ContainerSpec(image="x", ports=(Port(target=80, published=(8080, 8080), mode=PortMode.HOST),))
    world = World(spec(container=container, replicas=2)).rest()
    (waiting,) = [task for task in world.live() if task.state is TaskState.PENDING]
    assert waiting.placement_message.startswith("no place: node1: host port 8080/tcp is held by web.")
    world.deploy(spec(container=container, replicas=1))
    world.rest()
    assert world.one().ports[0].host_port == 8080
