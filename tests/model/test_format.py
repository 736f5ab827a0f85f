"""What a newer version writes while the platform's format is older: everything an older one knows, and nothing else."""

import enum

import msgspec
import pytest
from hypothesis import given, settings

from pilothouse.errors import NotYetError, SkewError
from pilothouse.model import format as formats
from pilothouse.model.container import ContainerSpec
from pilothouse.model.fingerprint import fingerprint
from pilothouse.model.format import FORMAT, Format, check_readable, fit, number_in, number_of
from pilothouse.model.objects import ResolvedImage, Service
from pilothouse.model.skew import Codec
from pilothouse.model.spec import ServiceSpec, TaskSpec
from tests.model.generations import written
from tests.model.shape import kept, names, shape

ADVICE = (
    "what is stored or sent changed. If this format was released, raise FORMAT and name what is new in NEW; "
    "if it was not, run `python -m tests.model.shape`"
)
FEW = settings(max_examples=30)
ENCODE, DECODE = msgspec.json.encode, msgspec.json.decode


@FEW
@given(written())
def test_an_older_reader_knows_all_that_is_written_and_loses_nothing_of_it(case):
    both, value = case
    fitted = fit(value, 1, new={2: both.news})
    read = DECODE(ENCODE(fitted), type=both.older)
    assert DECODE(ENCODE(read), type=both.newer) == fitted
    assert fit(fitted, 1, new={2: both.news}) is fitted


@FEW
@given(written())
def test_what_an_older_one_can_say_is_written_as_it_is(case):
    both, value = case
    plain = fit(value, 1, new={2: both.news})
    try:
        kept = fit(value, 1, asked=True, new={2: both.news})
    except NotYetError:
        assert plain != value
    else:
        assert kept == plain == value


@FEW
@given(written())
def test_once_the_format_is_raised_everything_is_written(case):
    both, value = case
    assert fit(value, 2, new={2: both.news}) is value


@FEW
@given(written(members=False))
def test_a_message_is_read_without_what_is_not_known(case):
    both, value = case
    news = {2: both.news}
    for json, encode in ((False, msgspec.msgpack.encode), (True, ENCODE)):
        written = DECODE(ENCODE(fit(value, 1, new=news)), type=both.older)
        assert Codec(both.older, json=json).decode(encode(value)) == written


class Colour(enum.Enum):
    RED = "red"
    PINK = "pink"


class Door(msgspec.Struct, frozen=True):
    colour: Colour = Colour.RED
    hinges: tuple[str, ...] = ()


NEWS = {2: {"Door.hinges": ""}, 3: {"Colour.PINK": "RED", "Window": ""}}


def test_each_format_brings_its_own():
    door = Door(Colour.PINK, ("oil",))
    assert fit((door, {"k": door}), 3, new=NEWS) == (door, {"k": door})
    assert fit((door, {"k": door}), 2, new=NEWS)[1]["k"] == Door(Colour.RED, ("oil",))
    assert fit(door, 1, new=NEWS) == Door()


def test_what_a_person_asks_for_is_refused_instead_of_left_out():
    with pytest.raises(NotYetError, match=r"Door\.hinges cannot be used before"):
        fit(Door(hinges=("oil",)), 1, asked=True, new=NEWS)
    with pytest.raises(NotYetError, match=r"Colour\.PINK"):
        fit(Door(Colour.PINK), 2, asked=True, new=NEWS)
    assert fit(Door(), 1, asked=True, new=NEWS) == Door()


def test_a_kind_that_came_later_is_never_written_before():
    class Window(msgspec.Struct):
        pass

    with pytest.raises(NotYetError, match="Window"):
        fit(Window(), 2, new=NEWS)


@pytest.mark.parametrize(("known", "said", "fits"), [(3, 1, False), (3, 2, True), (3, 3, True), (3, 4, False)])
def test_a_version_reads_its_format_and_the_one_before(monkeypatch, known, said, fits):
    monkeypatch.setattr(formats, "FORMAT", known)
    if fits:
        check_readable(said, "the store")
    else:
        with pytest.raises(SkewError, match=f"the store has format {said}"):
            check_readable(said, "the store")


def test_a_format_is_found_in_what_a_later_version_wrote():
    assert number_in(None) == 1
    assert number_in(ENCODE(Format(id="format"))) == 1
    assert number_in(b'{"id":"format","number":7,"mood":{"calm":true}}') == 7
    with pytest.raises(SkewError):
        number_in(b"[7]")


def test_an_empty_store_has_the_newest_format_and_one_that_says_nothing_the_first():
    assert number_of(None, 0) == FORMAT
    assert number_of(None, 5) == 1
    assert number_of(Format(id="format", number=4), 9) == 4


def test_what_is_new_is_named_as_it_is_called():
    """A name that is misspelt would let everything through."""
    known = set(names())
    for brought in formats.NEW.values():
        assert set(brought) <= known

    assert {"Node.description", "NodeState.DOWN", "Node", "Changes.tasks"} <= known


def test_nothing_of_a_released_format_changes():
    """What is new must be in `model.format.NEW`, with a default; everything else stays as it was, in its order.

    Until a format is released, `python -m tests.model.shape` writes it down anew.
    """
    brought = formats.NEW.get(FORMAT, {})
    lines = shape()
    if brought:
        later = [line for line in lines if _is_new(line, brought)]
        assert all(" = " in line for line in later if brought.get(line.partition(":")[0]) == "")
        assert [line for line in lines if line not in later] == kept(FORMAT - 1)
    else:
        assert lines == kept(FORMAT), ADVICE


def _is_new(line, brought):
    name = line.partition(":")[0]
    return name in brought or name.partition(".")[0] in brought


def test_a_service_has_the_same_fingerprint_in_every_version():
    """Another fingerprint would have every task of every app replaced by an upgrade."""
    container = ContainerSpec(image="web:1", environment={"A": "1"}, command=("run", "it"))
    service = Service(
        id="shop/web",
        app="shop",
        name="web",
        spec=ServiceSpec(name="web", task=TaskSpec(container=container), replicas=3),
        image=ResolvedImage(ref="web:1", id="sha256:abc"),
    )
    assert fingerprint(service, {"key": "1"}, {"conf": "2"}, ("dep",)) == "2708b97aa6b1760b"
