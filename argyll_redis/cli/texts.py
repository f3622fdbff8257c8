"""How the command line writes things for people: tables, times, colour, values.

Everything here gives text and prints nothing. Text from flows and steps is made harmless before it
reaches a terminal; colour is only for terminals, and never when `NO_COLOR` is set.
"""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

import click

from argyll_redis.core.text import printable

GAP = "  "
"""Between the columns of a table."""
MIN_COLUMN = 8
"""Columns are not shortened below this on a terminal."""
FALLBACK_WIDTH = 100
"""Columns of a terminal that does not say how wide it is."""

COLOURS: Mapping[str, str] = {
    "completed": "green",
    "succeeded": "green",
    "active": "cyan",
    "failed": "red",
    "skipped": "yellow",
    "not_completed": "yellow",
    "pending": "bright_black",
    "compensating": "cyan",
    "compensated": "yellow",
    "compensation_failed": "red",
}
"""Of the words that say how something stands."""


def is_terminal(stream: TextIO | None) -> bool:
    """Says whether a stream is a terminal; a closed one, which Python gives as None, is not."""
    return stream is not None and stream.isatty()


def wants_colour(stream: TextIO | None) -> bool:
    """Says whether a stream is a terminal whose user has not refused colour."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Painted(str):
    """A text of ours with colour in it; any other text with such characters is made harmless."""

    __slots__ = ()


def paint(text: str, colour: str, *, stream: TextIO | None = None) -> Painted:
    """Colours a harmless text for a stream (standard output), where the stream takes it."""
    plain = printable(text)
    return Painted(click.style(plain, fg=colour) if wants_colour(stream or sys.stdout) else plain)


def status(word: str) -> Painted:
    """A status word in its colour."""
    colour = COLOURS.get(word)
    return paint(word, colour) if colour else Painted(printable(word))


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None where it goes elsewhere: then nothing is
    shortened or folded."""
    if not is_terminal(sys.stdout):
        return None
    return shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns


# ---------------------------------------------------------------------- values


def compact(value: Any) -> str:
    """A JSON value on one line."""
    import orjson

    return printable(orjson.dumps(value).decode())


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values on one line: `tenant=acme size=3`."""
    return " ".join(
        f"{printable(name)}={printable(value) if isinstance(value, str) else compact(value)}"
        for name, value in values.items()
    )


def listed(names: Iterable[str]) -> str:
    """Names on one line; `-` for none."""
    return ", ".join(map(printable, names)) or "-"


def counted(count: int, one: str, many: str = "") -> str:
    """A number and its noun: `1 flow`, `2 flows`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


# ----------------------------------------------------------------------- times


def duration(ms: float) -> str:
    """A duration as people say it, two units at most: `840 ms`, `12.3 s`, `3 min 20 s`, `2 h 5 min`."""
    if ms < 1_000:
        return f"{ms:.0f} ms"
    if ms < 59_950:
        return f"{ms / 1_000:.1f}".removesuffix(".0") + " s"
    seconds = round(ms / 1_000)
    for unit, size, lower, lower_size in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60)):
        if seconds >= size:
            return _two(seconds // size, unit, seconds % size // lower_size, lower)
    return _two(seconds // 60, "min", seconds % 60, "s")


def _two(count: int, unit: str, lower_count: int, lower: str) -> str:
    return f"{count} {unit}" + (f" {lower_count} {lower}" if lower_count else "")


def moment(rfc3339: str) -> str:
    """A time in UTC as people read it: `2026-11-03 14:02:11.204Z`."""
    return rfc3339.replace("T", " ", 1)


def ago(rfc3339: str, now_ms: int) -> str:
    """How long ago something was, in its largest unit; clocks that differ a little do not show."""
    from datetime import datetime

    ms = now_ms - datetime.fromisoformat(rfc3339).timestamp() * 1_000
    if ms < 1_000:
        return "just now"
    count, unit, *_ = duration(ms // 1_000 * 1_000).split()
    return f"{count} {unit} ago"


# ---------------------------------------------------------------------- tables


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    width: int | None = None,
    keep: Sequence[str] = (),
) -> str:
    """Rows under headers, aligned by spaces, one line a row.

    Numbers stand to the right. With a width, the widest columns are shortened until lines fit; those
    of `keep` are not. Columns that are empty in every row are left out.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    shown = [n for n in range(len(headers)) if any(row[n] for row in cells)]
    names = [headers[n].upper() for n in shown]
    cells = [[row[n] for n in shown] for row in cells]
    columns = [[name, *(row[n] for row in cells)] for n, name in enumerate(names)]
    kept = {n for n, name in enumerate(names) if name.lower() in keep}
    widths = _fitted([max(map(columns_of, column)) for column in columns], width, kept)
    right = [all(_is_number(text) for text in column[1:]) for column in columns]
    return "\n".join(_line(row, widths, right) for row in [names, *cells])


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """Names and what they are, aligned, one a line; what is None or empty is left out."""
    given = [(name, _cell(value)) for name, value in rows if value not in (None, "")]
    width = max((len(name) for name, _ in given), default=0)
    return "\n".join(beside(f"{name:<{width}}{GAP}", text) for name, text in given)


def beside(head: str, text: str) -> str:
    """A sentence after what it belongs to; on a terminal it is folded between words, and its lines stand
    under each other."""
    width, indent = terminal_width(), columns_of(head)
    if width is None or indent + columns_of(text) <= width:
        return head + text
    lines: list[str] = []
    room = 0
    for word in text.split(" "):
        if lines and columns_of(word) < room:
            lines[-1] += f" {word}"
            room -= columns_of(word) + 1
        else:
            lines.append(word)
            room = width - indent - columns_of(word)
    return head + f"\n{' ' * indent}".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, Painted) else printable(str(value))


def _is_number(text: str) -> bool:
    return bool(text) and text.replace(",", "").isdigit()


def columns_of(text: str) -> int:
    """How many columns a text takes on a terminal."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    plain = click.unstyle(text)
    return sum(_columns_of_character(character) for character in plain)


def _columns_of_character(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fitted(widths: list[int], width: int | None, kept: set[int]) -> list[int]:
    """Shortens the widest columns, one character a time, until a line fits or nothing may shrink."""
    if width is None:
        return widths
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    while excess > 0:
        shrinkable = [n for n in range(len(widths)) if n not in kept and widths[n] > MIN_COLUMN]
        if not shrinkable:
            break
        widest = max(shrinkable, key=lambda n: widths[n])
        widths[widest] -= 1
        excess -= 1
    return widths


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts: list[str] = []
    for text, width, to_the_right in zip(cells, widths, right, strict=True):
        short = shortened(text, width)
        blank = " " * (width - columns_of(short))
        parts.append(blank + short if to_the_right else short + blank)
    return GAP.join(parts).rstrip()


def shortened(text: str, width: int) -> str:
    """A text cut to so many columns, with an ellipsis where something is missing."""
    if columns_of(text) <= width:
        return text
    text = click.unstyle(text)
    used = 0
    for place, character in enumerate(text):
        used += _columns_of_character(character)
        if used > width - 1:
            return text[:place] + "…"
    return text
