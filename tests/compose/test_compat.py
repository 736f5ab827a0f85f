"""Every key has a class, and `pilothouse compat` says it for each key of a file, with its place."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.cli.commands.compat import compat
from pilothouse.compose import project_classes, service_classes, value_classes
from pilothouse.compose.classes import KeyClass
from pilothouse.compose.compat import judge
from pilothouse.compose.convert import convert
from pilothouse.compose.project_keys import PROJECT
from pilothouse.compose.service_keys import SERVICE
from pilothouse.errors import InvalidManifestError
from pilothouse.governance.policy.kinds import GRANT_KINDS

# The 93 service keys of the specification, as the reference table of this project lists them.
_NAMES = """
annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name cpu_count
cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on
deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file environment expose
extends external_links extra_hosts gpus group_add healthcheck hostname image init ipc isolation label_file labels
links logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit models network_mode networks
oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_start pre_stop privileged profiles
provider pull_policy pull_refresh_after read_only restart runtime scale secrets security_opt shm_size stdin_open
stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes
volumes_from working_dir
"""
SPECIFIED = _NAMES.split()

TABLES = [
    service_classes.SERVICE,
    service_classes.SERVICE_BELOW,
    project_classes.PROJECT,
    project_classes.NETWORK,
    project_classes.NETWORK_BELOW,
    project_classes.VOLUME,
    project_classes.SECRET,
    project_classes.CONFIG,
]


def verdicts(text):
    return {used.path: used.verdict.key_class for used in judge(text.encode(), "compose.yaml")}


def service(line):
    return verdicts(f"services:\n  web:\n    image: x\n    {line}\n")


def test_each_of_the_93_service_keys_has_a_class():
    assert len(SPECIFIED) == 93
    assert set(service_classes.SERVICE) == set(SPECIFIED)


def test_every_key_the_loader_knows_has_a_class():
    assert set(SERVICE) - set(service_classes.SERVICE) == set()
    assert set(PROJECT.fields) - set(project_classes.PROJECT) == set()


@pytest.mark.parametrize("table", TABLES, ids=range(len(TABLES)))
def test_every_verdict_says_why_and_every_refusal_what_to_do(table):
    for key, verdict in table.items():
        assert verdict.reason, key
        assert verdict.advice or verdict.key_class not in {KeyClass.REFUSED, KeyClass.WINDOWS}, key
        assert bool(verdict.grants) == (verdict.key_class is KeyClass.GRANT), key
        assert set(verdict.grants) <= set(GRANT_KINDS), key


def test_rules_by_value_belong_to_keys_that_exist():
    assert set(value_classes.BY_VALUE) <= set(service_classes.SERVICE)


@pytest.mark.parametrize(
    ("line", "path", "expected"),
    [
        ("network_mode: host", "network_mode", KeyClass.GRANT),
        ("network_mode: none", "network_mode", KeyClass.HONOURED),
        ("network_mode: bridge", "network_mode", KeyClass.CARE),
        ("network_mode: ${MODE}", "network_mode", KeyClass.CARE),
        ("network_mode: container:old", "network_mode", KeyClass.GRANT),
        ("ipc: shareable", "ipc", KeyClass.HONOURED),
        ("ipc: host", "ipc", KeyClass.GRANT),
        ("privileged: false", "privileged", KeyClass.HONOURED),
        ("privileged: true", "privileged", KeyClass.GRANT),
        ("oom_score_adj: -5", "oom_score_adj", KeyClass.GRANT),
        ("oom_score_adj: 5", "oom_score_adj", KeyClass.HONOURED),
        ("security_opt: [no-new-privileges]", "security_opt", KeyClass.HONOURED),
        ("security_opt: ['seccomp=unconfined']", "security_opt", KeyClass.GRANT),
        ("volumes: ['./a:/a']", "volumes[0]", KeyClass.GRANT),
        ("volumes: ['data:/a']", "volumes", KeyClass.CARE),
        ("volumes: [{type: npipe, source: a, target: /b}]", "volumes[0]", KeyClass.REFUSED),
        ("volumes: [{type: bind, source: /a, target: /b, bind: {recursive: disabled}}]",
         "volumes[0].bind.recursive", KeyClass.REFUSED),
        ("logging: {driver: syslog}", "logging.driver", KeyClass.GRANT),
        ("ulimits: {rtprio: 5}", "ulimits.rtprio", KeyClass.GRANT),
        ("post_start: [{command: a, privileged: true}]", "post_start[0].privileged", KeyClass.GRANT),
        ("deploy: {resources: {reservations: {devices: []}}}", "deploy.resources.reservations.devices",
         KeyClass.GRANT),
        ("pull_policy: build", "pull_policy", KeyClass.CARE),
        ("pull_policy: always", "pull_policy", KeyClass.HONOURED),
        ("hostname: 'web-{{.Task.Slot}}'", "hostname", KeyClass.REFUSED),
        ("tmpfs: ['/a:uid=5']", "tmpfs[0]", KeyClass.REFUSED),
        ("x-pilothouse: {}", "x-pilothouse", KeyClass.HONOURED),
        ("restrat: always", "restrat", KeyClass.REFUSED),
    ],
)  # fmt: skip
def test_the_value_can_decide(line, path, expected):
    assert service(line)[f"services.web.{path}"] is expected


def test_keys_of_other_places_are_judged_and_extensions_of_others_are_not():
    found = verdicts(
        "x-notes: {a: b}\nversion: '3'\nnetworks: {a: {external: true}, b: {external: false}}\n"
        "volumes: {v: {driver: nfs}}\nsecrets: {s: {driver: vault}}\nconfigs: {c: {content: a}}\nmodles: {}\n"
    )
    assert found == {
        "version": KeyClass.HONOURED,
        "networks.a.external": KeyClass.GRANT,
        "networks.b.external": KeyClass.HONOURED,
        "volumes.v.driver": KeyClass.GRANT,
        "secrets.s.driver": KeyClass.REFUSED,
        "configs.c.content": KeyClass.HONOURED,
        "modles": KeyClass.REFUSED,
    }


def _run(tmp_path, text, *options):
    file = tmp_path / "compose.yaml"
    file.write_text(text)
    return CliRunner().invoke(compat, [str(file), *options])


def test_the_command_prints_place_class_reason_and_advice(tmp_path):
    result = _run(tmp_path, "services:\n  web:\n    image: x\n    external_links: [a]\n")
    lines = result.output.splitlines()
    assert result.exit_code == 3
    assert [line.split()[0].rsplit(":", 1)[1] for line in lines[:2]] == ["3", "4"]
    assert "refused" in lines[1]
    assert lines[1].endswith("containers of other apps have no fixed name; join an external network, use its aliases")
    assert lines[2] == "2 keys: 1 honoured, 1 refused"


def test_the_command_ends_with_0_if_nothing_is_refused(tmp_path):
    result = _run(tmp_path, "services:\n  web:\n    image: x\n    privileged: true\n", "--format", "json")
    assert result.exit_code == 0
    assert [(one["path"], one["line"], one["class"], one["grants"]) for one in json.loads(result.output)] == [
        ("services.web.image", 3, "honoured", []),
        ("services.web.privileged", 4, "needs a grant", ["privileged"]),
    ]


def test_a_file_that_is_no_yaml_is_an_error_with_its_place(tmp_path):
    result = _run(tmp_path, "services: [\n")
    assert isinstance(result.exception, InvalidManifestError)
    assert "compose.yaml:" in str(result.exception)


SAMPLES = {
    "build": {"context": "."}, "deploy": {"replicas": 1}, "develop": {}, "extends": {"service": "a"},
    "healthcheck": {"disable": True}, "logging": {"driver": "local"}, "models": {"m": {}}, "restart": "always",
    "provider": {"type": "x"}, "credential_spec": {"file": "x"}, "stop_grace_period": "1s", "ports": [{"target": 80}],
    "configs": [{"source": "c"}], "secrets": [{"source": "s"}], "devices": [{"source": "/dev/a"}], "gpus": "all",
    "volumes": [{"type": "volume", "target": "/a"}], "tmpfs": ["/a"], "post_start": [{"command": ["a"]}],
    "pre_start": [{"command": ["a"]}], "pre_stop": [{"command": ["a"]}], "ulimits": {"nofile": 5},
    "blkio_config": {"weight": 300},
}  # fmt: skip
MAPPINGS = {"annotations", "depends_on", "environment", "labels", "networks", "storage_opt", "sysctls"}
LISTS = {"cap_add", "cap_drop", "command", "device_cgroup_rules", "dns", "dns_opt", "dns_search", "entrypoint",
         "env_file", "expose", "external_links", "extra_hosts", "group_add", "label_file", "links", "profiles",
         "security_opt", "volumes_from"}  # fmt: skip
FLAGS = {"attach", "init", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty", "use_api_socket"}
SIZES = {"mem_limit", "mem_reservation", "memswap_limit", "shm_size"}
NUMBERS = {"cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares",
           "cpus", "mem_swappiness", "oom_score_adj", "pids_limit", "scale"}  # fmt: skip


def _sample(key):
    for keys, value in (
        (MAPPINGS, {"a": None}),
        (LISTS, ["a"]),
        (FLAGS, True),
        (SIZES, "64m"),
        (NUMBERS, 1),
        (SAMPLES, SAMPLES.get(key)),
    ):
        if key in keys:
            return value
    return "a"


@pytest.mark.parametrize("key", SPECIFIED)
def test_what_is_refused_here_is_refused_by_the_conversion_and_nothing_else_is(key):
    """`use_api_socket` is refused too, but by policy on the server, which must not trust a client."""
    service = {"image": "web", key: _sample(key)}
    refused = service_classes.SERVICE[key].key_class is KeyClass.REFUSED and key != "use_api_socket"
    project = {"name": "a", "services": {"web": service}}
    if refused:
        with pytest.raises(InvalidManifestError, match=rf"services\.web\.{key}: "):
            convert(project, project_directory="/", read_file=lambda _: b"")
        return
    made = convert(project, project_directory="/", read_file=lambda _: b"")
    if service_classes.SERVICE[key].key_class is KeyClass.WINDOWS:
        assert made.warnings[0].startswith(f"services.web.{key}: is for Windows")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text("ab$:/.{[é", max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SPECIFIED), inner),
                    max_leaves=8))  # fmt: skip
def test_no_document_makes_it_fail(value):
    document = {"services": {"web": value}, "networks": value, "volumes": {"a": value}}
    text = json.dumps(document, ensure_ascii=False)
    for used in judge(text.encode(), "f"):
        assert used.line >= 1
