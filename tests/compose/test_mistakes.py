"""Every mistyped key is found, in the right line, with the key that was meant."""

import pathlib
import random

import pytest
import yaml

from pilothouse.compose.load import LoadOptions, load
from pilothouse.compose.project_keys import PROJECT
from pilothouse.compose.shapes import Listing, Named, Struct
from pilothouse.errors import InvalidManifestError
from tests.examples import FAST, SHARE

SINGLE = pathlib.Path(__file__).parent.parent / "fixtures" / "compose" / "single"
# A key of an anchor stands in several places, and one of several documents is not the whole file.
DOCUMENTS = sorted(path for path in SINGLE.glob("*.yaml") if path.stem not in {"anchors", "documents"})
VARIABLES = {"SET": "value", "EMPTY": "", "lower": "l", "N": "3", "SIMPLE_CONFIG_VALUE": "cv", "TOKEN": "tok"}


def known_keys(node, shape, path=()):
    """Yield path and node of every key that a table knows."""
    if isinstance(node, yaml.MappingNode) and isinstance(shape, Struct):
        for key, value in node.value:
            if key.value in shape.fields:
                yield (*path, key.value), key
                yield from known_keys(value, shape.fields[key.value].shape, (*path, key.value))
    elif isinstance(node, yaml.MappingNode) and isinstance(shape, Named):
        for key, value in node.value:
            yield from known_keys(value, shape.value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode) and isinstance(shape, Listing):
        for index, value in enumerate(node.value):
            yield from known_keys(value, shape.item, (*path, index))


def mistype(key, chance):
    at = chance.randrange(len(key))
    return chance.choice([key[:at] + "q" + key[at:], key[:at] + key[at + 1 :] + "q", key + "s_"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_mistyped_key_is_reported_in_its_line(path, tmp_path):
    text = path.read_text()
    chance = random.Random(path.stem)
    keys = list(known_keys(yaml.compose(text, Loader=yaml.CSafeLoader), PROJECT))
    assert keys
    for where, node in chance.sample(keys, -(-len(keys) // SHARE)) if FAST else keys:
        wrong = mistype(node.value, chance)
        start, end = node.start_mark.index, node.end_mark.index
        (tmp_path / "compose.yaml").write_text(text[:start] + wrong + text[end:])
        with pytest.raises(InvalidManifestError) as caught:
            load(LoadOptions(current_directory=str(tmp_path), environment=VARIABLES))
        place = f"compose.yaml:{node.start_mark.line + 1}:{node.start_mark.column + 1}: "
        name = ".".join(str(part) for part in (*where[:-1], wrong))
        assert any(f"{place}{name}: unknown key; " in error for error in caught.value.errors), (
            where,
            caught.value.errors,
        )


def test_the_key_that_was_meant_is_named(tmp_path):
    (tmp_path / "compose.yaml").write_text(
        "services: {web: {image: x, helthcheck: {}, volume: [], env-file: x, net: host}}"
    )
    with pytest.raises(InvalidManifestError) as caught:
        load(LoadOptions(current_directory=str(tmp_path)))
    advice = [error.split("unknown key; ")[1] for error in caught.value.errors]
    assert advice == ["write `healthcheck`", "write `volumes`", "write `env_file`", "write `network_mode`"]


def test_an_error_in_an_extended_file_names_that_file(tmp_path):
    (tmp_path / "base.yaml").write_text("services:\n  b:\n    image: x\n    prots: []\n")
    (tmp_path / "compose.yaml").write_text("services: {a: {extends: {file: base.yaml, service: b}}}")
    with pytest.raises(InvalidManifestError, match=r"base\.yaml:4:5: services\.b\.prots: unknown key; write `ports`"):
        load(LoadOptions(current_directory=str(tmp_path)))


def test_an_undefined_network_is_told_where_it_is_used(tmp_path):
    (tmp_path / "compose.yaml").write_text(
        "services:\n  a:\n    image: x\n    networks:\n      - front\n      - back\n"
    )
    with pytest.raises(InvalidManifestError) as caught:
        load(LoadOptions(current_directory=str(tmp_path)))
    assert [error.split(": the network")[0].rsplit("compose.yaml", 1)[1] for error in caught.value.errors] == [
        ":5:9: services.a.networks.front",
        ":6:9: services.a.networks.back",
    ]
