"""A canary or blue/green release from its first look to its end, with scripted callers and an obedient orchestrator.

Pure: the releaser's decisions against a scene that moves on second by second. No loop, no store, no time passes.
"""

from dataclasses import dataclass, field

from msgspec.structs import replace

from pilothouse.model.objects import App
from pilothouse.model.release import Release, ReleaseState
from pilothouse.model.rollout import RolloutState
from pilothouse.model.spec import ReleasePolicy, Strategy
from pilothouse.release.decide import decide
from pilothouse.release.scene import Scene
from tests.release.crowd import Crowd, Program
from tests.release.world import PORT, after, app, at, release, service, spec, traffic

BEGAN = 1000.0
REPORT_SECONDS = 2


@dataclass
class Rehearsal:
    """One release of one service; `run` goes through it, `now` is the time."""

    new: Program
    old: Program = field(default_factory=Program)
    seed: int = 0
    per_second: float = 400.0
    policy: ReleasePolicy = field(default_factory=lambda: ReleasePolicy(strategy=Strategy.CANARY))
    replicas: int = 20
    action: str = ""
    base: int = 1
    ports: tuple = (PORT,)
    settle: int = 10
    reports: bool = True
    fingerprint: str = "new"
    restless: bool = False

    def __post_init__(self):
        self.now = BEGAN
        self.crowd = Crowd(self.seed, self.old, self.new, self.per_second)
        web = spec("web", self.action, self.replicas, self.policy, self.ports)
        newest = release(2, web, base=self.base, created_at=BEGAN, since=BEGAN)
        rollout = at(2, RolloutState.WAITING, since=BEGAN)
        self.scene = Scene(app=app(2), releases=(newest,), services=(service(web, rollout),))
        self.history = []
        self._made = 0
        self._made_at = None
        self.measured_from = None

    @property
    def release(self) -> Release:
        return self.scene.releases[-1]

    @property
    def stage(self):
        return self.release.stages.get("web")

    @property
    def app(self) -> App:
        return self.scene.app

    def run(self, until=lambda self: self.release.state is not ReleaseState.ROLLING, limit=900):
        """Let seconds pass until *until* holds."""
        for _ in range(limit):
            self.look()
            if until(self):
                return self
            self.second()
        raise AssertionError(f"nothing came of it in {limit} s: {self.release.stages} {self.scene.services[0].rollout}")

    def look(self):
        self.scene = after(self.scene, decide(self.scene, self.now))
        stage = self.stage
        if stage and (
            not self.history or self.history[-1][1:] != (stage.step, stage.tasks, stage.weight, stage.promoted)
        ):
            self.history.append((self.now - BEGAN, stage.step, stage.tasks, stage.weight, stage.promoted))

    def second(self):
        self.now += 1.0
        stage = self.stage
        self._orchestrate(stage)
        if stage is not None and not stage.promoted:
            self.measured_from = self.measured_from or self.now
            self.crowd.call(1.0, stage.weight)
            if self.reports and int(self.now) % REPORT_SECONDS == 0:
                self.report()

    def report(self):
        found = traffic(
            old=self.crowd.old.golden(), new=self.crowd.new.golden(),
            measured_from=self.measured_from, measured_at=self.now,
        )  # fmt: skip
        self.scene = replace(self.scene, traffic=(replace(found, fingerprint=self.fingerprint),))

    def rollout(self, state, **fields):
        """What the orchestrator says from now on, if it is news."""
        web = self.scene.services[0]
        if web.rollout.state is not state:
            self.scene = replace(
                self.scene, services=(replace(web, rollout=at(2, state, since=self.now, **fields)),)
            )  # fmt: skip

    def _orchestrate(self, stage):
        if stage is None:
            return
        if stage.promoted:
            self.rollout(RolloutState.DONE)
        elif stage.tasks > self._made:
            self._made, self._made_at = stage.tasks, self.now
            self.rollout(RolloutState.ROLLING)
        elif self.restless and stage.counted is not None:
            # A new task dies again and again; the orchestrator makes it anew.
            self.rollout(RolloutState.ROLLING)
        elif self.now - self._made_at >= self.settle:
            self.rollout(RolloutState.HELD, held=stage.tasks)
