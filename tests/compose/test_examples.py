"""Every example loads, converts, makes sense and uses nothing that is refused; the engine's tests run them."""

import pathlib

import pytest

from pilothouse.compose.compat import judge
from pilothouse.compose.convert import convert_loaded
from pilothouse.compose.load import LoadOptions, load
from pilothouse.governance.policy.evaluate import refusals
from pilothouse.model.validate import validate

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"
FILES = sorted(EXAMPLES.glob("*/compose.yaml"))


def made(path):
    return convert_loaded(load(LoadOptions(files=(str(path),), current_directory=str(path.parent))))


def test_there_are_examples():
    assert len(FILES) >= 8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_an_example_makes_sense_and_needs_no_grant(path):
    found = made(path)
    assert found.warnings == ()
    assert validate(found.spec) == ()
    assert refusals(found.spec, (), 0.0) == ()
    assert found.spec.name == path.parent.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_an_example_uses_nothing_that_is_refused(path):
    assert [used.path for used in judge(path.read_bytes(), str(path)) if used.refused] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_an_example_is_converted_to_the_same_app_each_time(path):
    assert made(path) == made(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_an_example_uses_local_images_only(path):
    images = {service.task.container.image for service in made(path).spec.services}
    assert all(image.startswith("pilothouse/") for image in images)


def test_every_example_has_a_line_in_the_table():
    table = (EXAMPLES / "README.md").read_text()
    assert [path.parent.name for path in FILES if f"({path.parent.name}/" not in table] == []
