"""Every error a user can see has a code, a place in the tree and a page with cause and cure."""

import pathlib
import re

import pytest

from pilothouse import errors

PAGES = pathlib.Path(__file__).parent.parent.parent / "docs" / "reference" / "errors"


def _classes(root=errors.PilothouseError):
    for sub in root.__subclasses__():
        yield sub
        yield from _classes(sub)


CODED = sorted({c for c in _classes() if "code" in vars(c)} | {errors.PilothouseError}, key=lambda c: c.code)


@pytest.mark.parametrize("error", CODED, ids=lambda c: c.code)
def test_every_code_has_a_page_with_cause_and_cure(error):
    page = (PAGES / f"{error.code}.md").read_text()
    assert page.startswith(f"# {error.code}: {error.title}\n")
    cause, cure = re.search(r"## Cause\n\n(.+?)\n\n## Cure\n\n(.+)", page, re.DOTALL).groups()
    assert len(cause) > 40
    assert len(cure) > 40


def test_no_page_is_left_of_a_code_that_is_gone():
    assert {p.stem for p in PAGES.glob("*.md")} == {c.code for c in CODED}


def test_no_two_errors_share_a_code():
    assert len({c.code for c in CODED}) == len(CODED)


@pytest.mark.parametrize("error", [c for c in CODED if c is not errors.PilothouseError], ids=lambda c: c.code)
def test_the_tree_at_the_top_of_the_module_is_the_tree(error):
    row = next(line for line in errors.__doc__.splitlines() if line.strip().startswith(error.__name__ + " "))
    code, retry, status, exit_code = row.split()[1:]
    assert (code, retry == "yes", int(status), int(exit_code)) == (
        error.code, error.retryable, error.status, error.exit_code)  # fmt: skip


@pytest.mark.parametrize("error", list(_classes()), ids=lambda c: c.__name__)
def test_every_error_says_when_it_happens_in_one_sentence(error):
    assert error.__doc__.split("\n\n")[0].strip().endswith(".")
    assert error.__name__.endswith("Error")
