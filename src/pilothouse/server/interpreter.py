"""How the interpreter runs a manager: one loop that must answer soon, threads beside it, and much that lives long.

Called by composition roots, once for the process. Must not know what the process does.
"""

import gc
import sys

SWITCH_SECONDS = 0.001
"""How long a thread that computes may keep others waiting.

The loop gives the interpreter away at every call of the system, and without this gets it back after 5 ms each time as
long as the store's writer, or a computation beside the loop, has something to do.
"""

YOUNG_OBJECTS, YOUNG_ROUNDS, OLD_ROUNDS = 20_000, 20, 50
"""When the collector of cycles looks: after so many new objects, and after so many rounds at the older ones.

By default it looks after 700, which one request makes, although next to nothing here is a cycle: values of the model
cannot be part of one. The price is what cycles hold until then: a few MiB.
"""


def prepare() -> None:
    """Set the interpreter up, before anything runs."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, OLD_ROUNDS)


def settle() -> None:
    """Leave what is there now out of every later look of the collector: modules, routes, what the store loaded.

    What is not part of a cycle still goes when its last reader does. Call it when everything was put together.
    """
    gc.collect()
    gc.freeze()
