"""Differences as people read them: a path, before, after, and never a secret."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse.model.container import ContainerSpec, Healthcheck, Limits, Mount, MountKind, Port
from pilothouse.model.diff import HIDDEN, LONGEST, diff, secret_like
from pilothouse.model.objects import FieldChange, Secret
from pilothouse.model.spec import AppSpec, FileSpec, Mode, Probe, ProbeKind, Probes, ServiceSpec, TaskSpec
from tests.model.specs import anything, sensible_apps


def service(name="web", mode=Mode.REPLICATED, probes=None, **container):
    body = ContainerSpec(**{"image": "web:1", **container})
    return ServiceSpec(name=name, mode=mode, task=TaskSpec(container=body, probes=probes or Probes()))


def test_nothing_differs_from_itself():
    assert diff(service(), service()) == ()


def test_a_changed_variable_is_named_by_its_path():
    found = diff(service(environment={"DEBUG": "0", "A": "1"}), service(environment={"DEBUG": "1", "B": "2"}))
    assert found == (
        FieldChange(path="task.container.environment.A", before="1"),
        FieldChange(path="task.container.environment.B", after="2"),
        FieldChange(path="task.container.environment.DEBUG", before="0", after="1"),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "x"),
        ("API_KEY", "x"),
        ("APIKEY", "x"),
        ("AUTH_TOKEN", "x"),
        ("KEY", "x"),
        ("db.password", "x"),
        ("DATABASE_URL", "postgres://shop:hunter2@db/shop"),
        ("CERT", "-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_but_its_change_is_told(name, value):
    (found,) = diff(service(environment={name: value}), service(environment={name: value + "2"}))
    assert found == FieldChange(path=f"task.container.environment.{name}", before=HIDDEN, after=HIDDEN)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (("run", "--password", "hunter2", "-v"), "run --password '(hidden)' -v"),
        (("run", "--token=hunter2"), "run '--token=(hidden)'"),
        (("run", "http://a:hunter2@b/"), "run '(hidden)'"),
    ],
)
def test_a_password_on_a_command_line_is_hidden(command, shown):
    (found,) = diff(service(command=("run",)), service(command=command))
    assert found.after == shown


@pytest.mark.parametrize(("name", "value"), [("MONKEY", "x"), ("COMPASS", "north"), ("URL", "http://api:8080/x@y")])
def test_ordinary_variables_are_shown(name, value):
    assert not secret_like(name, value)


def test_commands_read_like_a_shell_line_and_amounts_like_numbers():
    before = service(command=("run", "a b"), limits=Limits(memory_bytes=1))
    after = service(command=None, limits=Limits(memory_bytes=2), tty=True)
    assert diff(before, after, "services.web") == (
        FieldChange(path="services.web.task.container.command", before="run 'a b'"),
        FieldChange(path="services.web.task.container.tty", before="false", after="true"),
        FieldChange(path="services.web.task.container.limits.memory_bytes", before="1", after="2"),
    )


def test_list_elements_are_told_apart_by_name_not_by_place():
    a, b = service("a"), service("b")
    changed = service("b", mode=Mode.GLOBAL)
    before, after = AppSpec(name="shop", services=(a, b)), AppSpec(name="shop", services=(changed,))
    found = diff(before, after)
    assert [(c.path, c.after) for c in found] == [("services[a]", ""), ("services[b].mode", "global")]


def test_a_mount_that_became_read_only_is_one_change():
    first = Mount(kind=MountKind.TMPFS, target="/t")
    second, changed = (Mount(kind=MountKind.TMPFS, target="/u", read_only=ro) for ro in (False, True))
    before, after = service(mounts=(first, second)), service(mounts=(first, changed))
    assert diff(before, after) == (
        FieldChange(path="task.container.mounts[/u].read_only", before="false", after="true"),
    )


def test_an_order_that_matters_is_told():
    a, b = Port(target=1), Port(target=2)
    (found,) = diff(service(ports=(a, b)), service(ports=(b, a)))
    assert (found.path, found.after) == ("task.container.ports", "2, 1")


def test_an_added_part_is_shown_short_with_its_secrets_hidden():
    probe = Probe(kind=ProbeKind.HTTP, port=80, headers={"Authorization": "Bearer abc", "Host": "shop"})
    (found,) = diff(service(), service(probes=Probes(ready=probe)))
    assert found.path == "task.probes.ready"
    assert "Bearer" not in found.after
    assert '"Host":"shop"' in found.after
    (added,) = diff(service(healthcheck=None), service(healthcheck=Healthcheck(test=("CMD", "x" * 500))))
    assert len(added.after) == LONGEST


def test_the_content_of_a_secret_is_only_counted():
    spec = FileSpec(key="key", name="shop_key")
    one, two = (Secret(id="shop/key", app="shop", spec=spec, sealed=sealed) for sealed in (b"one", b"three"))
    assert diff(one, two) == (FieldChange(path="sealed", before="(3 bytes)", after="(5 bytes)"),)


@given(sensible_apps(), sensible_apps())
def test_there_is_a_change_if_and_only_if_two_apps_differ(one, other):
    assert (diff(one, other) == ()) == (one == other)
    assert diff(one, one) == ()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(anything(ContainerSpec), anything(ContainerSpec))
def test_any_two_containers_can_be_compared_and_told(one, other):
    for change in diff(one, other):
        assert change.path
        assert max(len(change.before), len(change.after)) <= LONGEST
        assert msgspec.json.decode(msgspec.json.encode(change), type=FieldChange) == change


@given(st.dictionaries(st.sampled_from(["PASSWORD", "X_TOKEN", "MY_SECRET"]), st.just("hunter2"), min_size=1))
def test_no_password_is_ever_told(environment):
    found = diff(service(), service(environment=environment)) + diff(None, service(environment=environment))
    assert "hunter2" not in repr(found)
