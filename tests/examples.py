"""How many examples a property test tries: all of them in the whole suite, a share of them in the fast gate."""

import os

from hypothesis import settings

FAST = os.environ.get("PILOTHOUSE_TESTS") == "fast"
"""Set by scripts/check; whoever runs pytest, or scripts/test, has the whole."""
SHARE = 4
FEWEST = 5


def examples(number, **others):
    """Return the settings of a property that is tried on *number* examples."""
    return settings(max_examples=max(FEWEST, number // SHARE) if FAST else number, **others)
