"""Files to specs: the loader and the conversion together, with the places of what they find."""

import contextlib
import pathlib
import re

import msgspec
import pytest

from pilothouse.compose.convert import convert_loaded
from pilothouse.compose.load import LoadOptions, load
from pilothouse.errors import InvalidManifestError
from pilothouse.model.spec import AppSpec, Judge, Mode, ProbeKind, ReleasePolicy
from pilothouse.model.validate import validate

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures" / "compose" / "single"
VARIABLES = {"SET": "value", "EMPTY": "", "lower": "l", "N": "3", "TOKEN": "t"}
# What these documents use and what has no place here, by the name of the key; files they name do not exist.
REFUSED = {
    "driver",
    "driver_opts",
    "environment",
    "external_links",
    "file",
    "models",
    "options",
    "provider",
    "recursive",
    "template_driver",
    "type",
}
PATH = re.compile(r":\d+:\d+: (?:\S+\.)?(\w+)(?:\[\d+\])?: ")


def app(directory, text, **options):
    (directory / "compose.yaml").write_text(text)
    return convert_loaded(load(LoadOptions(current_directory=str(directory), **options)))


def test_a_file_becomes_an_app(tmp_path):
    (tmp_path / "key.pem").write_bytes(b"sealed")
    made = app(
        tmp_path,
        "name: shop\n"
        "x-pilothouse: {owner: me}\n"
        "services:\n"
        "  web:\n"
        "    image: web:${TAG:-1}\n"
        "    command: serve --price $$5\n"
        "    ports: ['8080-8081:80']\n"
        "    deploy: {replicas: 2}\n"
        "    secrets: [key, token]\n"
        "    x-pilothouse:\n"
        "      probes: {ready: {http: {port: 80}}}\n"
        "      release: {settle: 5s, judge: {error_rate: 2%}}\n"
        "  each:\n"
        "    image: each\n"
        "    deploy: {mode: global}\n"
        "secrets: {key: {file: key.pem}, token: {environment: TOKEN}}\n",
        environment={"TOKEN": "t0ken"},
    )
    each, web = made.spec.services
    assert (web.task.container.image, web.task.container.command) == ("web:1", ("serve", "--price", "$5"))
    assert (web.replicas, web.task.container.ports[0].published, each.mode) == (2, (8080, 8081), Mode.GLOBAL)
    assert web.task.probes.ready.kind is ProbeKind.HTTP
    assert web.release == ReleasePolicy(settle_seconds=5.0, judge=Judge(error_rate=0.02))
    assert made.secrets == {"key": b"sealed", "token": b"t0ken"}
    assert made.spec.ownership.owner == "me"
    assert validate(made.spec) == ()


def test_findings_and_warnings_name_file_and_line(tmp_path):
    file = tmp_path / "compose.yaml"
    text = "name: shop\nservices:\n  web:\n    image: x\n    cpu_percent: 5\n    tmpfs:\n      - /a\n      - /b:uid=5\n"
    with pytest.raises(InvalidManifestError) as refused:
        app(tmp_path, text)
    assert refused.value.errors == (
        f"{file}:8:9: services.web.tmpfs[1]: option 'uid=5' is not supported; only size=, mode=, ro and rw are",
    )
    made = app(tmp_path, text.replace(":uid=5", ""))
    assert made.warnings == (
        f"{file}:5:5: services.web.cpu_percent: is for Windows containers and is ignored; use cpus instead",
    )


def test_a_secret_outside_of_the_project_directory_is_not_read(tmp_path):
    (tmp_path / "outside").write_text("x")
    (tmp_path / "in").mkdir()
    with pytest.raises(InvalidManifestError, match="is outside of the project directory"):
        app(
            tmp_path / "in",
            "name: a\nservices: {w: {image: w, secrets: [s]}}\nsecrets: {s: {file: ../outside}}\n",
        )


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_document_the_loader_is_tested_with_is_converted_or_refused_by_name(path, tmp_path):
    def again():
        options = LoadOptions(
            files=(str(path),), project_directory=str(tmp_path), profiles=("*",), environment=VARIABLES
        )
        return convert_loaded(load(options))

    try:
        made = again()
    except InvalidManifestError as error:
        found = {PATH.search(line)[1] for line in error.errors}
    else:
        found = set()
        assert again() == made
        assert msgspec.json.decode(msgspec.json.encode(made.spec), type=AppSpec) == made.spec
    assert found <= REFUSED


def test_most_of_these_documents_are_converted():
    converted = 0
    for path in FIXTURES.glob("*.yaml"):
        options = LoadOptions(files=(str(path),), project_directory="/nonexistent", profiles=("*",))
        with contextlib.suppress(InvalidManifestError):
            convert_loaded(load(options))
            converted += 1
    assert converted >= 10
