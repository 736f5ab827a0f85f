"""Where the loader differs from the reference on purpose; docs/reference/compose-loading.md says why."""

import pytest

from pilothouse.compose import render
from pilothouse.compose.load import LoadOptions, load
from pilothouse.errors import InvalidManifestError


def loaded(directory, text, **options):
    (directory / "compose.yaml").write_text(text)
    return load(LoadOptions(current_directory=str(directory), project_name="p", **options))


def service(directory, keys, **options):
    return loaded(directory, f"services:\n  a:\n    image: x\n    {keys}\n", **options).project["services"]["a"]


def test_pre_start_is_loaded(tmp_path):
    found = service(tmp_path, "pre_start: [{command: migrate now, image: tools, per_replica: true}, {image: other}]")
    assert found["pre_start"] == [
        {"command": ["migrate", "now"], "image": "tools", "per_replica": True},
        {"command": None, "image": "other"},
    ]


@pytest.mark.parametrize("date", ["2001-01-01", "2001-12-14t21:59:43.10-05:00", "2001-01-01 10:00:00"])
def test_a_date_is_a_string(date, tmp_path):
    assert service(tmp_path, f"labels: {{at: {date}}}")["labels"] == {"at": date}


def test_a_yaml_directive_is_fine(tmp_path):
    assert loaded(tmp_path, "%YAML 1.2\n---\nservices: {a: {image: x}}\n").project["services"]["a"]["image"] == "x"


@pytest.mark.parametrize("key", ["mem_limit: 1.5", "memswap_limit: 2.0", "shm_size: 0.5"])
def test_a_size_with_a_fraction_is_refused(key, tmp_path):
    with pytest.raises(InvalidManifestError, match="is not a size; write a whole number of bytes"):
        service(tmp_path, key)


@pytest.mark.parametrize("entry", ["{project_directory: x}", "{path: []}"])
def test_an_include_without_a_path_is_refused(entry, tmp_path):
    with pytest.raises(InvalidManifestError, match="`path` is missing"):
        loaded(tmp_path, f"include: [{entry}]\nservices: {{a: {{image: x}}}}")


@pytest.mark.parametrize("where", ["https://github.com/a/b.git", "oci://registry.example/a", "git@example.com:a/b.git"])
def test_nothing_is_fetched_from_elsewhere(where, tmp_path):
    with pytest.raises(InvalidManifestError, match="is not on this machine"):
        loaded(tmp_path, f"include: ['{where}']\nservices: {{a: {{image: x}}}}")
    with pytest.raises(InvalidManifestError, match="is not on this machine"):
        service(tmp_path, f"extends: {{file: '{where}', service: b}}")


def test_an_ssh_key_with_a_path_is_printed_as_json(tmp_path):
    found = loaded(tmp_path, "services: {a: {build: {context: ., ssh: ['id=./key']}}}")
    assert f'"id={tmp_path}/key"' in render.as_json(found.project)


def test_the_last_line_of_an_environment_file_needs_no_line_break(tmp_path):
    (tmp_path / "a.env").write_text("A=1\nKNOWN")
    found = service(tmp_path, "env_file: a.env", environment={"KNOWN": "k"})
    assert found["environment"] == {"A": "1", "KNOWN": "k"}


def test_export_alone_is_refused_with_its_line(tmp_path):
    (tmp_path / "a.env").write_text("A=1\nexport ")
    with pytest.raises(InvalidManifestError, match=r"a\.env:2:1: `export` names no variable"):
        service(tmp_path, "env_file: a.env")


def test_a_line_separator_survives_being_printed(tmp_path):
    first = loaded(tmp_path, 'services: {a: {image: x, labels: {l: "a\\L"}}}')
    again = loaded(tmp_path, render.as_yaml(first.project))
    assert again.project["services"]["a"]["labels"] == {"l": "a\u2028"}


def test_a_command_that_only_a_shell_can_read_is_told(tmp_path):
    found = loaded(tmp_path, "services: {a: {image: x, command: 'one && two'}}")
    assert found.project["services"]["a"]["command"] == ["one"]
    assert any("is cut before '&& two'" in warning for warning in found.warnings)


def test_what_the_reference_reads_but_does_not_print_is_kept(tmp_path):
    text = "services: {a: {image: x, pull_refresh_after: 1h}}\nnetworks: {default: {ipam: {options: {a: b}}}}"
    project = loaded(tmp_path, text).project
    assert project["services"]["a"]["pull_refresh_after"] == "1h"
    assert project["networks"]["default"]["ipam"] == {"options": {"a": "b"}}
    assert "pull_refresh_after" not in render.as_json(project)
    assert '"options"' not in render.as_json(project)
