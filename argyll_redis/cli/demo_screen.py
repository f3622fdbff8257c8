"""How `argyll demo` shows its flow as it goes on: bars on a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Protocol, Self, TextIO

import click

from argyll_redis.cli.screen import (
    REDRAW_S,
    Canvas,
    Changes,
    Row,
    layout_for,
    marks_for,
    row_text,
    size_of,
)
from argyll_redis.cli.texts import is_terminal
from argyll_redis.core.text import printable

if TYPE_CHECKING:
    from argyll_redis.tally import StepTally, Tally

BAR, COUNT, NOTE = 20, 9, 13
"""Columns of parts of a row; the bar is narrower where there is no room."""
MIN_COLUMNS = 60
WIDTH = 80
"""Columns that sentences are folded to."""
SPARE_ROWS = 4
"""Rows of a terminal that bars leave to other lines; a lower terminal gets lines only."""


class DemoScreen(Protocol):
    """What a demo needs of a screen; used as `with screen:`."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def say(self, line: str) -> None: ...
    def show(self, tally: Tally) -> None: ...


def screen_for(*, as_json: bool, steps: int) -> DemoScreen:
    """Picks the screen for standard output, with room for so many steps."""
    if as_json:
        return Silent()
    if not is_terminal(sys.stdout) or os.environ.get("TERM") == "dumb":
        return Lines()
    columns, rows = size_of(sys.stdout)
    has_room = rows >= steps + SPARE_ROWS and columns >= MIN_COLUMNS
    return Bars(sys.stdout) if has_room else Lines()


class Silent:
    """Shows nothing: the answer is one document of JSON."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def say(self, line: str) -> None: ...

    def show(self, tally: Tally) -> None: ...


class Lines:
    """Writes a line for each thing that happened, and one a second while a long step goes on."""

    def __init__(self) -> None:
        self._changes = Changes(self.say)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def say(self, line: str) -> None:
        """Writes a line."""
        click.echo(folded(line))

    def show(self, tally: Tally) -> None:
        """Writes what is new."""
        self._changes.show(map(_row, tally.steps.values()), tally.elapsed_ms)


class Bars:
    """Draws a row a step at the bottom, again and again in place; lines that stay go above."""

    def __init__(self, stream: TextIO) -> None:
        self._canvas = Canvas(stream)
        self._marks = marks_for(stream)
        self._drawn_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Takes the rows away: the summary tells the same."""
        self._canvas.draw([])

    def say(self, line: str) -> None:
        """Writes a line above the rows."""
        self._canvas.say(folded(line))

    def show(self, tally: Tally) -> None:
        """Draws the rows, not too often while things happen."""
        if tally.status == "active" and time.monotonic() - self._drawn_s < REDRAW_S:
            return
        self._drawn_s = time.monotonic()
        columns, lines = self._canvas.size()
        names = max(map(len, tally.steps))
        layout = layout_for(columns, name=names, counts=COUNT, bar=BAR, note=NOTE)
        rows = map(_row, tally.steps.values())
        drawn = [row_text(row, layout, self._marks, self._canvas.stream) for row in rows]
        self._canvas.draw(drawn[: lines - 1])  # it may have become lower


def folded(text: str, *, indent: int = 0) -> str:
    """A sentence on lines of 80 columns, all but the first indented."""
    return textwrap.fill(printable(text), WIDTH, subsequent_indent=" " * indent, break_long_words=False)


def _row(step: StepTally) -> Row:
    """One step: how far it is, and what went wrong and was mended."""
    notes = [(step.retried, "retried"), (step.taken_over, "taken over")]
    note = ", ".join(f"{count} {what}" for count, what in notes if count)
    return Row(
        step.id,
        step.status,
        step.items,
        step.done,
        step.retried,
        step.taken_over,
        note=note,
        error=step.error,
    )
