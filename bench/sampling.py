"""Where a process spends its time: looks at the main thread's stack every few milliseconds. Not a bench itself.

Unlike the standard profiler it costs next to nothing, so what it shows is what happens without it.
"""

import collections
import contextlib
import pathlib
import sys
import threading
import time

EVERY_SECONDS = 0.004
LONG_SECONDS = 0.1


@contextlib.contextmanager
def sampled(path, idle=("run", "select")):
    """Sample the caller's thread meanwhile, and write to *path* where it was; *idle* are functions that wait."""
    mine, stop = threading.get_ident(), threading.Event()
    inside, within, turns = collections.Counter(), collections.Counter(), collections.Counter()

    def watch():
        last, since = None, time.monotonic()
        while not stop.wait(EVERY_SECONDS):
            frames = []
            frame = sys._current_frames().get(mine)  # noqa: SLF001 - there is no other way to see it
            while frame is not None:
                code = frame.f_code
                frames.append(f"{pathlib.Path(code.co_filename).name}:{code.co_firstlineno} {code.co_name}")
                frame = frame.f_back
            if not frames or frames[0].rpartition(" ")[2] in idle:
                last = None
                continue
            inside[frames[0]] += 1
            within.update(set(frames))
            root = next((each for each in reversed(frames) if "runners" not in each and "headless" not in each), "")
            if root != last:
                last, since = root, time.monotonic()
            elif time.monotonic() - since > LONG_SECONDS:
                turns[" < ".join(frames[:12])] += 1

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        stop.set()
        watching.join()
        with pathlib.Path(path).open("w") as file:
            for title, counts in (("inside", inside), ("within", within), ("in long turns", turns)):
                file.write(f"-- {title}, of {sum(inside.values())} samples\n")
                for name, count in counts.most_common(45):
                    file.write(f"{count:7} {name}\n")
