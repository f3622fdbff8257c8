"""How a flow that is watched is shown: a tree on a terminal, lines elsewhere, objects for programs."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TextIO

import click

from argyll_redis.cli.answers import print_json_line
from argyll_redis.cli.screen import (
    STATUS,
    Canvas,
    Layout,
    Row,
    can_show,
    layout_for,
    marks_for,
    row_text,
    size_of,
)
from argyll_redis.cli.texts import (
    GAP,
    columns_of,
    counted,
    duration,
    is_terminal,
    listed,
    paint,
    printable,
    shortened,
    status,
)
from argyll_redis.cli.tree import ASCII, UNICODE, branches

Shape = Mapping[str, Any]

MIN_COLUMNS, MIN_ROWS = 48, 6
"""Of a terminal that a tree is drawn on; a smaller one gets lines."""
BAR = 10
MAX_NAME_PART = 0.3
"""Of the columns, for the name with its branch."""
NO_ENGINE = "no engine is alive: nothing goes on until one runs (`argyll engine`)"
IMPORTED = "it was imported before its end: it is read, and nothing of it goes on here"
OVER = "the flow is over: what was running is waited for, nothing new starts"
NO_HANDLER = "no live engine has its handler"
SKIPPED = {"predicate": "its predicate was false", "match": "its gate is closed", "unwanted": "not needed"}


class Alive(NamedTuple):
    """What live engines have, all together; None where nobody knows."""

    queues: Collection[str] | None = None
    """Each engine serves at least one."""
    handlers: Collection[str] | None = None


UNKNOWN = Alive()


class Screen(Protocol):
    """What shows how far a flow is."""

    def say(self, line: str) -> None:
        """Says something that is not the flow's."""
        ...

    def show(self, progress: Shape, *, now_ms: int, alive: Alive) -> None:
        """Shows it as it is now, by the server's clock."""
        ...


def screen_for(*, as_json: bool) -> Screen | None:
    """Picks the screen for standard output; None where things are told in lines."""
    if as_json:
        return JsonLines()
    if not is_terminal(sys.stdout) or os.environ.get("TERM") == "dumb":
        return None
    columns, rows = size_of(sys.stdout)
    return Tree(sys.stdout) if columns >= MIN_COLUMNS and rows >= MIN_ROWS else None


# ------------------------------------------------------------------------ rows


def hindrance(progress: Shape, alive: Alive) -> str:
    """Why a flow does not go on, whatever its steps say; empty when nothing is known."""
    if progress["status"] != "active":
        is_waited_for = any(step["status"] == "active" for step in progress["steps"])
        return OVER if is_waited_for and not progress.get("imported") else ""
    if progress.get("imported"):
        return IMPORTED
    return NO_ENGINE if alive.queues is not None and not alive.queues else ""


def nowhere(progress: Shape, alive: Alive) -> dict[str, str]:
    """The steps that are due to run and that no live engine can run, each with why."""
    if alive == UNKNOWN or progress["status"] != "active" or hindrance(progress, alive):
        return {}
    found = ((step["id"], _nowhere(step, alive)) for step in progress["steps"] if step["status"] == "active")
    return {id: why for id, why in found if why}


def _nowhere(step: Shape, alive: Alive) -> str:
    over = step["succeeded"] + step["failed"] + step["skipped"] + step["accepted"]
    if "handler" not in step or over == step["items"]:
        return ""
    if alive.handlers is not None and step["handler"] not in alive.handlers:
        return NO_HANDLER
    if alive.queues is not None and step["queue"] not in alive.queues:
        return f"no live engine serves queue {step['queue']}"
    return ""


def rows_of(progress: Shape, now_ms: int, alive: Alive = UNKNOWN) -> list[Row]:
    """A row a step, in the order of the plan."""
    lost = nowhere(progress, alive)
    return [_row(step, now_ms, lost.get(step["id"], "")) for step in progress["steps"]]


def _row(step: Shape, now_ms: int, pressing: str) -> Row:
    return Row(
        step["id"],
        step["status"],
        step.get("items", 0),
        step["succeeded"] + step["failed"] + step["skipped"],
        step["retries"],
        step["lost"],
        note=pressing or ", ".join(note for note in _notes(step, now_ms) if note),
    )


def _notes(step: Shape, now_ms: int) -> Iterable[str]:
    """What there is to say of a step, the most pressing first."""
    match step["status"]:
        case "pending":
            yield f"waits for {listed(step['waits_for'])}" if step["waits_for"] else ""
        case "active":
            yield ", ".join(_active(step, now_ms)) or f"for {_rounded(now_ms - _ms(step['started_at']))}"
        case "skipped":
            yield SKIPPED.get(step.get("reason", ""), "")
        case "failed":
            yield step.get("error", "")
        case _:
            yield duration(_ms(step["completed_at"]) - _ms(step["started_at"]))
    if step["status"] in ("completed", "failed"):
        mended = [(step["retries"], "retried"), (step["lost"], "taken over")]
        yield from (f"{count} {what}" for count, what in mended if count)
    undos = [("undoing", "to undo"), ("undone", "undone"), ("undo_failed", "could not be undone")]
    yield from (f"{step[name]} {what}" for name, what in undos if name in step)


def _active(step: Shape, now_ms: int) -> Iterable[str]:
    if step["waiting"]:
        yield _retry(step, now_ms)
    if step["accepted"]:
        is_one, children = step["items"] == 1, step.get("children")
        if children:
            yield f"child {children[0]}" if is_one else f"{step['accepted']} child flows"
        else:
            yield "outcome from outside" if is_one else f"{step['accepted']} from outside"
    if step["failed"]:
        yield f"{step['failed']} failed"
    running = step["active"] - step["accepted"]
    if running and step["items"] > 1:
        yield f"{running} running"
    if step["waiting"] and step.get("error"):
        yield step["error"]


def _retry(step: Shape, now_ms: int) -> str:
    wait_ms = _ms(step["next_retry_at"]) - now_ms
    due = f"in {_rounded(wait_ms)}" if wait_ms > 0 else "due"
    return f"retry {due}" if step["waiting"] == 1 else f"{step['waiting']} retries, next {due}"


def _rounded(ms: int) -> str:
    """A time that is still running, in tenths of seconds."""
    return f"{max(ms, 0) / 1_000:.1f} s" if ms < 60_000 else duration(ms)


def _ms(rfc3339: str) -> int:
    return round(datetime.fromisoformat(rfc3339).timestamp() * 1_000)


def _elapsed_ms(progress: Shape, now_ms: int) -> int:
    end = _ms(progress["completed_at"]) if "completed_at" in progress else now_ms
    return max(end - _ms(progress["created_at"]), 0)


# --------------------------------------------------------------------- screens


class JsonLines:
    """Prints what is new as an object a line."""

    def __init__(self) -> None:
        self._version = 0

    def say(self, line: str) -> None:
        """Says something on standard error: standard output is for objects."""
        click.echo(line, err=True)

    def show(self, progress: Shape, *, now_ms: int, alive: Alive) -> None:
        """Prints it if it was not printed before."""
        if progress["version"] > self._version:
            self._version = progress["version"]
            print_json_line(progress)


class Tree:
    """Draws the plan as a tree, in place; what is drawn last stays."""

    def __init__(self, stream: TextIO) -> None:
        self._canvas = Canvas(stream)
        self._marks = marks_for(stream)
        self._glyphs = UNICODE if can_show("├└│…", stream) else ASCII
        self._branches: dict[str, str] = {}
        self._window = Window()
        self._count = 5
        """Columns of counts: they only grow, so that nothing jumps to and fro."""

    def say(self, line: str) -> None:
        """Writes a line above the tree."""
        self._canvas.say(shortened(printable(line), self._canvas.size()[0] - 1))

    def show(self, progress: Shape, *, now_ms: int, alive: Alive) -> None:
        """Draws it."""
        columns, lines = self._canvas.size()
        head = [self._head(progress, now_ms, columns)]
        if hindering := hindrance(progress, alive):
            head.append(paint(shortened(hindering, columns - 1), "yellow", stream=self._canvas.stream))
        rows = self._in_order(rows_of(progress, now_ms, alive), progress)
        shown = self._window.of(rows, lines - 1 - len(head))
        layout = self._layout(rows, columns)
        drawn = [
            shortened(row, columns - 1)
            if isinstance(row, str)
            else row_text(row, layout, self._marks, self._canvas.stream)
            for row in shown
        ]
        self._canvas.draw([*head, *drawn])

    def _head(self, progress: Shape, now_ms: int, columns: int) -> str:
        steps = progress["steps"]
        over = sum(step["status"] in ("completed", "failed", "skipped") for step in steps)
        rest = (
            f"{GAP}{duration(_elapsed_ms(progress, now_ms))}{GAP}{over} of {counted(len(steps), 'step')} over"
        )
        room = columns - 1 - len("flow ") - len(GAP) - STATUS - len(rest)
        name = shortened(printable(progress["id"]), max(room, 1))
        return shortened(f"flow {name}{GAP}{status(progress['status'])}{rest}", columns - 1)

    def _in_order(self, unordered: Iterable[Row], progress: Shape) -> list[Row]:
        if not self._branches:
            needs = {step["id"]: step["needs"] for step in progress["steps"]}
            self._branches = branches(needs, progress["goals"], self._glyphs)
        rows = {row.id: row for row in unordered}
        return [replace(rows[id], branch=branch) for id, branch in self._branches.items()]

    def _layout(self, rows: Sequence[Row], columns: int) -> Layout:
        self._count = max(self._count, *(len(f"{row.items}/{row.items}") for row in rows), 0)
        name = max((columns_of(row.label) for row in rows), default=0)
        name = min(name, int(columns * MAX_NAME_PART))
        return layout_for(columns, name=name, counts=self._count, bar=BAR)


class Window:
    """The part of many rows that a terminal has room for: it stays where it is while something goes on
    in it, and says how many rows are above and below, and how they stand."""

    def __init__(self) -> None:
        self._start = 0

    def of(self, rows: Sequence[Row], room: int) -> list[Row | str]:
        """At most `room` rows, the first and the last of which may be words."""
        if len(rows) <= room:
            return list(rows)
        size = max(room - 2, 1)
        focus = _focus(rows)
        if not self._start <= focus < self._start + size:
            self._start = focus - size // 3
        self._start = max(0, min(self._start, len(rows) - size))
        end = self._start + size
        return [_hidden(rows[: self._start], "above"), *rows[self._start : end], _hidden(rows[end:], "below")]


def _focus(rows: Sequence[Row]) -> int:
    """What somebody who watches wants to see: the first step that runs, or failed, or waits."""
    for wanted in ("active", "failed", "pending"):
        for place, row in enumerate(rows):
            if row.status == wanted:
                return place
    return 0


def _hidden(rows: Sequence[Row], where: str) -> str:
    if not rows:
        return ""
    standing = Counter(row.status for row in rows)
    return f"{len(rows)} more {where}: " + ", ".join(f"{count} {word}" for word, count in standing.items())
