"""No request, however odd, makes the API fail, and every answer is one that its document foresees."""

import pytest

from pilothouse import log
from tests.server.fuzzing import fuzz


@pytest.mark.slow
def test_fifteen_hundred_generated_requests_get_answers_that_the_document_foresees():
    log.set_level("error")
    try:
        sent, answers = fuzz(1500)
    finally:
        log.set_level("info")
    assert sent >= 1500
    assert max(answers) < 500
    assert answers[200] > 100
