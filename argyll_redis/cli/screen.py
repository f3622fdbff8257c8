"""Showing steps as they go on: rows with bars that are drawn in place on a terminal, or lines elsewhere.

`argyll demo` and `argyll flow watch` say what a row is; everything about how it is shown is here.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TextIO

from argyll_redis.cli.texts import COLOURS, GAP, columns_of, counted, duration, paint, shortened
from argyll_redis.core.text import printable

FALLBACK_SIZE = (80, 24)
REDRAW_S = 0.1
"""Shortest time between two drawings."""
LINE_S = 1.0
"""How often a long step gets a line where there is no terminal."""
STATUS = len("completed")
FULL, EMPTY = "█", "░"
FULL_ASCII, EMPTY_ASCII = "#", "."


@dataclass(frozen=True, slots=True)
class Row:
    """One step."""

    id: str
    status: str = "pending"
    items: int = 0
    done: int = 0
    """Items that are over."""
    retried: int = 0
    lost: int = 0
    """Attempts that were taken over from a lost engine."""
    outside: int = 0
    """Attempts whose outcome comes from outside."""
    note: str = ""
    """What else there is to say, at the end of the row."""
    branch: str = ""
    """What stands before the name, when rows make a tree."""
    error: str = ""

    @property
    def label(self) -> str:
        return self.branch + printable(self.id)

    @property
    def is_over(self) -> bool:
        return self.status in ("completed", "failed", "skipped")


class Layout(NamedTuple):
    """Columns of the parts of a row; the note has the rest of the terminal."""

    columns: int
    name: int
    bar: int
    counts: int


def layout_for(columns: int, *, name: int, counts: int, bar: int, note: int = 0) -> Layout:
    """Parts that fit beside each other; a bar that has no room is narrower, or left out."""
    room = columns - 1 - name - STATUS - counts - note - 4 * len(GAP)
    return Layout(columns, name, max(0, min(bar, room)), counts)


class Marks(NamedTuple):
    """What bars are made of."""

    full: str
    empty: str


def can_show(text: str, stream: TextIO) -> bool:
    """Whether a stream's encoding has these characters."""
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def marks_for(stream: TextIO) -> Marks:
    """The marks that a stream can show."""
    return Marks(FULL, EMPTY) if can_show(FULL + EMPTY, stream) else Marks(FULL_ASCII, EMPTY_ASCII)


def row_text(row: Row, layout: Layout, marks: Marks, stream: TextIO) -> str:
    """A row on one line that is never wider than the terminal: name, status, bar, count, note."""
    colour = COLOURS.get(row.status, "white")
    name = shortened(row.label, layout.name)
    cells = [
        name + " " * (layout.name - columns_of(name)),
        paint(f"{row.status:<{STATUS}}", colour, stream=stream),
        paint(_bar(row, layout.bar, marks), colour, stream=stream),
        f"{f'{row.done}/{row.items}' if row.items else '':>{layout.counts}}",
    ]
    shown = GAP.join(cell for cell in cells if cell)
    room = layout.columns - 1 - columns_of(shown) - len(GAP)
    note = shortened(printable(row.note), room) if room > 0 else ""
    return f"{shown}{GAP}{note}" if note else shown.rstrip()


def _bar(row: Row, width: int, marks: Marks) -> str:
    part = 1.0 if row.status == "completed" else row.done / row.items if row.items else 0.0
    full = int(part * width)
    return marks.full * full + marks.empty * (width - full)


# -------------------------------------------------------------------- in place


def size_of(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of a terminal as it is now: `COLUMNS` and `LINES`, which may tell of another one,
    count only where there is none."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = shutil.get_terminal_size(FALLBACK_SIZE)
    return size.columns, size.lines


class Canvas:
    """Rows at the bottom of a terminal, drawn again and again in place; lines that stay go above them.

    A drawing is one write, of rows that fit, and what is drawn already is not written again: nothing
    flickers. Whoever draws keeps to `size`.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._rows: Sequence[str] = ()
        self._drawn = 0
        """Rows on the terminal that are ours to draw over."""
        self._columns = 0

    def size(self) -> tuple[int, int]:
        """Columns and rows; the last row is the cursor's."""
        return size_of(self.stream)

    def draw(self, rows: Sequence[str]) -> None:
        """Puts these rows in the place of the last ones."""
        if rows == self._rows and not self._has_moved():
            return
        text = "".join(f"{row}\x1b[K\n" for row in rows)
        self._write(f"{self._back()}{text}\x1b[0J")
        self._rows, self._drawn = rows, len(rows)

    def say(self, line: str) -> None:
        """Writes a line above the rows."""
        text = "".join(f"{row}\x1b[K\n" for row in self._rows)
        self._write(f"{self._back()}\x1b[0J{line}\n{text}")

    def _has_moved(self) -> bool:
        return self._columns != self.size()[0]

    def _back(self) -> str:
        """Puts the cursor to the beginning of the first row. A terminal that has become narrower or wider
        has folded the rows anew, and nobody knows where they begin: then we begin at its top."""
        has_moved, self._columns = self._has_moved() and self._drawn > 0, self.size()[0]
        if has_moved:
            return "\x1b[2J\x1b[1;1H"
        return f"\x1b[{self._drawn}F" if self._drawn else ""

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


# ----------------------------------------------------------------------- lines


class Changes:
    """Says in a line each what has happened to steps since they were last shown, and once a second how
    far a long one is."""

    def __init__(self, say: Callable[[str], None], *, with_starts: bool = False) -> None:
        self._say = say
        self._with_starts = with_starts
        self._seen: dict[str, Row] = {}
        self._line_s: dict[str, float] = {}
        """When it was last said of a step how far it is."""

    def show(self, rows: Iterable[Row], elapsed_ms: int) -> None:
        """Says what is new of these steps."""
        rows = list(rows)
        for line in (*chain.from_iterable(map(self._news, rows)), *chain.from_iterable(map(self._far, rows))):
            self._say(f"{duration(elapsed_ms):>8}  {line}")
        self._seen.update({row.id: row for row in rows})

    def _far(self, row: Row) -> Iterable[str]:
        now_s = time.monotonic()
        is_long = row.status == "active" and row.items > 1 and row.done > 0
        if is_long and now_s - self._line_s.get(row.id, -LINE_S) >= LINE_S:
            self._line_s[row.id] = now_s
            yield f"{row.id} {row.done} of {row.items}"

    def _news(self, row: Row) -> Iterable[str]:
        seen = self._seen.get(row.id, Row(row.id))
        if self._with_starts and row.items and not seen.items:
            yield f"{row.id} started" + (f" with {counted(row.items, 'item')}" if row.items > 1 else "")
        if row.retried > seen.retried:
            yield f"{row.id} is tried again" + (f": {row.error}" if row.error else "")
        if row.lost > seen.lost:
            yield f"{row.id}: {counted(row.lost, 'attempt')} {'was' if row.lost == 1 else 'were'} taken over"
        if row.outside > seen.outside:
            yield f"{row.id} waits for an outcome from outside"
        if row.is_over and row.status != seen.status:
            yield f"{row.id} {row.status}" + (f": {row.error}" if row.status == "failed" else "")
