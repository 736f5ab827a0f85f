"""Every injected cause is named in the first line of the explanation: of the task, of its service, and of its app."""

import pytest
from msgspec.structs import replace

from pilothouse.errors import NotFoundError
from pilothouse.model.container import ContainerSpec, FileGrant, Limits, Mount, MountKind, NetworkAttachment, Port
from pilothouse.model.node import Availability, NodeSpec
from pilothouse.model.objects import Config, Grant, Health, Network, Secret, Volume
from pilothouse.model.placement import Placement
from pilothouse.model.spec import (
    Condition,
    FileSpec,
    Mode,
    NetworkSpec,
    Resources,
    RestartCondition,
    RestartPolicy,
    TaskSpec,
    VolumeSpec,
)
from pilothouse.model.states import TaskState
from pilothouse.server.explain import explain
from tests.control.world import World, needs, node, spec


def _limited(image="web:1"):
    return spec(container=ContainerSpec(image=image, limits=Limits(memory_bytes=64 << 20)))


def _die(world, code, times=1, name="web", **ending):
    for _ in range(times):
        world.now = max(world.now, world.one(name).not_before)
        world.rest()
        world.now += 2
        world.fail(world.one(name), code, **ending)
        world.orchestrate()
    world.now += 7
    return world


def bad_image():
    world = World(spec(image="wbe:1"))
    for _ in range(3):
        world.orchestrate()
        world.now = max(world.now, world.one().not_before)
        world.prepare()
        world.report(world.one(), TaskState.REJECTED, message="there is no image 'wbe:1' on node1 and none to pull")
    world.orchestrate()
    return world


def wrong_secret():
    return _die(World(spec()).rest(), 78, 3)


def out_of_memory():
    return _die(World(_limited()).rest(), 137, oom=True)


def segmentation_fault():
    return _die(World(spec()).rest(), 139)


def killed_by_hand():
    return _die(World(spec()).rest(), 137)


def parked():
    return _die(World(spec(restart=RestartPolicy(max_attempts=2))).rest(), 9, 3)


def port_taken():
    container = ContainerSpec(image="x", ports=(Port(target=80, published=(8080, 8080)),))
    world = World(spec("other", container=container)).rest()
    world.deploy(spec("other", container=container), spec(container=container))
    return world.rest()


def no_room():
    world = World(
        spec(task=TaskSpec(container=ContainerSpec(image="x"), reservations=Resources(memory_bytes=99 << 30)))
    )
    return world.rest()


def no_label():
    placement = Placement(constraints=("node.labels.disk==ssd",))
    return World(spec(task=TaskSpec(container=ContainerSpec(image="x"), placement=placement))).rest()


def no_node():
    return World(spec(), nodes=()).rest()


def drained():
    world = World(nodes=[replace(node(), version=0, spec=NodeSpec(availability=Availability.DRAIN))])
    world.deploy(spec())
    return world.rest()


def node_away():
    world = World(spec()).rest()
    world.force(
        replace(world.get(type(node()), "node1"), ready=False, since=world.now, message="its agent is not connected")
    )
    world.now += 37
    return world


def unhealthy():
    world = World(spec()).rest()
    world.run(world.one(), ready=False, health=Health.UNHEALTHY)
    task = world.one()
    world.report(task, TaskState.RUNNING, message="GET /health answered 500 three times")
    return world


def waits_for_dependency():
    world = World(spec("db"), spec(depends_on=(needs("db", Condition.HEALTHY),)))
    world.orchestrate()
    world.prepare()
    world.run(world.one("db"), ready=False, health=Health.STARTING)
    return world.rest()


def failed_migration():
    job = spec("migrate", mode=Mode.REPLICATED_JOB, restart=RestartPolicy(condition=RestartCondition.NONE))
    world = World(job, spec(depends_on=(needs("migrate", Condition.COMPLETED),))).rest()
    world.fail(world.one("migrate"), 4)
    return world.rest()


def bad_update():
    world = World(spec(replicas=2)).rest()
    world.deploy(spec(image="web:2", replicas=2))
    for _ in range(4):
        world.rest()
        for task in world.running():
            if task.spec.container.image == "web:2":
                world.fail(task, 3, log_tail=("boom: no such table",))
        world.pass_time(1)
    return world


def backing_off():
    return _die(World(spec()).rest(), 1, 6)


def clean_exit():
    world = World(spec()).rest()
    world.now += 0.1
    world.complete(world.one())
    world.orchestrate()
    return world


def stopping():
    world = World(spec("web"), spec("old")).rest()
    world.deploy(spec("old"))
    world.orchestrate()
    return world


CASES = [
    (bad_image, "there is no image 'wbe:1' on node1"),
    (wrong_secret, "exited with code 78"),
    (out_of_memory, "killed by the kernel for using more memory than its limit of 64 MiB (exit code 137)"),
    (segmentation_fault, "killed by SIGSEGV (exit code 139)"),
    (killed_by_hand, "killed by SIGKILL (exit code 137)"),
    (parked, "web.1 is parked: it failed 3 times in a row; last it exited with code 9"),
    (port_taken, "host port 8080/tcp is held by the service other of shop"),
    (no_room, "node1: has 8192 of 8192 MiB of memory free, and the task reserves 101376"),
    (no_label, "node1: has no node.labels.disk"),
    (no_node, "no node has joined yet"),
    (drained, "was set to 'drain', so it takes no new tasks"),
    (node_away, "its node node1 is away for 40 s: its agent is not connected"),
    (unhealthy, "its health check fails: GET /health answered 500 three times"),
    (waits_for_dependency, "waits for db to be healthy"),
    (failed_migration, "waits for migrate to complete"),
    (bad_update, "the update of web stopped: the new web.1 keeps failing (last it exited with code 3"),
    (backing_off, "before the next attempt, after 6 failures in a row"),
    (clean_exit, "because the one before it ended well"),
    (stopping, "web is not in the manifest any more (revision 2, deployed by alice)"),
]


@pytest.mark.parametrize(("inject", "cause"), CASES, ids=[case[0].__name__ for case in CASES])
def test_the_first_line_about_a_service_names_the_injected_cause(inject, cause):
    world = inject()
    assert cause in explain(world, "shop/web", world.now + 3).sentence


@pytest.mark.parametrize(("inject", "cause"), [case for case in CASES if case[0] is not failed_migration])
def test_the_first_line_about_the_app_names_a_cause_too(inject, cause):
    world = inject()
    told = explain(world, "shop", world.now + 3)
    assert cause in told.sentence or any(cause in line for line in told.causes)
    assert "shop" in told.sentence


def test_a_failed_dependency_is_found_behind_the_one_that_waits():
    world = failed_migration()
    told = explain(world, "shop/web.1", world.now)
    assert "the job migrate.1 failed: it exited with code 4" in " ".join(told.causes)
    assert explain(world, "shop", world.now).sentence.startswith("shop has failed: the job migrate.1 failed")


def test_a_well_app_says_that_nothing_needs_doing():
    world = World(spec(), spec("db")).rest()
    told = explain(world, "shop", world.now + 60)
    assert told.object == "app/shop"
    assert told.sentence.startswith("shop is as its manifest says: 2 services; revision 1, deployed by alice")
    assert explain(world, "shop/web", world.now).sentence.startswith(
        "web of shop is as the manifest says: 1 of 1 task is ready; wanted so by revision 1"
    )
    assert "runs and is ready (for 60 s)" in explain(world, "shop/web.1", world.now + 60).sentence


def test_it_is_told_that_the_proxy_listens_and_whom_it_sends_callers_to():
    ports = (Port(target=80, published=(8080, 8080)), Port(target=53, protocol="udp", published=(53, 54)))
    world = World(spec(container=ContainerSpec(image="web:1", ports=ports), replicas=2)).rest()
    facts = dict(explain(world, "shop/web", world.now).facts)
    assert facts["published"] == "8080->80/tcp by the proxy, which sends callers to the 2 ready tasks"
    told = dict(explain(world, "shop/web.1", world.now).facts)
    assert told["host ports of the proxy"] == "8080->80/tcp"
    assert told["host ports of the engine"] == "53->53/udp"


def test_a_task_that_drains_says_so_before_it_says_that_it_stops():
    world = World(spec()).rest()
    task = world.one()
    world.deploy(spec(image="web:2"))
    world.rest()
    world.report(task, TaskState.RUNNING, message="draining, 15 s at most: replaced by t2")
    told = explain(world, task.id, world.now)
    assert "gets no new callers: draining, 15 s at most: replaced by t2" in told.sentence


def test_a_healed_task_still_tells_what_its_predecessor_died_of():
    world = out_of_memory().rest()
    told = explain(world, "shop/web", world.now)
    assert told.sentence.startswith("web of shop is as the manifest says")
    assert "using more memory than its limit of 64 MiB" in told.sentence


def test_a_dead_task_keeps_its_cause_and_its_last_lines():
    world = World(spec()).rest()
    dead = world.fail(world.one(), 1, log_tail=("starting", "no such table"))
    told = explain(world, dead.id, world.now)
    assert told.log_tail == ("starting", "no such table")
    assert dict(told.facts)["exit code"] == "1"
    world.rest()
    assert explain(world, "shop/web.1", world.now).log_tail == ("starting", "no such table")


def test_what_changed_since_it_last_worked_is_told_without_secrets():
    def version(image, level, password):
        return spec(container=ContainerSpec(image=image, environment={"LEVEL": level, "DB_PASSWORD": password}))

    world = World(version("web:1", "info", "old-hush")).rest()
    world.deploy(version("web:2", "debug", "new-hush"))
    world.rest()
    world.pass_time(10)
    world.fail(world.one(), 1)
    world.rest()
    told = explain(world, "shop/web", world.now)
    assert any("image" in line and "web:1" in line and "web:2" in line for line in told.changes)
    assert any("LEVEL" in line and "debug" in line for line in told.changes)
    assert "hush" not in repr(told)


def test_the_effective_container_has_the_safe_defaults_and_no_environment_values():
    world = World(spec(container=ContainerSpec(image="x", environment={"A": "hush"}))).rest()
    shown = explain(world, "shop/web.1", world.now).effective
    assert shown.privileges.cap_drop == ("ALL",)
    assert shown.limits.pids == 512
    assert shown.environment == {"A": "(hidden)"}


def test_a_signal_is_named_in_the_facts():
    facts = dict(explain(segmentation_fault(), "shop/web.1", 2000.0).facts)
    assert facts["failures in a row before it"] == "1"
    world = World(spec()).rest()
    dead = world.fail(world.one(), 143)
    assert dict(explain(world, dead.id, world.now).facts)["signal"] == "SIGTERM"


@pytest.mark.parametrize("name", ["", "nothing", "shop/nothing", "shop/web.7", "volume/shop/nothing", "zebra/shop"])
def test_what_does_not_exist_cannot_be_explained_and_the_error_says_how_to_name_things(name):
    with pytest.raises(NotFoundError, match=r"APP/SERVICE\.SLOT"):
        explain(World(spec()).rest(), name, 0.0)


@pytest.mark.parametrize("name", ["shop", "app/shop", "shop/web", "service/shop/web", "shop/web.1", "task/shop/web.1"])
def test_the_same_thing_may_be_named_in_several_ways(name):
    assert explain(World(spec()).rest(), name, 2000.0).sentence


def _full():
    container = ContainerSpec(
        image="x",
        networks=(NetworkAttachment(network="front"),),
        mounts=(Mount(kind=MountKind.VOLUME, source="data", target="/data"),),
        secrets=(FileGrant(source="key", target="/run/secrets/key"),),
    )
    world = World()
    world.force(Network(id="shop/front", app="shop", spec=NetworkSpec(key="front", name="shop_front")))
    world.force(Volume(id="shop/data", app="shop", spec=VolumeSpec(key="data", name="shop_data")))
    world.force(Secret(id="shop/key", app="shop", spec=FileSpec(key="key", name="key"), content_version="v1"))
    world.force(Config(id="shop/conf", app="shop", spec=FileSpec(key="conf", name="conf"), content_version="v1"))
    world.deploy(spec(container=container))
    return world.rest()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "network/shop/front",
            "The network front of shop is used by web.1; the platform made it; it goes with the app.",
        ),
        (
            "volume/shop/data",
            "The volume data of shop is used by web.1; the platform made it; "
            "only a person removes it, with its content.",
        ),
        (
            "secret/shop/key",
            "The secret key of shop is given to web.1; a deployment with other content replaces the tasks that use it.",
        ),
        (
            "config/shop/conf",
            "The config conf of shop is given to nothing; "
            "a deployment with other content replaces the tasks that use it.",
        ),
        ("node/node1", "node1 is ready: no agent has connected yet; 1 task on it; it takes new tasks."),
    ],
)
def test_things_say_who_uses_them_and_what_would_change_that(name, expected):
    assert explain(_full(), name, 2000.0).sentence == expected


def test_a_volume_that_must_go_waits_for_those_who_use_it():
    world = _full()
    world.force(replace(world.get(Volume, "shop/data"), removing=True))
    assert explain(world, "volume/shop/data", 0.0).sentence == (
        "The volume data of shop is to be removed, but web.1 use it; it goes when they have stopped."
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "is in force without an end"),
        ({"until": 4600.0}, "is in force until in 60 min"),
        ({"until": 500.0}, "ended 8 min ago"),
        ({"revoked_at": 990.0}, "was taken back 10 s ago"),
    ],
)
def test_a_grant_says_who_gave_it_why_and_until_when(fields, expected):
    world = World(spec())
    grant = Grant(id="g1", app="shop", kind="cap-add", value="NET_ADMIN", granted_by="bob", granted_at=940.0,
                  reason="vpn", **fields)  # fmt: skip
    world.force(grant)
    told = explain(world, "grant/g1", 1000.0).sentence
    assert expected in told
    assert "bob gave it 60 s ago because: vpn" in told


def test_an_app_that_is_going_says_what_is_left():
    world = World(spec("db"), spec(depends_on=(needs("db"),))).rest()
    world.down()
    world.orchestrate()
    assert explain(world, "shop", world.now).sentence.startswith(
        "shop is being taken down; 2 services have yet to stop: db, web"
    )
    assert "runs on until web has stopped" in explain(world, "shop/db.1", world.now).sentence
