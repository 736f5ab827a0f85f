"""Live progress of an app: what to write is a pure function of views; in place on a terminal, else by line."""

import functools
import shutil
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from pilothouse.cli.output import clean, colour_wanted, format_table, paint
from pilothouse.model.api import AppView, ServiceView

Row = tuple[str, str, str, str]
"""A service's name, how far it is, why, and its mark."""


def service_row(service: ServiceView) -> tuple[str, str, str]:
    """Return (name, how far, what it waits for or why it failed)."""
    if service.removing:
        return service.name, "", service.sentence
    if service.mode.endswith("job") or service.completed > service.running:
        far = f"{service.completed}/{service.wanted} completed"
    elif service.running == service.healthy:
        far = f"{service.healthy}/{service.wanted} healthy"
    else:
        far = f"{service.healthy}/{service.wanted} healthy, {service.running} running"
    if service.outdated:
        far += f", {service.outdated} to replace"
    return service.name, far, service.sentence


def mark(service: ServiceView) -> str:
    """Return "done", "failed" or "" for a service."""
    if service.failed:
        return "failed"
    return "done" if service.converged else ""


_COLOURS = {"done": "green", "failed": "red", "": "yellow"}


LASTING_SECONDS = 0.2
"""What is over sooner is not worth a line of its own."""
Later = Callable[[Callable[[], None]], object]
"""Has something called from another thread after `LASTING_SECONDS`."""


def _later(call: Callable[[], None]) -> None:
    timer = threading.Timer(LASTING_SECONDS, call)
    timer.daemon = True
    timer.start()


class Progress:
    """Writes how an app gets on to *stream*; by line only what lasts, is done or has failed."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, later: Later = _later) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._in_place = self._stream.isatty()
        self._colour = colour_wanted(self._stream)
        self._last: dict[str, Row] = {}
        self._drawn = 0
        self._later = later
        self._said: dict[str, Row] = {}
        # A line that has waited is written by another thread.
        self._lock = threading.Lock()

    def show(self, view: AppView) -> None:
        """Write what *view* says that was not said yet."""
        if self._quiet:
            return
        rows = {service.name: (*service_row(service), mark(service)) for service in view.services}
        if rows == self._last:
            return
        if self._in_place:
            self._draw(rows)
        else:
            self._note(view.name, rows)
        self._last = rows

    def _note(self, app: str, rows: dict[str, Row]) -> None:
        before, self._last = self._last, rows
        for name, row in rows.items():
            if before.get(name) == row:
                rows[name] = before[name]
                continue
            if row[3]:
                self._line(app, name, row)
            else:
                self._later(functools.partial(self._line, app, name, row))

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

    def _draw(self, rows: dict[str, Row]) -> None:
        wide = shutil.get_terminal_size().columns - 1
        cells = [(name, far, why or (done if done == "done" else "")) for name, far, why, done in rows.values()]
        lines = format_table(("SERVICE", "TASKS", "WHY"), cells)
        marks = ["", *(row[3] for row in rows.values())]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        painted = [
            paint(line[:wide], _COLOURS[each] if n else "", on=self._colour)
            for n, (line, each) in enumerate(zip(lines, marks, strict=True))
        ]
        gone = max(0, self._drawn - len(painted))
        self._stream.write(up + "".join(f"\x1b[K{line}\n" for line in painted) + "\x1b[J" * bool(gone))
        self._stream.flush()
        self._drawn = len(painted)

    def _write(self, text: str) -> None:
        self._stream.write(clean(text, keep_colour=self._colour) + "\n")
        self._stream.flush()
