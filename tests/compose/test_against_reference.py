"""What the loader makes of a document is what the reference implementation makes of it, byte for byte.

Every document in tests/fixtures/compose is loaded by both. `single/` holds one-file projects; a directory in `several/`
holds one project of several files with `case.json` saying how it is called.
"""

import json
import pathlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse.compose import render
from pilothouse.compose.load import LoadOptions, load
from pilothouse.errors import InvalidManifestError
from tests.compose import documents, reference

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


def _lines(name):
    text = (FIXTURES / "lines" / name).read_text()
    return [line.replace("\\n", "\n") for line in text.splitlines()]


def _service(line):
    image = "" if line.startswith("image:") else "    image: i\n"
    return f"services:\n  a:\n{image}    {line}\n"


LINES = [_service(line) for line in _lines("services.txt")] + [f"{line}\n" for line in _lines("projects.txt")]


def agree(directory, names, environment):
    """Assert that both load the files alike or both refuse them; return whether they load.

    The reference ends with a panic on a few documents; whatever we say to those is better.
    """
    expected, why = theirs(directory, environment, files=names, project_name="p")
    found, error = ours(directory, environment, files=tuple(names), project_name="p")
    if "panic: " in why:
        return False
    assert (found is None) == (expected is None), f"reference: {why or 'loads it'}; we: {error or 'load it'}"
    assert found == expected
    return found is not None


@pytest.mark.parametrize("text", LINES, ids=range(len(LINES)))
def test_a_line_is_loaded_or_refused_as_by_the_reference(text, tmp_path):
    (tmp_path / "compose.yaml").write_text(text)
    agree(tmp_path, ["compose.yaml"], {"SET": "value", "EMPTY": ""})


CHANCE = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@CHANCE
@given(project=documents.documents())
def test_any_document_is_loaded_or_refused_as_by_the_reference(project, tmp_path):
    (tmp_path / "compose.yaml").write_text(documents.text(project))
    agree(tmp_path, ["compose.yaml"], {"SET": "value", "N": "3"})


@CHANCE
@given(project=documents.documents(6), data=st.data())
def test_any_override_is_merged_as_by_the_reference(project, data, tmp_path):
    keys = [key for key in project["services"]["web"] if key != "image"]
    keys += data.draw(st.lists(st.sampled_from(sorted(documents.FIELDS)), max_size=2))
    over = {"services": {"web": {key: data.draw(documents.FIELDS[key]) for key in dict.fromkeys(keys)}}}
    (tmp_path / "a.yaml").write_text(documents.text(project))
    (tmp_path / "b.yaml").write_text(documents.text(over))
    agree(tmp_path, ["a.yaml", "b.yaml"], {"SET": "value", "N": "3"})


SIGNS = [
    "$",
    "{",
    "}",
    "${",
    "SET",
    "EMPTY",
    "UNSET",
    ":-",
    "-",
    ":?",
    "?",
    ":+",
    "+",
    " ",
    "x",
    "$$",
    "${UNSET:-",
    "1",
]


@CHANCE
@given(template=st.lists(st.sampled_from(SIGNS), max_size=8).map("".join))
def test_any_template_is_replaced_as_by_the_reference(template, tmp_path):
    (tmp_path / "compose.yaml").write_text(json.dumps({"services": {"a": {"image": "x", "labels": {"k": template}}}}))
    agree(tmp_path, ["compose.yaml"], {"SET": "value", "EMPTY": ""})


SHELL = ["a", "b", " ", "'", '"', "\\", "$$(", ")", "(", "`", ";", "&&", "|", "2>", "<", "\t", "n", "\u00e9", "''"]


@CHANCE
@given(line=st.lists(st.sampled_from(SHELL), max_size=10).map("".join))
def test_any_command_line_is_split_as_by_the_reference(line, tmp_path):
    (tmp_path / "compose.yaml").write_text(json.dumps({"services": {"a": {"image": "x", "command": line}}}))
    agree(tmp_path, ["compose.yaml"], {})


DOTENV = [
    "A",
    "B",
    "=",
    "=",
    "\n",
    " ",
    "'",
    '"',
    "\\",
    "#",
    " #",
    "$",
    "${A}",
    "x",
    "1",
    ":",
    "\\n",
    "\u00e9",
    "\t",
    ".",
]


@CHANCE
@given(lines=st.lists(st.sampled_from(DOTENV), max_size=14).map("".join))
def test_any_environment_file_is_read_as_by_the_reference(lines, tmp_path):
    (tmp_path / "a.env").write_text(lines + "\n")
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x, env_file: a.env}}")
    agree(tmp_path, ["compose.yaml"], {"A": "x y"})


TEXT = [
    *":#-?,[]{}&*!|>'\"%@`= \n\t~abY1_.0+eon<\\\u00e9\u2603\x07",
    ": ",
    " #",
    "null",
    "true",
    "---",
    "...",
    "12:30",
    "0x",
]
STRINGS = st.lists(st.sampled_from(TEXT), max_size=6).map("".join)


@CHANCE
@given(values=st.lists(STRINGS, min_size=10, max_size=30), keys=st.lists(STRINGS, max_size=8, unique=True))
def test_any_string_is_printed_as_yaml_as_by_the_reference(values, keys, tmp_path):
    labels = {f"k{index}": value for index, value in enumerate(values)}
    # A key of nothing but line ends is none to the reference.
    labels.update((key, "v") for key in keys if key.strip("\n"))
    document = {"services": {"a": {"image": "x", "labels": labels, "command": values}}}
    (tmp_path / "compose.yaml").write_text(json.dumps(document))
    expected, why = theirs(tmp_path, {}, "yaml", files=["compose.yaml"])
    assert expected is not None, why
    assert ours(tmp_path, {}, "yaml", files=("compose.yaml",)) == (expected, "")
