"""What the scenarios on a real engine share."""

import os
import random
import time

import pytest


@pytest.fixture
def chance():
    """Chance that can be had again: the seed is printed if the test fails, and PILOTHOUSE_SEED sets it."""
    seed = int(os.environ.get("PILOTHOUSE_SEED") or time.time_ns() % 1_000_000)
    print(f"PILOTHOUSE_SEED={seed}")  # noqa: T201 - shown if it fails
    return random.Random(seed)
