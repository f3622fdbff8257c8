"""How `argyll demo` shows its flow as it goes on: bars on a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Protocol, Self, TextIO

import click

from argyll_redis.cli.texts import COLOURS, GAP, duration, printable, wants_colour

if TYPE_CHECKING:
    from argyll_redis.demo.tally import StepTally, Tally

REDRAW_S = 0.1
"""Shortest time between two drawings."""
LINE_S = 1.0
"""How often a long step gets a line where there is no terminal."""
BAR, STATUS, COUNT, NOTE = 20, 9, 9, 13
"""Columns of the parts of a row beside the name; the bar is narrower where there is no room."""
MIN_COLUMNS = 60
WIDTH = 80
"""Columns that sentences are folded to."""
SPARE_ROWS = 4
"""Rows of a terminal that bars leave to other lines; a lower terminal gets lines only."""
FALLBACK_SIZE = (80, 24)
FULL, EMPTY = "█", "░"
FULL_ASCII, EMPTY_ASCII = "#", "."


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
    columns, rows = shutil.get_terminal_size(FALLBACK_SIZE)
    has_room = rows >= steps + SPARE_ROWS and columns >= MIN_COLUMNS
    return Bars(sys.stdout) if wants_colour(sys.stdout) and has_room else Lines()


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
        self._seen: dict[str, tuple[str, int, int]] = {}
        self._line_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def say(self, line: str) -> None:
        """Writes a line."""
        click.echo(folded(line))

    def show(self, tally: Tally) -> None:
        """Writes what is new."""
        for step in tally.steps.values():
            now = (step.status, step.retried, step.taken_over)
            status, retried, taken_over = self._seen.get(step.id, ("pending", 0, 0))
            self._seen[step.id] = now
            if step.retried > retried:
                self._write(tally, f"{step.id} is tried again")
            if step.taken_over > taken_over:
                self._write(tally, f"{step.id}: {step.taken_over} attempts were taken over")
            if step.is_over and step.status != status:
                self._write(tally, f"{step.id} {step.status}")
        if time.monotonic() - self._line_s >= LINE_S:
            self._line_s = time.monotonic()
            for step in tally.steps.values():
                if step.status == "active" and step.items > 1:
                    self._write(tally, f"{step.id} {step.done} of {step.items}")

    def _write(self, tally: Tally, text: str) -> None:
        self.say(f"{duration(tally.elapsed_ms):>8}  {text}")


class Bars:
    """Draws a row a step at the bottom, again and again in place; lines that stay go above."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0
        """Rows on the terminal that are ours to draw over."""
        self._drawn_s = 0.0
        self._rows: list[str] = []
        self._marks = (FULL, EMPTY) if _can_show(FULL + EMPTY, stream) else (FULL_ASCII, EMPTY_ASCII)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Takes the rows away: the summary tells the same."""
        self._rows = []
        self._draw()

    def say(self, line: str) -> None:
        """Writes a line above the rows."""
        self._write(f"{self._back()}\x1b[0J{folded(line)}\n")
        self._drawn = 0
        self._draw()

    def show(self, tally: Tally) -> None:
        """Draws the rows, not too often while things happen."""
        if tally.status == "active" and time.monotonic() - self._drawn_s < REDRAW_S:
            return
        self._drawn_s = time.monotonic()
        names = max(map(len, tally.steps))
        room = (
            shutil.get_terminal_size(FALLBACK_SIZE).columns - 1 - names - STATUS - COUNT - NOTE - 4 * len(GAP)
        )
        bar = max(0, min(BAR, room))
        self._rows = [self._row(step, names=names, bar=bar) for step in tally.steps.values()]
        self._draw()

    def _row(self, step: StepTally, *, names: int, bar: int) -> str:
        """One step: name, status, how far it is, what went wrong and was mended."""
        colour = COLOURS.get(step.status)
        part = 1.0 if step.status == "completed" else step.done / step.items if step.items else 0.0
        full = int(part * bar)
        cells = [
            f"{step.id:<{names}}",
            click.style(f"{step.status:<{STATUS}}", fg=colour),
            click.style(self._marks[0] * full + self._marks[1] * (bar - full), fg=colour),
            f"{f'{step.done}/{step.items}' if step.items else '':>{COUNT}}",
            _note(step),
        ]
        return GAP.join(cell for cell in cells if cell)

    def _draw(self) -> None:
        rows = "".join(f"{row}\x1b[K\n" for row in self._rows)
        self._write(f"{self._back()}{rows}\x1b[0J")
        self._drawn = len(self._rows)

    def _back(self) -> str:
        """Puts the cursor to the beginning of the first row."""
        return f"\x1b[{self._drawn}F" if self._drawn else ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def folded(text: str, *, indent: int = 0) -> str:
    """A sentence on lines of 80 columns, all but the first indented."""
    return textwrap.fill(printable(text), WIDTH, subsequent_indent=" " * indent, break_long_words=False)


def _note(step: StepTally) -> str:
    """What went wrong and was mended."""
    notes = [(step.retried, "retried"), (step.taken_over, "taken over")]
    return ", ".join(f"{count} {what}" for count, what in notes if count)


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
