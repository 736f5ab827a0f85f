"""What holds for every slot of one rollout at one moment: its policy, how far it may go, and what has failed in it."""

import msgspec

from pilothouse.control.orchestrators.failures import failures
from pilothouse.control.orchestrators.plan import Plan
from pilothouse.control.orchestrators.rollout import FailureAction, Policy, policy_of
from pilothouse.control.orchestrators.scene import Key, Scene, Slot
from pilothouse.control.orchestrators.steps import failed_step
from pilothouse.model.rollout import Evidence, Rollout, RolloutState, Stage
from pilothouse.model.spec import UpdateOrder


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a rollout, worked out once for each look.

    Attributes:
        failed: What shows that the new task of a slot failed, by slot.
        step: What shows that a once-per-release step failed; without it no new task can be made.
        stopped: So many failed, or so they did before, that nothing more is replaced; what is old stays.
        paused: A person paused it: no slot is begun, nothing old is stopped.
        stage: How far it may go, if it goes in stages and is not promoted yet; None lets it go on.
        admitted: The slots that *stage* lets have a new task.
    """

    rule: Policy
    failed: dict[Key, Evidence] = {}
    step: Evidence | None = None
    stopped: bool = False
    paused: bool = False
    stage: Stage | None = None
    admitted: frozenset[Key] = frozenset()

    @property
    def start_first(self) -> bool:
        """Whether a new task starts before the old one of its slot stops; beside it in a stage."""
        return self.stage is not None or self.rule.order is UpdateOrder.START_FIRST

    def admits(self, slot: Slot) -> bool:
        """Whether the stage, if there is one, lets *slot* have a new task."""
        return self.stage is None or slot.key in self.admitted

    def keeps_old(self, slot: Slot) -> bool:
        """Whether an old task of *slot* that dies is made again as it was."""
        return self.stopped or self.paused or not self.admits(slot)


def said_before(scene: Scene) -> Rollout | None:
    """Return what was last written of the newest release, or None if nothing was yet."""
    said = scene.service.rollout
    return said if scene.app is not None and said.release == scene.app.revision else None


def course_of(scene: Scene, wanted: list[Slot], plan: Plan) -> Course:
    """Return what holds for the rollout of *wanted* now."""
    rule = policy_of(scene, len(wanted))
    failed = failures(scene, wanted, rule, plan)
    too_many = len(failed) > rule.max_failure_ratio * len(wanted)
    goes_on = rule.failure_action is FailureAction.CONTINUE
    step = failed_step(scene)
    stage = _stage(scene, wanted)
    keys = [slot.key for slot in wanted]
    return Course(
        rule=rule,
        failed=failed,
        step=step,
        stopped=step is not None or (not goes_on and (too_many or _has_stopped(scene, rule))),
        paused=scene.app is not None and scene.app.paused,
        stage=stage,
        admitted=frozenset(keys[: stage.tasks]) if stage else frozenset(),
    )


def _has_stopped(scene: Scene, rule: Policy) -> bool:
    """Whether the rollout failed at an earlier look, and nobody has it go on since."""
    before = said_before(scene)
    if before is None or before.state is not RolloutState.FAILED or scene.app is None:
        return False
    return rule.guarded and before.since > scene.app.resumed_at


def _stage(scene: Scene, wanted: list[Slot]) -> Stage | None:
    """Return the stage that holds the rollout back; one that is not decided yet lets nothing begin."""
    if not scene.in_stages or not any(_is_behind(scene, slot) for slot in wanted):
        return None
    stage = scene.stage or Stage()
    return None if stage.promoted else stage


def _is_behind(scene: Scene, slot: Slot) -> bool:
    """Whether something of an older release is in *slot*, or was until it died."""
    return bool(slot.outdated) or (slot.latest is not None and slot.latest.fingerprint != scene.fingerprint)
