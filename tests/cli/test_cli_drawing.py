"""What drawings are made of: trees, rows, what is written to a terminal, and graphs for Graphviz."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from typing import Any

import click
import pytest
from cli_words import Cli, script_step

from argyll_redis.cli import screen
from argyll_redis.cli.screen import Canvas, Changes, Layout, Row, layout_for, marks_for, row_text
from argyll_redis.cli.texts import columns_of
from argyll_redis.cli.tree import ASCII, UNICODE, branches

# ------------------------------------------------------------------------ tree


def drawn(needs: dict[str, list[str]], *goals: str, glyphs: Any = UNICODE) -> list[str]:
    return [branch + step for step, branch in branches(needs, goals, glyphs).items()]


def test_what_a_step_needs_stands_under_it_and_each_step_once() -> None:
    needs = {"send": ["bill", "pack"], "bill": ["load", "price"], "pack": ["load"], "load": [], "price": []}
    assert drawn(needs, "send") == [
        "send",
        "├ bill",
        "│ ├ load",
        "│ └ price",
        "└ pack",
    ]


def test_every_goal_is_a_root_also_one_that_another_needs() -> None:
    needs = {"a": ["b"], "b": ["c"], "c": [], "d": []}
    assert drawn(needs, "a", "b", "gone") == ["a", "b", "└ c", "d"]


def test_deep_steps_stand_no_deeper_than_the_deepest_that_is_indented() -> None:
    needs = {f"s{n}": [f"s{n + 1}"] for n in range(5_000)} | {"s5000": []}
    found = drawn(needs, "s0")
    assert found[:7] == ["s0", "└ s1", "  └ s2", "    └ s3", "      └ s4", "…     └ s5", "…     └ s6"]
    assert len(found) == 5_001


def test_without_lines_to_draw_with_there_are_letters() -> None:
    assert drawn({"a": ["b", "c"], "b": [], "c": []}, "a", glyphs=ASCII) == ["a", "|-b", "`-c"]


# ------------------------------------------------------------------------ rows

LAYOUT = Layout(60, 12, 10, 5)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def text(row: Row, layout: Layout = LAYOUT) -> str:
    stream = Terminal()
    return click.unstyle(row_text(row, layout, marks_for(stream), stream))


def test_a_row_has_name_status_bar_count_and_note() -> None:
    row = Row("price", "active", items=10, done=4, note="2 running")
    assert text(row) == "price         active     ████░░░░░░   4/10  2 running"


@pytest.mark.parametrize("columns", [48, 60, 80, 200])
@pytest.mark.parametrize("id", ["s", "a-step-with-a-very-long-name-indeed", "日本語の長い名前のステップ"])
def test_a_row_is_never_wider_than_its_terminal(id: str, columns: int) -> None:
    row = Row(id, "completed", items=10_000, done=10_000, note="x" * 300, branch="│ └ ")
    layout = layout_for(columns, name=int(columns * 0.4), counts=11, bar=10)
    assert columns_of(text(row, layout)) < columns


def test_text_of_a_flow_cannot_write_to_the_terminal() -> None:
    row = Row("a\x1b[2Jb", "failed", items=1, note="\x1b[0;0H\nno")
    assert text(row, Layout(80, 20, 4, 5)).endswith(r"\x1b[0;0H\nno")
    assert "\x1b[2J" not in text(row)


def test_colour_is_left_out_where_the_user_has_refused_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    assert "\x1b" not in row_text(Row("a", "failed"), LAYOUT, marks_for(stream), stream)


# ---------------------------------------------------------------------- canvas


@pytest.fixture
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("eighty")
def test_what_is_drawn_already_is_not_drawn_again() -> None:
    terminal = Terminal()
    canvas = Canvas(terminal)
    canvas.draw(["a", "b"])
    once = terminal.getvalue()
    canvas.draw(["a", "b"])
    assert terminal.getvalue() == once == "a\x1b[K\nb\x1b[K\n\x1b[0J"


@pytest.mark.usefixtures("eighty")
def test_the_next_drawing_begins_where_the_last_one_began() -> None:
    terminal = Terminal()
    canvas = Canvas(terminal)
    canvas.draw(["a", "b", "c"])
    canvas.draw(["d"])
    canvas.draw(["e", "f"])
    assert terminal.getvalue().endswith("\x1b[3Fd\x1b[K\n\x1b[0J\x1b[1Fe\x1b[K\nf\x1b[K\n\x1b[0J")


def test_a_terminal_of_another_width_is_drawn_on_from_its_top(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    canvas = Canvas(terminal)
    monkeypatch.setenv("COLUMNS", "80")
    canvas.draw(["a"])
    monkeypatch.setenv("COLUMNS", "60")
    canvas.draw(["a"])
    canvas.draw(["b"])
    assert (
        terminal.getvalue()
        == "a\x1b[K\n\x1b[0J" + "\x1b[2J\x1b[1;1Ha\x1b[K\n\x1b[0J" + "\x1b[1Fb\x1b[K\n\x1b[0J"
    )


# --------------------------------------------------------------------- changes


def test_each_change_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "LINE_S", 10**6)
    told: list[str] = []
    changes = Changes(told.append, with_starts=True)
    course = [
        Row("s", "pending"),
        Row("s", "active", items=3),
        Row("s", "active", items=3, retried=1, error="busy"),
        Row("s", "active", items=3, retried=1, done=1),
        Row("s", "active", items=3, retried=1, done=2),
        Row("s", "active", items=3, retried=1, outside=1),
        Row("s", "active", items=3, retried=1, outside=1, lost=2),
        Row("s", "failed", items=3, retried=1, outside=1, lost=2, error="boom"),
        Row("s", "failed", items=3, retried=1, outside=1, lost=2, error="boom"),
    ]
    for row in course:
        changes.show([row], 1_500)
    assert [line.removeprefix("   1.5 s  ") for line in told] == [
        "s started with 3 items",
        "s is tried again: busy",
        "s 1 of 3",
        "s waits for an outcome from outside",
        "s: 2 attempts were taken over",
        "s failed: boom",
    ]


# ------------------------------------------------------------------------- dot

HOSTILE = 'a"];\\n<b>&\u20ac'


def test_a_plan_is_drawn_the_same_every_time_with_its_goals_and_what_is_missing(cli: Cli) -> None:
    cli.register()
    first, again = cli("plan", "triple", "--dot"), cli("plan", "triple", "--dot")
    assert (first.status, first) == (0, again)
    assert first.out.splitlines() == [
        "digraph plan {",
        "  rankdir=LR;",
        '  node [fontname="sans-serif"];',
        '  edge [fontname="sans-serif"];',
        r'  "step:double" [shape=box, label="double\nscript"];',
        r'  "step:triple" [shape=box, label="triple\nscript", peripheries=2];',
        '  "attribute:a" [shape=ellipse, label="a", style=dashed];',
        '  "attribute:b" [shape=ellipse, label="b"];',
        '  "attribute:c" [shape=ellipse, label="c"];',
        '  "attribute:a" -> "step:double";',
        '  "step:double" -> "attribute:b";',
        '  "attribute:b" -> "step:triple";',
        '  "step:triple" -> "attribute:c";',
        "}",
    ]


def test_a_goal_that_is_done_from_the_start_is_drawn_too(cli: Cli) -> None:
    cli.register()
    out = cli("plan", "double", "--init", "b=1", "--dot").out
    assert (
        r'"step:double" [shape=box, style=dotted, label="double\ndone from the start", peripheries=2];' in out
    )


def test_inputs_that_are_not_the_plainest_say_how_they_are_taken(cli: Cli) -> None:
    step = script_step("s", "return {y = 1}", needs={}, provides="y")
    step["attributes"]["xs"] = {"role": "required", "type": "array", "required": {"for_each": True}}
    step["attributes"]["may"] = {"role": "optional"}
    cli.register(step)
    out = cli("plan", "s", "--dot").out
    assert '"attribute:xs" -> "step:s" [label="for each"];' in out
    assert '"attribute:may" -> "step:s" [style=dashed];' in out


def test_any_name_is_safe_in_a_graph(cli: Cli) -> None:
    step = script_step("s", "return {y = 1}", needs={HOSTILE: "number"}, provides="y")
    step["attributes"][HOSTILE]["required"] = {"mapping": {"name": "plain"}}
    answer = cli("step", "register", "-", stdin=json.dumps(step))
    assert answer.status == 0, answer
    out = cli("plan", "s", "--dot").out
    assert r'"attribute:a\"];\\n<b>&€" -> "step:s";' in out
    if shutil.which("dot"):
        assert subprocess.run(["dot", "-Tsvg"], input=out, text=True, capture_output=True).returncode == 0


@pytest.mark.parametrize("option", ["--json", "--why"])
def test_a_graph_goes_with_nothing_else(option: str, cli: Cli) -> None:
    cli.register()
    answer = cli("plan", "double", "--dot", option)
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
