"""What a manager sets in its interpreter, in a process of its own."""

import subprocess
import sys

STORY = """
import gc, sys
from pilothouse.server import interpreter
before = gc.get_threshold()[0], sys.getswitchinterval()
interpreter.prepare()
interpreter.settle()
assert gc.isenabled()
assert gc.get_threshold()[0] > before[0] and sys.getswitchinterval() < before[1]
assert gc.get_freeze_count() > 1_000
kept = []
kept.append(kept)
del kept
assert gc.collect() >= 1
"""


def test_what_was_there_at_the_start_is_left_alone_and_cycles_made_later_are_still_collected():
    subprocess.run([sys.executable, "-c", STORY], check=True)
