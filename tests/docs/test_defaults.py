"""The page of defaults says what the code does."""

import pathlib

import pytest

from pilothouse import backoff
from pilothouse.compose.convert import files
from pilothouse.control.orchestrators import failures, reaper, restart, retention, rollout
from pilothouse.control.resources import ports
from pilothouse.model import container, hardening, placement, spec
from pilothouse.server.deploy import crowding

PAGE = (pathlib.Path(__file__).parent.parent.parent / "docs" / "reference" / "defaults.md").read_text()
ROWS = dict(line.strip("| ").split(" | ", 1) for line in PAGE.splitlines() if line.startswith("| "))
PROBE = spec.Probe(kind=spec.ProbeKind.TCP)
CONTAINER = container.ContainerSpec(image="x")
BACKOFF = backoff.delay_seconds.__kwdefaults__
WAITS = [f"{BACKOFF['first']:g} s", f"{BACKOFF['cap']:g} s", f"{100 * BACKOFF['jitter']:g} %"]


@pytest.mark.parametrize(
    ("row", "facts"),
    [
        ("`deploy.mode`", [spec.ServiceSpec(name="x", task=spec.TaskSpec(container=CONTAINER)).mode.value]),
        (
            "`deploy.replicas`",
            ["1;", f"{crowding.REPLICAS_PER_NODE:,} for a service", f"{crowding.TASKS_PER_NODE:,} for an app"],
        ),
        (
            "`x-pilothouse.placement.priority`, `preemptible`",
            [f"normal ({placement.PRIORITIES['normal']}), true", f"least {placement.PREEMPTION_GAP} higher"],
        ),
        ("`x-pilothouse.placement.prefer[].weight`", [f"{placement.Preference(constraint='').weight};"]),
        ('host port of `ports: ["80"]`', [f"{ports.FIRST_CHOSEN} to {ports.LAST_CHOSEN}"]),
        ("`restart`, `deploy.restart_policy.condition`", [f"{spec.RestartPolicy().condition.value};"]),
        ("wait before the next attempt", WAITS),
        ("failures are forgotten", [f"{restart.STABLE_SECONDS:g} s"]),
        ("a slot is parked", [f"after {restart.PARKED_AFTER} failures"]),
        ("exit 0 of a service", [f"{restart.CLEAN_EXIT_GAP_SECONDS:g} s"]),
        ("`stop_grace_period`", [f"{CONTAINER.stop_grace_seconds:g} s"]),
        ("kept of dead tasks", [f"last {reaper.KEPT_PER_SERVICE} of a", f"{reaper.KEPT_SECONDS / 86_400:g} days"]),
        ("kept releases", [f"newest {retention.KEPT_RELEASES}"]),
        ("`update_config.monitor`", [f"{rollout.MONITOR_SECONDS:g} s"]),
        (
            "`x-pilothouse.release.settle`",
            [f"{rollout.STABLE_SETTLE_SECONDS:g} s after", f"{rollout.SETTLE_SECONDS:g} s for"],
        ),
        ("`update_config.failure_action`", [f"{failures.FAILURES_THAT_STOP} failures"]),
        ("`x-pilothouse.release.deadline`", [f"{rollout.DEADLINE_SECONDS:g} s"]),
        ("`probes.*.interval`, `timeout`", [f"{PROBE.interval_seconds:g} s, {PROBE.timeout_seconds:g} s"]),
        ("`probes.*.failures`, `successes`", [f"{PROBE.failures}, {PROBE.successes}"]),
        ("`cap_add`, `cap_drop`", hardening.DEFAULT_CAPABILITIES),
        ("`security_opt`", [hardening.NO_NEW_PRIVILEGES.partition(":")[0]]),
        ("`pids_limit`", [str(hardening.DEFAULT_PIDS)]),
        ("`logging`", [hardening.DEFAULT_LOGGING.driver, *hardening.DEFAULT_LOGGING.options.values()]),
        ("one secret or config", [f"{files.MAX_BYTES:,} bytes"]),
    ],
)  # fmt: skip
def test_each_figure_is_the_one_in_the_code(row, facts):
    assert [fact for fact in facts if fact not in ROWS[row]] == []


def test_the_capabilities_are_exactly_these():
    kept = ROWS["`cap_add`, `cap_drop`"].split(" are kept")[0].replace(" and ", ", ")
    assert tuple(kept.split(", ")) == hardening.DEFAULT_CAPABILITIES


def test_an_update_works_on_a_quarter():
    service = spec.ServiceSpec(name="x", task=spec.TaskSpec(container=CONTAINER))
    assert [rollout.parallelism(service, count) for count in (1, 4, 8)] == [1, 1, 2]
    assert rollout.update_order(service) is spec.UpdateOrder.START_FIRST
