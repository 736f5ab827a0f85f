"""What the loader makes of a document is what the reference implementation makes of it, byte for byte.

Every document in tests/fixtures/compose is loaded by both. `single/` holds one-file projects; a directory in `several/`
holds one project of several files with `case.json` saying how it is called.
"""

import json
import pathlib

import pytest

from pilothouse.compose import render
from pilothouse.compose.load import LoadOptions, load
from pilothouse.errors import InvalidManifestError
from tests.compose import reference

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures" / "compose"
SINGLE = sorted((FIXTURES / "single").glob("*.yaml"))
SEVERAL = sorted(path.parent for path in (FIXTURES / "several").glob("*/case.json"))
VARIABLES = {
    "SET": "value",
    "EMPTY": "",
    "lower": "l",
    "N": "3",
    "SIMPLE_CONFIG_VALUE": "cv",
    "TOKEN": "tok",
    "INHERITED": "inh",
}

pytestmark = pytest.mark.slow


def _name(path):
    return path.stem


def ours(directory, environment, output="json", **options):
    """Return what our loader prints, or None when it refuses."""
    caller = {"HOME": "/nonexistent", "PATH": "/usr/bin:/bin", **environment}
    try:
        loaded = load(LoadOptions(environment=caller, current_directory=str(directory), **options))
    except InvalidManifestError as error:
        return None, str(error)
    return (render.as_json if output == "json" else render.as_yaml)(loaded.project), ""


def theirs(directory, environment, output="json", files=(), **options):
    """Return what the reference prints, or None when it refuses."""
    flags = []
    for name in ("project_directory", "project_name"):
        if options.get(name):
            flags += [f"--{name.replace('_', '-')}", options[name]]
    for name in ("profiles", "env_files"):
        for value in options.get(name, ()):
            flags += [f"--{name.replace('_', '-').removesuffix('s')}", value]
    answer = reference.config(files, directory, *flags, environment=environment, output=output)
    return (answer.out if answer.accepted else None), answer.err


@pytest.mark.parametrize("output", ["json", "yaml"])
@pytest.mark.parametrize("path", SINGLE, ids=_name)
def test_a_document_loads_as_the_reference_loads_it(path, output):
    expected, why = theirs(FIXTURES, VARIABLES, output, files=[path])
    assert expected is not None, why
    found, error = ours(FIXTURES, VARIABLES, output, files=(str(path),))
    assert error == ""
    assert found == expected


@pytest.mark.parametrize("output", ["json", "yaml"])
@pytest.mark.parametrize("directory", SEVERAL, ids=_name)
def test_a_project_of_several_files_loads_as_the_reference_loads_it(directory, output):
    case = json.loads((directory / "case.json").read_text())
    environment = {**VARIABLES, **case.get("environment", {})}
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in case["options"].items()}
    expected, why = theirs(directory, environment, output, **options)
    found, error = ours(directory, environment, output, **options)
    if case.get("refused"):
        assert expected is None, "the reference takes it"
        assert found is None, "we take it"
        return
    assert expected is not None, why
    assert error == ""
    assert found == expected
