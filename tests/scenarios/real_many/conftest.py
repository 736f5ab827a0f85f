"""What the scenarios on several real hosts share: one ground for all of them."""

import pytest

from tests.bed import bed


@pytest.fixture(scope="session")
def ground():
    """Three hosts, with images, on one cable."""
    with bed(3) as made:
        yield made
