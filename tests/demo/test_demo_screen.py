"""Bars are drawn in place below the lines that stay; elsewhere each thing that happens is a line."""

from __future__ import annotations

import io
import re

import pytest

from argyll_redis.cli import demo_screen
from argyll_redis.cli.demo_screen import Bars, Lines
from argyll_redis.tally import StepTally, Tally


class Terminal(io.StringIO):
    """As much of a terminal as the bars use: its rows, from what is written to it."""

    encoding = "utf-8"

    def rows(self) -> list[str]:
        rows, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|\n|[^\x1b\n]+", self.getvalue()):
            match part[-1], part.startswith("\x1b"):
                case "\n", _:
                    row, column = row + 1, 0
                    rows += [""] * (row + 1 - len(rows))
                case "F", True:
                    row, column = row - int(part[2:-1]), 0
                    assert row >= 0
                case "J", True:
                    rows = [*rows[:row], rows[row][:column]]
                case "K", True:
                    rows[row] = rows[row][:column]
                case _, False:
                    rows[row] = rows[row][:column] + part + rows[row][column + len(part) :]
                    column += len(part)
        return [each.rstrip() for each in rows if each]


def tally_at(done: int, *, status: str = "active") -> Tally:
    tally = Tally.of(["list", "measure"])
    tally.steps["list"] = StepTally("list", "completed", items=1, done=1, started_ms=1, ended_ms=2)
    tally.steps["measure"] = StepTally("measure", "active", items=10, done=done, taken_over=2)
    tally.status = status
    return tally


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every show is drawn, on a terminal of 80 columns."""
    monkeypatch.setattr(demo_screen, "REDRAW_S", 0)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def test_bars_are_drawn_in_place_and_lines_stay_above_them() -> None:
    terminal = Terminal()
    with Bars(terminal) as bars:
        bars.say("Server: here.")
        bars.show(tally_at(1))
        bars.show(tally_at(5))
        bars.say("Killed an engine.")
        bars.show(tally_at(9))
        assert [re.sub(r"\x1b\[\d*m", "", row) for row in terminal.rows()] == [
            "Server: here.",
            "Killed an engine.",
            "list     completed  ████████████████████        1/1",
            "measure  active     ██████████████████░░       9/10  2 taken over",
        ]
    assert terminal.rows() == ["Server: here.", "Killed an engine."]


def test_a_narrow_terminal_gets_narrower_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    with Bars(terminal) as bars:
        bars.show(tally_at(10))
        assert max(map(len, terminal.rows())) < 60


def test_the_last_state_is_drawn_however_soon_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_screen, "REDRAW_S", 1_000)
    terminal = Terminal()
    with Bars(terminal) as bars:
        bars.show(tally_at(1))
        bars.show(tally_at(2))
        bars.show(tally_at(10, status="completed"))
        assert "10/10" in terminal.rows()[1]


def test_a_stream_without_block_characters_gets_others() -> None:
    class Latin(Terminal):
        encoding = "latin-1"

    terminal = Latin()
    with Bars(terminal) as bars:
        bars.show(tally_at(5))
        assert "##########.........." in terminal.getvalue()


def test_lines_tell_each_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        lines.say("Server: here.")
        lines.show(tally_at(1))
        lines.show(tally_at(2))
    assert capsys.readouterr().out.splitlines() == [
        "Server: here.",
        "    0 ms  list completed",
        "    0 ms  measure: 2 attempts were taken over",
        "    0 ms  measure 1 of 10",
    ]


def test_a_retry_is_told_with_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    tally = tally_at(1)
    tally.steps["list"] = StepTally("list", "active", items=1, retried=1, error="the list is locked")
    Lines().show(tally)
    assert "list is tried again: the list is locked" in capsys.readouterr().out


def test_a_single_attempt_that_was_taken_over_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    tally = tally_at(1)
    tally.steps["measure"].taken_over = 1
    Lines().show(tally)
    assert "measure: 1 attempt was taken over" in capsys.readouterr().out


def test_a_terminal_that_has_become_lower_is_not_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "2")
    terminal = Terminal()
    with Bars(terminal) as bars:
        bars.show(tally_at(1))
        assert len(terminal.rows()) == 1


def test_a_terminal_without_colour_has_bars_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(Terminal):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    stream = Stream()
    monkeypatch.setattr("sys.stdout", stream)
    with demo_screen.screen_for(as_json=False, steps=2) as screen:
        screen.show(tally_at(1))
        assert (type(screen), "\x1b[3" in stream.getvalue()) == (Bars, False)
