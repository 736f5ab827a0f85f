"""The loader's promises that need no reference: one answer, places of things, nothing read from the environment."""

import pathlib

import pytest

from pilothouse.compose import render
from pilothouse.compose.load import LoadOptions, load
from pilothouse.errors import InvalidManifestError

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures" / "compose"
DOCUMENTS = sorted((FIXTURES / "single").glob("*.yaml"))


def load_text(directory, text, **options):
    (directory / "compose.yaml").write_text(text)
    return load(LoadOptions(current_directory=str(directory), **options))


# A printed project lacks services whose profile is not active, and prints -1 as text: the reference's own limits.
@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path.stem not in {"depends-on", "units"}], ids=lambda path: path.stem
)
def test_what_is_printed_loads_to_the_same_project_again(path, tmp_path):
    environment = {"SET": "value", "EMPTY": "", "lower": "l", "N": "3", "TOKEN": "t", "SIMPLE_CONFIG_VALUE": "c"}
    first = load(LoadOptions(files=(str(path),), project_directory=str(tmp_path), environment=environment))
    again = load_text(tmp_path, render.as_yaml(first.project), profiles=("*",), environment=environment)
    assert render.as_json(again.project) == render.as_json(first.project)


def test_the_process_environment_is_never_read(tmp_path, monkeypatch):
    for name in ("CANARY", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME", "COMPOSE_FILE"):
        monkeypatch.setenv(name, "leaked")
    loaded = load_text(
        tmp_path,
        "name: a\nservices: {web: {image: 'x${CANARY}', environment: [CANARY]}, l: {image: x, profiles: [leaked]}}",
    )
    assert "leaked" not in render.as_json(loaded.project)
    assert loaded.disabled == ("l",)


def test_every_value_knows_where_it_stands(tmp_path):
    loaded = load_text(tmp_path, "name: a\nservices:\n  web:\n    image: x\n    ports:\n      - 80:80\n      - 81:81\n")
    file = str(tmp_path / "compose.yaml")
    assert loaded.marks["services.web.ports.1"] == (file, 7, 9)
    assert loaded.marks["services.web.image"] == (file, 4, 5)


def test_extensions_stay_in_the_project_at_every_level(tmp_path):
    text = "name: a\nx-pilothouse: {owner: me}\nservices: {web: {image: x, x-pilothouse: {tier: 1}}}"
    project = load_text(tmp_path, text).project
    assert project["x-pilothouse"] == {"owner": "me"}
    assert project["services"]["web"]["x-pilothouse"] == {"tier": 1}


def test_several_errors_are_told_in_one_go_with_their_places(tmp_path):
    text = "services:\n  web:\n    imgae: x\n    ports: 80\n    restart: true\n"
    with pytest.raises(InvalidManifestError) as caught:
        load_text(tmp_path, text)
    file = tmp_path / "compose.yaml"
    assert caught.value.errors == (
        f"{file}:3:5: services.web.imgae: unknown key; write `image`",
        f"{file}:4:5: services.web.ports: the number 80 cannot stand here; write a list",
        f'{file}:5:5: services.web.restart: the boolean true cannot stand here; write a string: "true"',
    )
