"""Orchestrator and releaser together: what a canary does to the tasks, whoever of the two looks first."""

import pytest
from msgspec.structs import replace

from pilothouse.control.orchestrators.scene import is_ready
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.model.container import ContainerSpec, Healthcheck, Port
from pilothouse.model.objects import App, Service
from pilothouse.model.release import Release, ReleaseKind, ReleaseState, Traffic, release_id
from pilothouse.model.rollout import RolloutState
from pilothouse.model.spec import ReleasePolicy, ReleaseStep, Strategy
from pilothouse.model.states import Writer
from pilothouse.release.decide import decide, restoration
from pilothouse.release.scene import scene
from tests.control.world import World, spec
from tests.release.crowd import Crowd, Program

S = ReleaseState
STEPS = tuple(ReleaseStep(weight=weight, hold_seconds=10.0) for weight in (10, 50))
CANARY = ReleasePolicy(strategy=Strategy.CANARY, steps=STEPS)
BLUE_GREEN = ReleasePolicy(
    strategy=Strategy.BLUE_GREEN, steps=(ReleaseStep(weight=100, hold_seconds=10.0),)
)  # fmt: skip
BOTH = pytest.mark.parametrize("policy", [CANARY, BLUE_GREEN], ids=["canary", "blue_green"])


def web(image, policy=CANARY, replicas=4):
    container = ContainerSpec(
        image=image, healthcheck=Healthcheck(test=("CMD", "true")), ports=(Port(target=80, published=(8080, 8080)),)
    )  # fmt: skip
    return spec("web", container=container, replicas=replicas, release=policy)


class Shop:
    """A world with a releaser and with callers of its proxy."""

    def __init__(self, policy, replicas=4):
        self.world = World()
        self.policy, self.replicas = policy, replicas
        self.crowd = None
        self.least_ready = replicas
        self.most = 0
        self.weights = []
        self.world.release(web("web:1", policy, replicas))
        self.pass_time(30)
        assert self.states() == {1: S.STABLE}

    def deploy(self, image, new=None, old=None):
        self.world.release(web(image, self.policy, self.replicas), base=self.base())
        self.crowd = Crowd(1, old or Program(), new or Program(), 400.0)
        self.began = None

    def base(self):
        return max((number for number, state in self.states().items() if state is S.STABLE), default=0)

    def states(self):
        return {each.number: each.state for each in self.world.find(Release)}

    def newest(self):
        return self.world.find(Release)[-1]

    def of(self, image):
        return [task for task in self.world.live() if task.spec.container.image == image]

    def pass_time(self, seconds):
        for _ in range(int(seconds)):
            self.world.now += 1.0
            self.turn()

    def turn(self):
        for _ in range(20):
            before = self.world.revision
            self.world.rest()
            self.release()
            self.undo()
            self.watch()
            if self.world.revision == before:
                break
        else:
            raise AssertionError("the shop does not come to rest")
        self.count()

    def release(self):
        self.world.writer = Writer.RELEASER
        for changed in decide(scene(self.world, "shop"), self.world.now).changes:
            self.world.put(changed)

    def undo(self):
        wanted = restoration(scene(self.world, "shop"))
        if wanted is not None:
            copied = self.world.get(Release, release_id("shop", wanted.to))
            self.world.release(
                *copied.spec.services, base=wanted.to, kind=ReleaseKind.ROLLBACK, copies=wanted.to,
                undoes=wanted.failed, message=wanted.reason,
            )  # fmt: skip

    def watch(self):
        ready = [task for task in self.world.live() if is_ready(task)]
        self.least_ready = min(self.least_ready, len(ready))
        self.most = max(self.most, len(self.world.live()))
        for stage in self.newest().stages.values():
            shown = (stage.step, stage.weight, stage.promoted)
            if not self.weights or self.weights[-1] != shown:
                self.weights.append(shown)

    def count(self):
        """A second's worth of requests, divided as the proxy was told, and what it counted of them."""
        stage = self.newest().stages.get("web")
        if stage is None or stage.promoted or self.crowd is None:
            return
        self.began = self.began or self.world.now
        self.crowd.call(1.0, stage.weight)
        service = self.world.get(Service, "shop/web")
        known = self.world.get(Traffic, "shop/web/node1")
        self.world.writer = Writer.AGENT
        self.world.put(
            Traffic(
                id="shop/web/node1", version=known.version if known else 0, app="shop", service="web",
                node_id="node1", fingerprint=Scenes(self.world).fingerprint(service), measured_from=self.began,
                measured_at=self.world.now, old=self.crowd.old.golden(), new=self.crowd.new.golden(),
            )
        )  # fmt: skip


@BOTH
def test_a_good_version_proves_itself_beside_the_old_one_and_then_replaces_it(policy):
    shop = Shop(policy)
    shop.deploy("web:2")
    shop.pass_time(12)
    assert len(shop.of("web:1")) == 4
    assert len(shop.of("web:2")) == (1 if policy is CANARY else 4)
    assert shop.states()[2] is S.ROLLING
    shop.pass_time(150)
    assert shop.states() == {1: S.STABLE, 2: S.STABLE}
    assert (len(shop.of("web:1")), len(shop.of("web:2"))) == (0, 4)
    steps = [(step, step_weight, False) for step, step_weight in enumerate([10, 50] if policy is CANARY else [100])]
    assert [each for each in shop.weights if each in steps] == steps
    assert shop.weights[-1][2]
    assert shop.least_ready == 4
    assert shop.most <= 8
    assert [each.outcome for each in shop.newest().verdicts] == ["promote"] * len(steps)


@BOTH
def test_a_bad_version_is_undone_and_the_old_tasks_were_never_touched(policy):
    shop = Shop(policy)
    before = {task.id for task in shop.of("web:1")}
    shop.deploy("web:2", new=Program(error_rate=0.2))
    shop.pass_time(40)
    assert shop.states()[2] is S.ROLLED_BACK
    shop.pass_time(60)
    assert shop.states() == {1: S.STABLE, 2: S.ROLLED_BACK, 3: S.STABLE}
    assert {task.id for task in shop.world.live()} == before
    assert shop.least_ready == 4


def test_a_version_that_dies_in_its_stage_is_undone():
    shop = Shop(CANARY)
    shop.deploy("web:2")
    shop.pass_time(5)
    (new,) = shop.of("web:2")
    shop.world.fail(new)
    shop.pass_time(60)
    assert shop.states() == {1: S.STABLE, 2: S.ROLLED_BACK, 3: S.STABLE}
    assert len(shop.of("web:1")) == 4
    assert shop.least_ready >= 4


def test_going_back_to_the_old_file_in_the_middle_of_a_canary_is_done_at_once():
    shop = Shop(CANARY)
    shop.deploy("web:2")
    shop.pass_time(15)
    shop.deploy("web:1")
    shop.pass_time(40)
    assert shop.states() == {1: S.STABLE, 2: S.SUPERSEDED, 3: S.STABLE}
    assert shop.newest().stages == {}
    assert (len(shop.of("web:1")), len(shop.of("web:2"))) == (4, 0)


def test_a_canary_that_supersedes_another_is_judged_from_its_first_step():
    shop = Shop(CANARY)
    shop.deploy("web:2")
    shop.pass_time(15)
    shop.deploy("web:3")
    shop.pass_time(150)
    assert shop.states() == {1: S.STABLE, 2: S.SUPERSEDED, 3: S.STABLE}
    assert [each.step for each in shop.newest().verdicts] == [0, 1]
    assert len(shop.of("web:3")) == 4
    assert shop.least_ready == 4


def test_the_same_canary_deployed_again_with_another_limit_uses_its_tasks():
    """A new release whose tasks are there already: nothing is made again, and nothing waits for ever."""
    shop = Shop(CANARY)
    shop.deploy("web:2")
    shop.pass_time(15)
    made = {task.id for task in shop.of("web:2")}
    shop.policy = replace(CANARY, judge=replace(CANARY.judge, error_rate=0.02))
    shop.deploy("web:2")
    shop.pass_time(150)
    assert shop.states() == {1: S.STABLE, 2: S.SUPERSEDED, 3: S.STABLE}
    assert made <= {task.id for task in shop.of("web:2")}


def test_a_paused_canary_waits_and_goes_on():
    shop = Shop(CANARY)
    shop.deploy("web:2")
    shop.pass_time(15)
    shop.world.pause()
    shop.pass_time(100)
    assert len(shop.of("web:2")) == 1
    shop.world.resume()
    shop.pass_time(150)
    assert shop.states()[2] is S.STABLE
    assert shop.world.get(App, "shop").revision == 2
    assert shop.world.service().rollout.state is RolloutState.DONE
