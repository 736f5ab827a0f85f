"""The loader prints what the reference was recorded to print, so that every run of the fast tests compares them."""

import pytest

from tests.compose.record import DIRECTORY, printed, recorded
from tests.compose.test_against_reference import FIXTURES, SINGLE, VARIABLES, ours


@pytest.mark.parametrize("output", ["json", "yaml"])
@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.stem)
def test_a_document_is_printed_as_the_reference_printed_it(path, output):
    found = ours(FIXTURES, VARIABLES, output, files=(str(path),), project_directory=DIRECTORY)
    assert found == (recorded(path, output).read_text(), "")


@pytest.mark.slow
@pytest.mark.parametrize("output", ["json", "yaml"])
@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.stem)
def test_what_is_recorded_is_what_the_reference_prints(path, output):
    assert printed(path, output) == recorded(path, output).read_text()
