"""A deployment writes what differs and nothing else, whatever was there before."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.model.objects import App, Config, Network, ResolvedImage, Secret, Service, Volume
from pilothouse.model.release import FileVersion, Release
from pilothouse.model.spec import AppSpec, FileSpec, NetworkSpec, VolumeSpec
from pilothouse.server.deploy.describe import Hidden
from pilothouse.server.deploy.plan import Asked, Content, Stored, plan
from tests.examples import examples
from tests.server.harness import service

NAMES = st.sampled_from(["a", "b", "c"])
SERVICES = st.dictionaries(NAMES, st.tuples(st.sampled_from(["i:1", "i:2"]), st.integers(0, 3)), max_size=3)
KEYS = st.sets(NAMES, max_size=3)
CONTENTS = st.dictionaries(NAMES, st.binary(max_size=2), max_size=3)


@st.composite
def deployments(draw):
    secrets, configs = draw(CONTENTS), draw(CONTENTS)
    spec = AppSpec(
        name="shop",
        services=tuple(service(n, image, replicas=r) for n, (image, r) in draw(SERVICES).items()),
        networks=tuple(NetworkSpec(key=k, name=f"shop_{k}", internal=draw(st.booleans())) for k in draw(KEYS)),
        volumes=tuple(VolumeSpec(key=k, name=f"shop_{k}") for k in draw(KEYS)),
        secrets=tuple(FileSpec(key=k, name=k) for k in secrets),
        configs=tuple(FileSpec(key=k, name=k) for k in configs),
    )
    return Asked(
        spec=spec,
        images={s.name: ResolvedImage(ref=s.task.container.image, id=draw(NAMES)) for s in spec.services},
        secrets={k: Content(c.hex(), b"sealed" + c) for k, c in secrets.items()},
        configs={k: Content(c.hex(), c) for k, c in configs.items()},
        keep_orphans=draw(st.booleans()),
        principal="uid:0(root)",
        now=draw(st.floats(1, 10)),
    )


FIELDS = {Service: "services", Network: "networks", Volume: "volumes", Secret: "secrets", Config: "configs"}


def applied(stored, made):
    """Return what is stored after the writes of a plan."""
    found = {name: dict(getattr(stored, name)) for name in FIELDS.values()}
    app, releases, versions = stored.app, list(stored.releases), dict(stored.versions)
    for obj in made.writes:
        if isinstance(obj, App):
            app = obj
        elif isinstance(obj, Release):
            releases.append(obj)
        elif isinstance(obj, FileVersion):
            assert obj.id not in versions
            versions[obj.id] = obj
        else:
            found[FIELDS[type(obj)]][obj.id.removeprefix("shop/")] = obj
    return Stored(app=app, releases=tuple(releases), versions=versions, **found)


@examples(40)
@given(st.lists(deployments(), min_size=1, max_size=4))
def test_after_any_history_the_stored_app_is_the_one_asked_for(history):
    stored = Stored()
    for asked in history:
        before, made = stored, plan(stored, asked)
        stored = applied(stored, made)
        assert stored.app.spec == asked.spec
        for spec in asked.spec.services:
            assert (stored.services[spec.name].spec, stored.services[spec.name].removing) == (spec, False)
            assert stored.services[spec.name].image == asked.images[spec.name]
        for name, content in asked.secrets.items():
            assert stored.secrets[name].content_version == content.version
        named = {spec.name for spec in asked.spec.services}
        for name, left in stored.services.items():
            assert name in named or left.removing or asked.keep_orphans
        for key, volume in stored.volumes.items():
            assert not volume.removing, key
        result = made.result
        assert set(result.created) | set(result.changed) | set(result.unchanged) == named
        untouched = {w.id for w in made.writes if isinstance(w, Service)} & {f"shop/{n}" for n in result.unchanged}
        assert untouched == set()
        assert result.revision == stored.app.revision == (before.app.revision if before.app else 0) + bool(made.writes)


@examples(40)
@given(deployments())
def test_deploying_twice_writes_once(asked):
    stored = applied(Stored(), plan(Stored(), asked))
    again = plan(stored, msgspec.structs.replace(asked, now=asked.now + 1, principal="uid:1(other)"))
    assert (again.writes, again.changes) == ((), ())
    assert again.result.revision == 1
    assert set(again.result.unchanged) == {s.name for s in asked.spec.services}


@examples(40)
@given(deployments())
def test_the_record_of_a_change_shows_no_contents(asked):
    hidden = service("web", "i:1", environment={"PASSWORD": "hunter2"})
    spec = msgspec.structs.replace(asked.spec, services=(hidden,))
    first = msgspec.structs.replace(asked, spec=spec, images={"web": ResolvedImage(ref="i:1")})
    stored = applied(Stored(), plan(Stored(), first))
    other = service("web", "i:1", environment={"PASSWORD": "hunter3"})
    second = msgspec.structs.replace(first, spec=msgspec.structs.replace(spec, services=(other,)))
    for made in (plan(Stored(), first), plan(stored, second)):
        assert "hunter" not in repr(made.changes)
        (found,) = [c for c in made.changes if c.path.endswith("environment.PASSWORD")]
        assert found.after == "(hidden)"


def test_a_network_that_exists_keeps_its_options_and_the_answer_says_so():
    def asked(internal):
        spec = AppSpec(name="shop", networks=(NetworkSpec(key="n", name="shop_n", internal=internal),))
        return Asked(
            spec=spec, images={}, secrets={}, configs={}, keep_orphans=False, principal="uid:0", now=1.0
        )  # fmt: skip

    stored = applied(Stored(), plan(Stored(), asked(False)))
    (warning,) = plan(stored, asked(True)).result.warnings
    assert "network shop_n exists and keeps the options" in warning


def test_a_hidden_value_compares_and_does_not_show():
    assert Hidden("a") == Hidden("a")
    assert Hidden("a") != Hidden("b")
    assert Hidden("(hidden)") != "(hidden)"
    assert "a" not in f"{Hidden('a')}".replace("hidden", "")
