"""Hostile and broken manifests get a clear refusal: no traceback, no expansion, no file outside of the project."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.compose import limits
from pilothouse.compose.load import LoadOptions, load
from pilothouse.errors import InvalidManifestError


def refusal(directory, content, **options):
    """Return why a manifest is refused."""
    (directory / "compose.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidManifestError) as caught:
        load(LoadOptions(current_directory=str(directory), project_name="p", **options))
    return str(caught.value)


def laughs():
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 9) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, 10)]
    return "\n".join(lines)


def chain(links):
    return "m0: &m0 {k0: 0}\n" + "".join(f"m{n}: &m{n}\n  <<: *m{n - 1}\n  k{n}: 1\n" for n in range(1, links))


HOSTILE = {
    "billion-laughs": (laughs(), "once its aliases are followed"),
    "merge-chain": (chain(2000), "nested deeper than 64 levels"),
    "wide-merges": (
        "x: &x {" + ", ".join(f"k{n}: {n}" for n in range(300)) + "}\nl:\n" + "  - <<: *x\n" * 900,
        "once its aliases are followed",
    ),
    "self-reference": ("a: &a [*a]", "alias *a is inside what it stands for"),
    "self-merge": ("a: &a {<<: *a}", "alias *a is inside what it stands for"),
    "deep-flow": ("[" * 5000, "nested deeper than 64 levels"),
    "deep-block": ("\n".join(" " * n + "a:" for n in range(500)), "nested deeper than 64 levels"),
    "deep-keys": ("? " * 5000, "nested deeper than 64 levels"),
    "many-nodes": ("a: [" + "a, " * 60_000 + "]", "more than 20000 nodes"),
    "many-aliases": ("a: &a 1\nb: [" + "*a, " * 1500 + "]", "more than 1000 aliases"),
    "too-large": ("# " + "x" * limits.MAX_BYTES, "larger than 1048576 bytes"),
    "many-documents": ("--- a\n" * 30_000, "more than 100 documents"),
    "not-utf8": (b"a: \xff", "not UTF-8 text at byte 3"),
    "nul": ("a: \0", "control characters"),
    "no-yaml": ("a: [", "not valid YAML"),
    "tabs": ("a:\n\tb: c", "not valid YAML"),
    "unknown-alias": ("a: *b", "alias *b has no anchor"),
    "duplicate-key": ("a: 1\na: 2", "written twice, first in line 1"),
    "number-as-key": (
        "services: {a: {image: x, labels: {1: 2}}}",
        'the key 1 is not a string; write it in quotes: "1"',
    ),
    "list-as-key": ("? [a]\n: b", "a key must be a string"),
    "scalar": ("just text", "the top level must be a mapping"),
    "merge-of-text": ("a: {<<: text}", "only mappings can be merged"),
    "nested-defaults": ("services: {a: {image: '" + "${A:-" * 500 + "}" * 500 + "'}}", "nested deeper than 16 levels"),
    "service-circle": ("services: {a: {image: x, extends: b}, b: {image: x, extends: a}}", "in a circle"),
    "include-circle": ("include: [compose.yaml]\nservices: {a: {image: x}}", "in a circle"),
    "dependency-circle": ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}", "a -> b -> a"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused_with_a_reason(name, tmp_path):
    content, reason = HOSTILE[name]
    assert reason in refusal(tmp_path, content)


def test_a_variable_cannot_make_a_manifest_explode(tmp_path):
    text = "services: {a: {image: x, labels: {" + ", ".join(f"k{n}: '$BIG$BIG'" for n in range(50)) + "}}}"
    assert "variables add more than" in refusal(tmp_path, text, environment={"BIG": "x" * 100_000})
    text = "services: {a: {image: '" + "$BIG" * 50 + "'}}"
    assert "larger than 1048576 characters" in refusal(tmp_path, text, environment={"BIG": "x" * 100_000})


def test_what_a_variable_holds_is_not_a_template(tmp_path):
    (tmp_path / "compose.yaml").write_text("services: {a: {image: 'x:${A}'}}")
    loaded = load(LoadOptions(current_directory=str(tmp_path), project_name="p", environment={"A": "${A}$A$$"}))
    assert loaded.project["services"]["a"]["image"] == "x:${A}$A$$"


ESCAPES = ["../secret.env", "/etc/passwd", "sub/../../secret.env", "link/secret.env", "link-to-file", "~/secret.env"]


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize(
    "place", ["env_file: [{}]", "label_file: [{}]", "extends: {{file: {}, service: b}}", "include"]
)
def test_a_manifest_names_no_file_outside_of_its_project(path, place, tmp_path):
    inside = tmp_path / "project"
    (inside / "sub").mkdir(parents=True)
    (tmp_path / "secret.env").write_text("services: {b: {image: leaked}}\n")
    (inside / "link").symlink_to(tmp_path)
    (inside / "link-to-file").symlink_to(tmp_path / "secret.env")
    text = "services:\n  a:\n    image: x\n    " + place.format(path)
    if place == "include":
        text = f"include: ['{path}']\nservices: {{a: {{image: x}}}}"
    why = refusal(inside, text, environment={"HOME": str(tmp_path)})
    assert "outside of the project directory" in why or "does not exist" in why
    assert "leaked" not in why


def test_a_directory_that_is_allowed_may_be_read(tmp_path):
    inside = tmp_path / "project"
    inside.mkdir()
    (tmp_path / "shared.env").write_text("A=shared\n")
    (inside / "compose.yaml").write_text("services: {a: {image: x, env_file: ../shared.env}}")
    loaded = load(LoadOptions(current_directory=str(inside), readable=(str(tmp_path),)))
    assert loaded.project["services"]["a"]["environment"] == {"A": "shared"}


@pytest.mark.parametrize("place", ["env_file: [pipe]", "env_file: [sub]", 'env_file: ["a\\0b"]'])
def test_only_regular_files_are_read(place, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sub").mkdir()
    why = refusal(tmp_path, f"services:\n  a:\n    image: x\n    {place}\n")
    assert "not a regular file" in why or "NUL character" in why


def test_files_are_not_included_without_end(tmp_path):
    for level in range(12):
        twice = f"include: [l{level + 1}.yaml, m{level + 1}.yaml]\n"
        for name in (f"l{level}.yaml", f"m{level}.yaml"):
            (tmp_path / name).write_text(twice)
    for name in ("l12.yaml", "m12.yaml"):
        (tmp_path / name).write_text("x-end: 1\n")
    why = refusal(tmp_path, "include: [l0.yaml]\nservices: {a: {image: x}}")
    assert "more than 200 files" in why


ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 99999),
        st.floats(allow_nan=False),
        st.sampled_from(["", "a", "1:2", "$", "${A"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["services", "a", "image", "ports", "target", "build", "extends", "include", "path", "networks"]
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=12,
)


@given(value=ANYTHING)
def test_whatever_is_written_is_loaded_or_refused_but_never_breaks(value, tmp_path_factory):
    import yaml

    directory = tmp_path_factory.getbasetemp() / "anything"
    directory.mkdir(exist_ok=True)
    (directory / "compose.yaml").write_text(
        yaml.safe_dump({"services": {"a": value, "b": {"image": "x"}}, "x-a": value})
    )
    findings = ()
    with contextlib.suppress(InvalidManifestError):
        try:
            load(LoadOptions(current_directory=str(directory)))
        except InvalidManifestError as error:
            findings = error.errors
            raise
    assert all("compose.yaml" in finding for finding in findings)
