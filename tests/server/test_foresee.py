"""What a plan says is what the platform then does, and what may go wrong is said before it does."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.model.container import (
    ContainerSpec,
    FileGrant,
    Healthcheck,
    Mount,
    MountKind,
    NetworkAttachment,
    Port,
    PortMode,
)
from pilothouse.model.objects import Health, ResolvedImage, Task
from pilothouse.model.placement import Placement
from pilothouse.model.release import Release, ReleaseState, release_id
from pilothouse.model.release_api import PlannedAction
from pilothouse.model.rollout import StepRecord
from pilothouse.model.spec import (
    AppSpec,
    Condition,
    FileSpec,
    Hook,
    Mode,
    NetworkSpec,
    Ownership,
    Probe,
    ProbeKind,
    Probes,
    ReleasePolicy,
    ReleaseStep,
    Resources,
    Strategy,
    TaskSpec,
    UpdateOrder,
    UpdatePolicy,
    VolumeSpec,
)
from pilothouse.model.states import Writer
from pilothouse.server.deploy.foresee import foresee
from pilothouse.server.deploy.overlay import Overlay
from pilothouse.server.deploy.pipeline import load
from pilothouse.server.deploy.plan import Asked, Content, plan
from pilothouse.server.deploy.prospect import rollout_order
from tests.control.world import World, needs, spec
from tests.examples import examples

CHECK = Healthcheck(test=("CMD", "true"))
KEEP, REPLACE, CREATE = PlannedAction.KEEP, PlannedAction.REPLACE, PlannedAction.CREATE
SCALE, ADJUST, REMOVE = PlannedAction.SCALE, PlannedAction.ADJUST, PlannedAction.REMOVE


def asked(*services, ids=None, secrets=None, configs=None, keep_orphans=False, **fields):
    """A deployment of the app "shop"; *ids* are what image references mean, if not the usual."""
    files = {
        "secrets": tuple(FileSpec(key=k, name=k) for k in secrets or {}),
        "configs": tuple(FileSpec(key=k, name=k) for k in configs or {}),
    }
    refs = {s.name: s.task.container.image for s in services}
    return Asked(
        spec=AppSpec(name="shop", services=services, **{**files, **fields}),
        images={n: ResolvedImage(ref=r, id=(ids or {}).get(r, f"sha256:{r}")) for n, r in refs.items()},
        secrets={k: Content(c.hex(), b"sealed" + c) for k, c in (secrets or {}).items()},
        configs={k: Content(c.hex(), c) for k, c in (configs or {}).items()},
        keep_orphans=keep_orphans,
        principal="uid:0(root)",
        now=1000.0,
    )  # fmt: skip


def deploy(world, request):
    """Store *request* as the API would."""
    world.writer = Writer.API
    for obj in plan(load(world, "shop"), request).writes:
        world.put(obj)
    return world


def running(*services, **fields):
    """A world in which the services run, in a release that is stable."""
    world = deploy(World(), asked(*services, **fields)).rest()
    return released(world)


def released(world, state=ReleaseState.STABLE, **fields):
    """Have the newest release of the app be in *state*."""
    app = load(world, "shop").app
    found = world.get(Release, release_id("shop", app.revision))
    made = found or Release(id=release_id("shop", app.revision), app="shop", number=app.revision, spec=app.spec)
    world.force(replace(made, state=state, **fields))
    return world


def look(world, request):
    return foresee(world, load(world, "shop"), request)


def planned(world, *services, **fields):
    """What the plan says of each service, by name."""
    return {each.name: each for each in look(world, asked(*services, **fields)).services}


def web(image="web:1", **fields):
    container = {k: fields.pop(k) for k in list(fields) if k in ContainerSpec.__struct_fields__}
    task = {k: fields.pop(k) for k in list(fields) if k in TaskSpec.__struct_fields__}
    made = ContainerSpec(**{"image": image, "healthcheck": CHECK, **container})
    return spec(fields.pop("name", "web"), task=TaskSpec(container=made, **task), **fields)


def only(world, service, **fields):
    (found,) = planned(world, service, **fields).values()
    return found


# What would be done


def test_a_first_deployment_makes_every_service():
    view = look(World(), asked(web(replicas=3)))
    (found,) = view.services
    assert (found.action, found.tasks, found.changes, found.stops) == (CREATE, (0, 3), (), ())
    assert (view.base, view.release) == (0, 1)
    assert found.rollout.startswith("3 tasks are made at once; one that fails or is not ready in 10 min")


def test_what_is_deployed_already_is_kept_and_makes_no_release():
    view = look(running(web(replicas=3)), asked(web(replicas=3)))
    assert [(s.action, s.tasks, s.rollout, s.risks) for s in view.services] == [(KEEP, (3, 3), "", ())]
    assert (view.base, view.release, view.changes) == (1, 1, ())


def test_a_change_of_the_task_replaces_and_names_each_field():
    world = running(web(replicas=4))
    found = only(world, web("web:2", replicas=4, environment={"DEBUG": "1", "DB_PASSWORD": "hunter2"}))
    assert found.action is REPLACE
    assert {c.path: (c.before, c.after) for c in found.changes} == {
        "task.container.image": ("web:1", "web:2"),
        "task.container.environment.DEBUG": ("", "1"),
        "task.container.environment.DB_PASSWORD": ("", "(hidden)"),
        "image": ("sha256:web:1", "sha256:web:2"),
    }
    assert found.stops == tuple(sorted(task.id for task in world.live()))


def test_more_or_fewer_tasks_scale_and_the_others_run_on():
    world = running(web(replicas=3))
    more, fewer = only(world, web(replicas=5)), only(world, web(replicas=1))
    assert (more.action, more.tasks, more.stops) == (SCALE, (3, 5), ())
    assert more.rollout == "2 tasks more made at once; the others run on"
    assert (fewer.action, fewer.tasks) == (SCALE, (3, 1))
    assert fewer.stops == tuple(sorted(task.id for task in world.live() if task.slot > 1))


@pytest.mark.parametrize(
    "change", [{"labels": {"team": "a"}}, {"update": UpdatePolicy(parallelism=2)}, {"depends_on": (needs("db"),)}]
)
def test_labels_update_settings_and_order_restart_nothing(change):
    found = planned(running(web(), web(name="db")), replace(web(), **change), web(name="db"))["web"]
    assert (found.action, found.rollout, found.stops) == (ADJUST, "nothing restarts", ())
    assert found.changes != ()


def test_a_service_that_left_the_file_goes_after_those_that_depend_on_it():
    world = running(web(), web(name="api", depends_on=(needs("db"),)), web(name="db"))
    view = look(world, asked(web()))
    assert [(s.name, s.action, s.tasks) for s in view.services] == [
        ("web", KEEP, (1, 1)), ("api", REMOVE, (1, 0)), ("db", REMOVE, (1, 0)),
    ]  # fmt: skip
    assert [s.action for s in look(world, asked(web(), keep_orphans=True)).services] == [KEEP] * 3


def test_a_changed_secret_replaces_those_that_use_it_and_shows_nothing_of_it():
    def services(name):
        return web(name=name, secrets=(FileGrant(source="key", target="/run/secrets/key"),)), web(name="other")

    world = running(*services("web"), secrets={"key": b"hunter2"})
    view = look(world, asked(*services("web"), secrets={"key": b"hunter3"}))
    found = {s.name: s for s in view.services}
    assert (found["web"].action, found["other"].action) == (REPLACE, KEEP)
    assert [(c.path, c.after) for c in found["web"].changes] == [("secrets.key", "content changed")]
    assert [(c.path, c.after) for c in view.changes] == [("secrets.key", "content changed")]
    assert b"hunter" not in msgspec.json.encode(view)


def test_what_belongs_to_the_app_is_told_beside_the_services():
    def request(**fields):
        return asked(web(), **fields)

    world = running(web(), networks=(NetworkSpec(key="old", name="shop_old"),), ownership=Ownership(owner="ann"))
    view = look(world, request(
        networks=(NetworkSpec(key="new", name="shop_new"),), volumes=(VolumeSpec(key="data", name="shop_data"),),
        configs={"conf": b"1"}, ownership=Ownership(owner="bob"),
    ))  # fmt: skip
    assert {c.path: (c.before, c.after) for c in view.changes} == {
        "networks.new": ("", "made new"), "networks.old": ("there", ""), "volumes.data": ("", "made new"),
        "configs.conf": ("", "made new"), "ownership.owner": ("ann", "bob"),
    }  # fmt: skip


def test_a_dependent_with_restart_true_is_replaced_with_its_dependency_and_says_so():
    both = web(depends_on=(needs("db", restart=True),))
    found = planned(running(both, web("db:1", name="db")), both, web("db:2", name="db"))
    assert (found["db"].action, found["web"].action) == (REPLACE, REPLACE)
    (change,) = found["web"].changes
    assert (change.path, "`restart: true`" in change.after) == ("depends_on.db", True)
    without = web(depends_on=(needs("db"),))
    found = planned(running(without, web("db:1", name="db")), without, web("db:2", name="db"))
    assert found["web"].action is KEEP
    changed = web(depends_on=(needs("db"),), hostname="other")
    found = planned(running(without, web("db:1", name="db")), changed, web("db:2", name="db"))
    assert [change.path for change in found["web"].changes] == ["task.container.hostname"]


def test_what_was_told_to_stop_already_is_not_stopped_by_the_plan():
    world = deploy(running(web(replicas=3)), asked(web(replicas=1)))
    world.orchestrate()
    assert len(world.live()) == 3
    assert only(world, web(replicas=1)).stops == ()
    assert only(world, web(replicas=0)).stops == tuple(task.id for task in world.live() if task.slot == 1)


def test_services_are_rolled_out_after_those_they_depend_on():
    edges = {"a": "c", "b": "", "c": "d", "d": ""}
    specs = {n: web(name=n, depends_on=tuple(needs(e) for e in on)) for n, on in edges.items()}
    assert list(rollout_order(specs)) == ["b", "d", "c", "a"]


def test_a_new_task_waits_for_what_is_replaced_first():
    both = (needs("db", Condition.HEALTHY), needs("migrate", Condition.COMPLETED))
    migrate = web(name="migrate", mode=Mode.REPLICATED_JOB)
    world = running(web(depends_on=both), web("db:1", name="db"), migrate)
    for task in world.running("migrate"):
        world.complete(task)
    for task in world.running("db"):
        world.run(task, health=Health.HEALTHY)
    world.rest()
    assert only_waits(world, web("web:2", depends_on=both), web("db:1", name="db"), migrate) == ()
    assert only_waits(world, web("web:2", depends_on=both), web("db:2", name="db"), migrate) == (
        "db to be healthy, which is replaced first",
    )
    assert only_waits(world, web("web:2", depends_on=both), web("db:1", name="db"), replace(
        migrate, task=replace(migrate.task, container=ContainerSpec(image="migrate:2")),
    )) == ("migrate to complete, which is replaced first",)  # fmt: skip


def only_waits(world, *services):
    return planned(world, *services)["web"].waits_for


def test_a_dependency_that_is_not_well_now_is_named():
    edges = (needs("db", Condition.HEALTHY),)
    world = running(web(depends_on=edges), web("db:1", name="db"))
    world.run(world.one("db"), health=Health.UNHEALTHY)
    assert only_waits(world, web("web:2", depends_on=edges), web("db:1", name="db")) == ("db to be healthy",)


def test_steps_that_run_once_are_told_unless_they_ran_for_the_same():
    hooks = (Hook(command=("migrate", "--password", "hunter2")), Hook(command=("each",), per_replica=True),
             Hook(image="tool:1"))  # fmt: skip
    world = running(web())
    changed = web("web:2", pre_start=hooks)
    assert only(world, changed).steps == ("migrate --password '(hidden)'", "the image's own command (in tool:1)")
    then = Overlay(world, plan(load(world, "shop"), asked(changed)).writes)
    scenes = Scenes(then)
    fingerprint = scenes.fingerprint(scenes.service("shop/web"))
    record = StepRecord(fingerprint=fingerprint, index=0, task_id="t", done=True)
    world.force(replace(world.service(), steps=(record, replace(record, index=2, done=False))))
    assert only(world, changed).steps == ("the image's own command (in tool:1)",)


def test_going_back_in_the_middle_of_an_update_replaces_only_what_was_replaced():
    world = running(web(replicas=4, update=UpdatePolicy(parallelism=1)))
    old = {task.id for task in world.live()}
    deploy(world, asked(web("web:2", replicas=4, update=UpdatePolicy(parallelism=1))))
    world.turn()
    new = {task.id for task in world.live()} - old
    assert len(new) == 2, "one runs, the next one is prepared"
    found = only(world, web(replicas=4, update=UpdatePolicy(parallelism=1)))
    assert (found.action, found.tasks) == (REPLACE, (4, 4))
    assert set(found.stops) == new
    assert found.rollout.startswith("rolling, 1 of 2 tasks at a time: start-first, ")
    assert "; 2 other tasks are as it says already; " in found.rollout


def test_a_change_that_also_scales_tells_both():
    world = running(web(replicas=4))
    more, fewer = only(world, web("web:2", replicas=6)), only(world, web("web:2", replicas=3))
    assert "1 of 4 tasks at a time: start-first" in more.rollout
    assert "; 2 tasks more made at once; " in more.rollout
    assert "1 of 3 tasks at a time: start-first" in fewer.rollout
    assert "; 1 task stopped; " in fewer.rollout
    assert (len(more.stops), len(fewer.stops)) == (4, 4)


def test_a_job_that_completed_is_not_missing_until_it_changes():
    world = running(web(mode=Mode.REPLICATED_JOB, replicas=2))
    for task in world.running():
        world.complete(task)
    same, changed = (
        only(world.rest(), web(image, mode=Mode.REPLICATED_JOB, replicas=2)) for image in ("web:1", "web:2")
    )
    assert (same.action, same.tasks) == (KEEP, (2, 2))
    assert (changed.action, changed.tasks, changed.stops) == (REPLACE, (2, 2), ())
    assert changed.rollout == "the job is run again"


def test_a_rollout_that_is_going_on_is_named_as_superseded():
    world = running(web())
    deploy(world, asked(web("web:2")))
    released(world, ReleaseState.ROLLING, created_by="uid:0(root)")
    assert look(world, asked(web("web:3"))).supersedes == (
        "release 2, deployed by uid:0(root), is being rolled out and would be superseded where it is"
    )
    assert look(world, asked(web("web:2"))).supersedes == "", "nothing would change"
    app = load(world, "shop").app
    world.force(replace(app, paused=True))
    assert look(world, asked(web("web:3"))).supersedes.endswith("superseded where it is; the pause ends with it")
    assert look(running(web()), asked(web("web:3"))).supersedes == ""


# How


def test_the_rollout_is_told_in_one_sentence():
    found = only(running(web(replicas=8)), web("web:2", replicas=8))
    assert found.rollout == (
        "rolling, 2 of 8 tasks at a time: start-first, each old task is stopped once its new one is ready; the next "
        "ones are begun after they have been ready for 10 s; a task that fails within 10 s of being ready counts as "
        "failed; one that fails or is not ready in 10 min has the app rolled back to release 1"
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"update": UpdatePolicy(parallelism=0)}, "4 of 4 tasks at a time"),
        ({"update": UpdatePolicy(order=UpdateOrder.STOP_FIRST)}, "stop-first, each old task is stopped before"),
        ({"update": UpdatePolicy(delay_seconds=30)}, "30 s between two batches"),
        ({"update": UpdatePolicy(monitor_seconds=0)}, "the next ones are begun as soon as they are ready"),
        ({"update": UpdatePolicy(failure_action="pause")}, "stops the rollout, and a person decides"),
        ({"update": UpdatePolicy(failure_action="continue")}, "is tried again while the others are replaced"),
        ({"update": UpdatePolicy(max_failure_ratio=0.5)}, "(more than 2 slots)"),
        ({"release": ReleasePolicy(deadline_seconds=60, settle_seconds=3)}, "not ready in 60 s"),
        ({"release": ReleasePolicy(deadline_seconds=60, settle_seconds=3)}, "ready for 3 s"),
        (
            {"release": ReleasePolicy(strategy=Strategy.CANARY, steps=(ReleaseStep(weight=5, hold_seconds=60),))},
            "canary: 1 of 4 new tasks beside the old ones with 5 % of the traffic for at least 60 s, then judged; once "
            "they are promoted rolling, 1 of 4 tasks at a time",
        ),
        (
            {"release": ReleasePolicy(strategy=Strategy.BLUE_GREEN)},
            "blue/green: all of 4 new tasks beside the old ones, then the whole traffic for at least 30 s, then judged",
        ),
        (
            {"release": ReleasePolicy(strategy=Strategy.CANARY)},
            "then more with 25 % for 30 s and 50 % for 30 s, each step judged",
        ),
    ],
)
def test_what_is_written_shows_in_the_sentence(fields, said):
    assert said in only(running(web(replicas=4, **fields)), web("web:2", replicas=4, **fields)).rollout


# What may go wrong


def risks_of(before, after, **fields):
    return only(running(before, **fields), after, **fields).risks


HOST = Port(target=80, published=(8080, 8080), mode=PortMode.HOST)
DATA = {"volumes": (VolumeSpec(key="data", name="shop_data"),)}


@pytest.mark.parametrize(
    ("container", "why", "cure"),
    [
        ({"ports": (HOST,)}, "only one container can listen on host port 8080/tcp", "without `mode: host`"),
        ({"ports": (Port(target=53, published=(53, 53), protocol="udp"),)}, "host port 53/udp", "publish one TCP port"),
        ({"container_name": "the-web"}, "its container has to be called the-web", "leave `container_name` out"),
        ({"networks": (NetworkAttachment(network="n", ipv4_address="10.9.0.2"),)}, "10.9.0.2 on n is fixed", "leave"),
        ({"network_mode": "host"}, "it is on the host's network", "a network of the app's own"),
        (
            {"mounts": (Mount(kind=MountKind.VOLUME, source="data", target="/d"),)},
            "the old task holds the volume data for writing", "mount it read-only",
        ),
    ],
)  # fmt: skip
def test_a_single_task_that_is_stopped_first_leaves_a_gap(container, why, cure):
    (risk,) = risks_of(web(**container), web("web:2", **container), **DATA)
    assert risk.startswith("a gap: the old task is stopped before the new one is started")
    assert why in risk
    assert cure in risk.partition("to avoid it")[2]


def test_an_order_that_is_written_is_the_reason_for_its_gap():
    policy = UpdatePolicy(order=UpdateOrder.STOP_FIRST)
    (risk,) = risks_of(web(update=policy), web("web:2", update=policy))
    assert "because `order: stop-first` is written" in risk


def test_no_gap_is_told_where_others_answer_meanwhile_or_nothing_is_replaced():
    ports = (replace(HOST, published=(8080, 8089)),)
    assert risks_of(web(ports=ports, replicas=4), web("web:2", ports=ports, replicas=4)) == ()
    assert risks_of(web(ports=(HOST,)), replace(web(ports=(HOST,)), labels={"a": "b"})) == ()
    assert only(World(), web(ports=(HOST,))).risks == ()


def test_a_service_that_nothing_checks_is_told_if_anyone_could_notice():
    def bare(image, **fields):
        return web(image, healthcheck=None, **fields)

    (risk,) = risks_of(bare("web:1", replicas=2), bare("web:2", replicas=2))
    assert risk.startswith(
        "nothing checks web (unless its image brings a health check): a broken version counts as good"
    )
    assert "once it has run for 10 s; give it a `healthcheck` or `x-pilothouse.probes.ready`" in risk
    probes = Probes(ready=Probe(kind=ProbeKind.TCP, port=80))
    assert risks_of(bare("web:1", replicas=2), bare("web:2", replicas=2, probes=probes)) == ()
    assert risks_of(bare("web:1"), bare("web:2")) == ()
    (first,) = only(World(), bare("web:1", ports=(HOST,))).risks
    assert "as soon as it runs" in first


def test_without_a_stable_release_there_is_nothing_to_go_back_to():
    world = deploy(World(), asked(web())).rest()
    (risk,) = only(world, web("web:2")).risks
    assert risk.startswith("there is no stable release to roll back to")
    assert only(released(world), web("web:2")).risks == ()


@pytest.mark.parametrize("action", ["continue", "pause"])
def test_a_failure_action_that_gives_up_the_rollback_is_told(action):
    policy = UpdatePolicy(failure_action=action)
    (risk,) = risks_of(web(update=policy), web("web:2", update=policy))
    assert risk.startswith(f"`failure_action: {action}` is written")
    assert risk.endswith("leave it out to have a failure rolled back")


def test_a_port_of_another_app_is_told_with_its_owner():
    world = World()
    world.deploy(web(name="front", ports=(HOST,)), app="blog")
    found = only(world, web(ports=(HOST,)))
    assert found.risks == (
        "host port 8080/tcp belongs to blog/front, so its tasks would wait until it is free; publish another port",
    )
    assert only(world, web(ports=(replace(HOST, published=(8080, 8081)),))).risks == ()
    assert only(world, web(ports=(replace(HOST, host_ip="127.0.0.1"),))).risks != ()
    assert only(world, web(ports=(replace(HOST, protocol="udp"),))).risks == ()


def test_old_and_new_tasks_that_do_not_fit_beside_each_other_are_told():
    big, room = Resources(memory_bytes=5 << 30), Resources(memory_bytes=3 << 30)
    (risk,) = risks_of(web(reservations=big), web("web:2", reservations=big))
    assert risk.startswith("an old and a new task need their places at once, and there is not enough: ")
    assert "has 3072 of 8192 MiB of memory free, and the task reserves 5120" in risk
    assert risk.endswith("or write `order: stop-first`")
    assert risks_of(web(reservations=room), web("web:2", reservations=room)) == ()
    policy = UpdatePolicy(order=UpdateOrder.STOP_FIRST)
    (gap,) = risks_of(web(reservations=big, update=policy), web("web:2", reservations=big, update=policy))
    assert gap.startswith("a gap")


def test_new_tasks_without_a_place_are_counted():
    big = Resources(memory_bytes=5 << 30)
    (risk,) = only(World(), web(reservations=big, replicas=2)).risks
    assert risk.startswith("1 of its tasks would wait for a place: ")
    (more,) = only(running(web(reservations=big)), web(reservations=big, replicas=3)).risks
    assert more.startswith("2 of its tasks would wait for a place: ")


def test_a_canary_that_can_show_nothing_is_told():
    policy = ReleasePolicy(strategy=Strategy.CANARY)
    alone, lonely = risks_of(web(release=policy), web("web:2", release=policy))
    assert "there is no traffic to compare: `strategy: canary` is judged only by tasks that fail" in alone
    assert "run 2 replicas or more" in lonely
    ports = {"ports": (Port(target=80),), "replicas": 3, "release": policy}
    assert [r for r in risks_of(web(**ports), web("web:2", **ports)) if "canary" in r] == []
    world = deploy(World(), asked(web(**ports))).rest()
    assert any(
        "compares with a stable release, and there is none" in r for r in only(world, web("web:2", **ports)).risks
    )


def test_a_strategy_that_needs_both_beside_each_other_names_what_is_in_the_way():
    policy = ReleasePolicy(strategy=Strategy.BLUE_GREEN)
    fields = {"container_name": "the-web", "release": policy}
    way, _ = risks_of(web(**fields), web("web:2", **fields))
    assert "they would be in each other's way, because its container has to be called the-web" in way
    assert "write `strategy: rolling`, or leave `container_name` out" in way
    big = {
        "reservations": Resources(memory_bytes=3 << 30),
        "replicas": 2,
        "release": policy,
        "ports": (Port(target=80),),
    }
    (room,) = risks_of(web(**big), web("web:2", **big))
    assert room.endswith("reserve less, make room, or write `strategy: rolling`")


def test_a_service_that_others_can_do_without_is_missed_when_it_goes():
    edge = needs("cache", required=False)
    found = planned(running(web(depends_on=(edge,)), web(name="cache")), web(depends_on=(edge,)))
    assert found["cache"].action is REMOVE
    (risk,) = found["cache"].risks
    assert risk.startswith("web still names cache in `depends_on`")


def test_a_tag_that_moved_is_told_although_the_file_is_the_same():
    found = only(running(web()), web(), ids={"web:1": "sha256:" + "b" * 64})
    assert found.action is REPLACE
    assert [(c.path, c.before) for c in found.changes] == [("image", "sha256:web:1")]
    (risk,) = found.risks
    assert risk.startswith(f"the reference web:1 has moved: it means another image ({'b' * 12}) than when")


def test_no_replicas_mean_that_nobody_answers():
    (risk,) = risks_of(web(replicas=2), web(replicas=0))
    assert risk.startswith("it has no task any more (2 tasks stopped), so nobody answers")
    assert risks_of(web(replicas=0), web("web:2", replicas=0)) == ()
    nowhere = {"mode": Mode.GLOBAL, "placement": Placement(constraints=("node.labels.gpu==true",))}
    (risk,) = only(World(), web(**nowhere)).risks
    assert risk.startswith("no node meets its placement constraints")


def test_a_volume_whose_options_changed_is_kept_and_the_plan_warns():
    def volumes(size):
        return (VolumeSpec(key="data", name="shop_data", driver_opts={"size": size}),)

    view = look(running(web(), volumes=volumes("1")), asked(web(), volumes=volumes("2")))
    assert [c.path for c in view.changes] == ["volumes.data.driver_opts.size"]
    (warning,) = view.warnings
    assert "the volume shop_data exists and keeps the options it was made with" in warning


# That it comes true

SERVICES = st.builds(
    lambda image, replicas, labels, variables, secret: replace(
        web(
            image,
            replicas=replicas,
            environment=variables,
            secrets=(FileGrant(source="key", target="/k"),) if secret else (),
        ),
        labels=labels,
    ),
    st.sampled_from(["i:1", "i:2"]),
    st.integers(0, 3),
    st.dictionaries(st.just("l"), st.sampled_from("xy")),
    st.dictionaries(st.just("V"), st.sampled_from("xy")),
    st.booleans(),
)


@st.composite
def deployments(draw):
    names = draw(st.sets(st.sampled_from("abc"), min_size=1))
    services = [replace(draw(SERVICES), name=name) for name in sorted(names)]
    whole = [
        replace(s, depends_on=tuple(needs(e, restart=draw(st.booleans())) for e in sorted(names) if e < s.name))
        for s in services
    ]
    ids = draw(st.dictionaries(st.sampled_from(["i:1", "i:2"]), st.sampled_from(["sha256:1", "sha256:2"])))
    return asked(*whole, ids=ids, secrets={"key": draw(st.sampled_from([b"1", b"2"]))})


def fingerprints(tx):
    scenes = Scenes(tx)
    return {s.name: scenes.fingerprint(s) for s in scenes.services("shop") if not s.removing}


@examples(60)
@given(deployments(), deployments())
def test_what_is_kept_has_the_same_fingerprint_and_what_is_replaced_another(first, second):
    world = deploy(World(), first)
    before = fingerprints(world)
    view = look(world, second)
    deploy(world, second)
    after = fingerprints(world)
    for service in view.services:
        old, new = before.get(service.name), after.get(service.name)
        match service.action:
            case PlannedAction.CREATE:
                assert old is None
            case PlannedAction.REMOVE:
                assert new is None
            case PlannedAction.REPLACE:
                assert None not in (old, new)
                assert old != new
            case _:
                assert old == new
    assert {s.name for s in view.services} == before.keys() | after.keys()
    assert (view.release != view.base) is (load(world, "shop").app.revision != view.base)


@examples(25)
@given(deployments(), deployments())
def test_the_tasks_that_a_plan_names_are_those_that_are_stopped(first, second):
    world = deploy(World(), first).pass_time(60)
    released(world)
    live = {task.id for task in world.find(Task) if not task.state.terminal}
    view = look(world, second)
    deploy(world, second).pass_time(600)
    left = {task.id for task in world.find(Task) if not task.state.terminal}
    named = {task_id for service in view.services for task_id in service.stops}
    assert named == live - left
    wanted = {s.name: s.tasks[1] for s in view.services}
    assert {name: len(world.live(name)) for name in wanted} == wanted
