"""Live progress of an app: what to write is a pure function of views; in place on a terminal, else by line."""

import functools
import shutil
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from pilothouse.cli import outcome
from pilothouse.cli.output import clean, colour_wanted, format_table, paint
from pilothouse.cli.rows import Row, rows
from pilothouse.clock import Clock, SystemClock
from pilothouse.model.api import AppView
from pilothouse.model.release import ReleaseState

_COLOURS = {"done": "green", "failed": "red", "": "yellow"}


LASTING_SECONDS = 0.2
"""What is over sooner is not worth a line of its own."""
TICK_SECONDS = 1.0
"""How often clocks on a terminal go on."""
Later = Callable[[float, Callable[[], None]], object]
"""Has something called from another thread after so many seconds."""


def _later(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()


class Progress:
    """Writes how an app gets on to *stream*; by line only what lasts, is done or has failed."""

    def __init__(
        self, stream: TextIO | None = None, *, quiet: bool = False, later: Later = _later, clock: Clock | None = None
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._in_place = self._stream.isatty()
        self._last: dict[str, Row] = {}
        self._drawn = 0
        self._later = later
        self._said: dict[str, Row] = {}
        self._clock = clock or SystemClock()
        self._view: AppView | None = None
        self._ticking = False
        # Clocks that go on, and a line that has waited, are written by another thread.
        self._lock = threading.RLock()

    def show(self, view: AppView) -> None:
        """Write what *view* says that was not said yet."""
        if self._quiet:
            return
        with self._lock:
            before, self._view = self._view, view
            self._say_release(before, view)
            if self._in_place:
                self._redraw()
            elif (found := rows(view, None)) != self._last:
                self._note(view.name, found)

    def rest(self) -> None:
        """Let no clock go on: what is shown stays as it is."""
        with self._lock:
            self._view = None

    def _say_release(self, before: AppView | None, view: AppView) -> None:
        """Write a line that stays when the release takes a turn."""
        release, known = view.release, before.release if before else None
        if release is None:
            return
        told = outcome.sentence(release)
        plain = release.state is ReleaseState.ROLLING and not release.undoes and not release.paused
        first = known is None or known.number != release.number
        turned = not (known is None and plain) if first else known is not None and told != outcome.sentence(known)
        if turned and not release.state.over:
            self.say(told)

    def _redraw(self) -> None:
        """Draw the view there is with the time there is, and see to it that its clocks go on."""
        with self._lock:
            if self._view is None:
                return
            timed = rows(self._view, self._clock.now())
            if timed != self._last or not self._drawn:
                self._draw(timed)
                self._last = timed
            if not self._ticking and timed != rows(self._view, None):
                self._ticking = True
                self._later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        with self._lock:
            self._ticking = False
            self._redraw()

    def _note(self, app: str, found: dict[str, Row]) -> None:
        before, self._last = self._last, found
        for name, row in found.items():
            if before.get(name) == row:
                found[name] = before[name]
                continue
            if row[3]:
                self._line(app, name, row)
            else:
                self._later(LASTING_SECONDS, functools.partial(self._line, app, name, row))

    def _line(self, app: str, name: str, row: Row) -> None:
        """Write *row* unless it is over or was the last one written of its service."""
        with self._lock:
            if self._last.get(name) is row and self._said.get(name) != row:
                self._said[name] = row
                self._write(f"{app}/{name}: " + ": ".join(filter(None, (row[3], row[1], row[2]))))

    def say(self, text: str) -> None:
        """Write one line that stays; the table, if any, is drawn anew below it."""
        if not self._quiet:
            self._drawn = 0
            self._write(text)

    def over(self, text: str) -> None:
        """Write one line over the last one on a terminal; elsewhere not at all."""
        if not self._quiet and self._in_place:
            wide = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{clean(text)[:wide]}")
            self._stream.flush()

    def clear_line(self) -> None:
        """Take away what `over` wrote."""
        if not self._quiet and self._in_place:
            self._stream.write("\r\x1b[K")

    def _draw(self, found: dict[str, Row]) -> None:
        wide = shutil.get_terminal_size().columns - 1
        colour = colour_wanted(self._stream)
        cells = [(name, far, why or (done if done == "done" else "")) for name, far, why, done in found.values()]
        lines = format_table(("SERVICE", "TASKS", "WHY"), cells)
        marks = ["", *(row[3] for row in found.values())]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        painted = [
            paint(line[:wide], _COLOURS[each] if n else "", on=colour)
            for n, (line, each) in enumerate(zip(lines, marks, strict=True))
        ]
        gone = max(0, self._drawn - len(painted))
        self._stream.write(up + "".join(f"\x1b[K{line}\n" for line in painted) + "\x1b[J" * bool(gone))
        self._stream.flush()
        self._drawn = len(painted)

    def _write(self, text: str) -> None:
        self._stream.write(clean(text, keep_colour=colour_wanted(self._stream)) + "\n")
        self._stream.flush()
