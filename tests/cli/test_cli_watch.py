"""`flow watch`: a tree on a terminal, lines in a pipe, objects for programs; and it ends as the flow does."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_words import BROKEN, Cli, ended, process, read_until, script_step

from argyll_redis.app import Argyll
from argyll_redis.cli import flow_screens, opened
from argyll_redis.cli.flow_screens import Window, rows_of
from argyll_redis.cli.options import Asked
from argyll_redis.cli.screen import Row


@pytest.fixture(scope="module")
def shop() -> Cli:
    """A namespace with a completed flow `good`, a failed one `bad` and one that waits, `idle`."""
    cli = Cli()
    cli.register()
    with cli.engine():
        for goal, id in (("triple", "good"), ("broken", "bad")):
            cli("flow", "start", goal, "--init", "a=5", "--id", id, "--wait")
    cli("flow", "start", "triple", "--init", "a=1", "--id", "idle")
    return cli


# ------------------------------------------------------------------------ pipe


def test_in_a_pipe_each_thing_that_happened_is_a_line_in_its_order(shop: Cli) -> None:
    answer = shop("flow", "watch", "good")
    told = [line.split(maxsplit=2)[2] for line in answer.out.splitlines()]
    assert (answer.status, answer.err) == (0, "")
    assert told == [
        "double started",
        "double completed",
        "triple started",
        "triple completed",
        "flow good completed",
    ]


def test_a_flow_that_failed_is_bad_news_after_its_lines(shop: Cli) -> None:
    answer = shop("flow", "watch", "bad")
    assert answer.status == 1
    assert answer.out.splitlines()[-1].endswith("flow bad failed")
    assert "broken failed: " in answer.out
    assert answer.err.startswith("error: flow bad failed: ")
    assert (answer.err.count("\n"), "boom" in answer.err) == (1, True)


def test_as_json_every_line_is_an_object_and_the_last_one_is_the_end(shop: Cli) -> None:
    good, bad = shop("flow", "watch", "good", "--json"), shop("flow", "watch", "bad", "--json")
    assert (good.status, bad.status) == (0, 1)
    assert [each["status"] for each in good.lines] == ["completed"]
    assert {step["id"]: step["needs"] for step in good.lines[-1]["steps"]} == {
        "double": [],
        "triple": ["double"],
    }


def test_a_flow_is_followed_to_its_end(real_cli: Cli) -> None:
    real_cli.register()
    real_cli("flow", "start", "triple", "--init", "a=1", "--id", "f")
    watching = process("flow", "watch", "f", **real_cli.variables)
    objects = process("flow", "watch", "f", "--json", **real_cli.variables)
    read_until(objects.stdout, '"active"')
    said = read_until(watching.stderr, "no engine is alive")
    with real_cli.engine():
        lines, found = ended(watching), ended(objects)
    assert (lines.status, found.status, said.count("\n")) == (0, 0, 1)
    assert lines.out.splitlines()[-1].endswith("flow f completed")
    assert found.lines[-1]["status"] == "completed"


def test_ctrl_c_ends_the_watching_and_not_the_flow(real_cli: Cli) -> None:
    real_cli.register()
    real_cli("flow", "start", "double", "--init", "a=1", "--id", "f")
    watching = process("flow", "watch", "f", "--json", **real_cli.variables)
    read_until(watching.stdout, '"active"')
    watching.send_signal(signal.SIGINT)
    answer = ended(watching)
    assert (answer.status, answer.err) == (130, "error: interrupted\n")
    assert real_cli("flow", "show", "f", "--json").json["status"] == "active"


def test_a_reader_that_has_gone_is_no_error(real_cli: Cli) -> None:
    real_cli.register()
    real_cli("flow", "start", "double", "--init", "a=1", "--id", "f")
    watching = process("flow", "watch", "f", **real_cli.variables)
    assert watching.stdout is not None
    read_until(watching.stdout, "double started")
    watching.stdout.close()
    assert real_cli("flow", "cancel", "f").status == 0
    answer = ended(watching)
    assert (answer.status, answer.err.replace(f"{flow_screens.NO_ENGINE}\n", "")) == (141, "")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_unknown_flow_is_said_in_one_line(options: list[str], shop: Cli) -> None:
    answer = shop("flow", "watch", "gone", *options)
    assert (answer.status, answer.out, answer.err) == (4, "", 'error: no flow "gone" exists\n')


def test_a_server_that_cannot_be_reached_is_said_in_one_line() -> None:
    answer = Cli("redis://localhost:1/0")("flow", "watch", "f")
    assert (answer.status, answer.out, answer.err.count("\n")) == (3, "", 1)


# ------------------------------------------------------------------------ rows


def progress_of(**step: Any) -> dict[str, Any]:
    """How far a flow of one step is."""
    counts = dict.fromkeys(
        ("succeeded", "failed", "skipped", "active", "accepted", "waiting", "retries", "lost"), 0
    )
    return {"steps": [{"id": "s", "needs": [], "waits_for": [], **counts, **step}]}


STARTED = "1970-01-01T00:00:10.000Z"
LATER = "1970-01-01T00:00:14.500Z"
NOW_MS = 12_300


@pytest.mark.parametrize(
    ("step", "note"),
    [
        ({"status": "pending", "waits_for": ["a", "b"]}, "waits for a, b"),
        ({"status": "pending"}, ""),
        ({"status": "active", "items": 1, "active": 1, "started_at": STARTED}, "for 2.3 s"),
        ({"status": "active", "items": 1, "active": 1, "accepted": 1}, "outcome from outside"),
        ({"status": "active", "items": 9, "active": 3, "accepted": 2}, "2 from outside, 1 running"),
        (
            {"status": "active", "items": 1, "waiting": 1, "next_retry_at": LATER, "error": "no"},
            "retry in 2.2 s, no",
        ),
        (
            {"status": "active", "items": 9, "waiting": 2, "active": 1, "next_retry_at": STARTED},
            "2 retries, next due, 1 running",
        ),
        ({"status": "active", "items": 9, "failed": 2, "active": 1}, "2 failed, 1 running"),
        (
            {"status": "completed", "started_at": STARTED, "completed_at": LATER, "retries": 2},
            "4.5 s, 2 retried",
        ),
        ({"status": "failed", "error": "boom", "lost": 1}, "boom, 1 taken over"),
        ({"status": "skipped", "reason": "unwanted"}, "not needed"),
        ({"status": "skipped", "reason": "predicate"}, "its predicate was false"),
    ],
)  # fmt: skip
def test_a_row_says_what_is_most_pressing(step: dict[str, Any], note: str) -> None:
    [row] = rows_of(progress_of(**step), NOW_MS)
    assert row.note == note


def test_a_row_counts_all_items_that_are_over() -> None:
    [row] = rows_of(progress_of(status="active", items=9, succeeded=3, failed=1, skipped=2, active=1), NOW_MS)
    assert (row.done, row.items) == (6, 9)


# ---------------------------------------------------------------------- window


def rows(*statuses: str) -> list[Row]:
    return [Row(f"s{place}", status) for place, status in enumerate(statuses)]


def ids(shown: list[Row | str]) -> list[str]:
    return [each.id if isinstance(each, Row) else each for each in shown]


def test_what_fits_is_shown_whole() -> None:
    assert ids(Window().of(rows("active", "pending"), 2)) == ["s0", "s1"]


def test_what_does_not_fit_is_counted_by_how_it_stands() -> None:
    many = rows(*["completed"] * 10, "active", *["pending"] * 9)
    assert ids(Window().of(many, 7)) == [
        "9 more above: 9 completed",
        *("s9", "s10", "s11", "s12", "s13"),
        "6 more below: 6 pending",
    ]


def test_a_window_stays_while_something_goes_on_in_it_and_follows_when_it_leaves() -> None:
    window = Window()
    starts = []
    for at in range(20):
        shown = window.of(rows(*["completed"] * at, "active", *["pending"] * (19 - at)), 7)
        assert f"s{at}" in ids(shown)
        assert len(shown) == 7
        starts.append(next(each.id for each in shown if isinstance(each, Row)))
    assert (
        starts == [*["s0"] * 5, *["s4"] * 5, *["s9"] * 5, *["s14"] * 5][: len(starts)]
        or len(set(starts)) <= 6
    )


def test_a_window_that_is_hardly_there_still_shows_a_row() -> None:
    assert len(Window().of(rows(*["pending"] * 9), 2)) == 3


# -------------------------------------------------------------------- terminal


class Tmux:
    """A terminal of 80 columns and 24 rows, and what is on it."""

    def __init__(self, name: str, command: list[str], variables: dict[str, str]) -> None:
        self._socket = ["tmux", "-L", name, "-f", "/dev/null"]
        words = ["env", "LC_ALL=C.UTF-8", *(f"{key}={value}" for key, value in variables.items()), *command]
        shell = f"{subprocess.list2cmdline(words)}; echo status $?; cat"
        subprocess.run([*self._socket, "new-session", "-d", "-x", "80", "-y", "24", shell], check=True)

    def screen(self) -> list[str]:
        """The rows of the terminal that are not empty."""
        found = subprocess.run(
            [*self._socket, "capture-pane", "-p"], check=True, capture_output=True, encoding="utf-8"
        )
        return [line for line in found.stdout.splitlines() if line.strip()]

    def history(self) -> list[str]:
        """All that was ever written and stayed."""
        found = subprocess.run(
            [*self._socket, "capture-pane", "-p", "-S", "-1000"],
            check=True,
            capture_output=True,
            encoding="utf-8",
        )
        return [line for line in found.stdout.splitlines() if line.strip()]

    def until(self, words: str, *, limit_s: float = 15) -> list[str]:
        """Waits until the screen has these words."""
        deadline_s = time.monotonic() + limit_s
        while words not in "\n".join(self.screen()):
            assert time.monotonic() < deadline_s, self.screen()
            time.sleep(0.02)
        return self.screen()

    def until_other_than(self, screen: list[str], *, limit_s: float = 15) -> None:
        """Waits until something else is drawn."""
        deadline_s = time.monotonic() + limit_s
        while self.screen() == screen:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def resize(self, columns: int, rows: int) -> None:
        size = ["-x", str(columns), "-y", str(rows)]
        subprocess.run([*self._socket, "resize-window", *size], check=True)

    def press(self, key: str) -> None:
        subprocess.run([*self._socket, "send-keys", key], check=True)

    def close(self) -> None:
        subprocess.run([*self._socket, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def watched(real_cli: Cli) -> Iterator[Any]:
    """Watches flows in terminals."""
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux")
    opened: list[Tmux] = []

    def watch(flow: str) -> Tmux:
        root = os.fspath(Path(__file__).parents[2])
        command = [sys.executable, "-m", "argyll_redis.cli", "flow", "watch", flow]
        tmux = Tmux(f"argyll-{real_cli.namespace}", command, {**real_cli.variables, "PYTHONPATH": root})
        opened.append(tmux)
        return tmux

    yield watch
    for each in opened:
        each.close()


def chain(length: int) -> list[dict[str, Any]]:
    """Steps each of which needs the one before."""
    return [
        script_step(f"s{n}", f"return {{a{n} = a{n - 1}}}", needs={f"a{n - 1}": "number"}, provides=f"a{n}")
        for n in range(1, length + 1)
    ]


def test_on_a_terminal_the_plan_is_a_tree_that_changes_in_place(real_cli: Cli, watched: Any) -> None:
    real_cli.register(*chain(3), BROKEN)
    real_cli("flow", "start", "s3", "--init", "a0=1", "--id", "f")
    terminal = watched("f")
    shown = terminal.until("no engine is alive")
    assert [re.sub(r"\d+(\.\d)? m?s\b", "T", line).rstrip() for line in shown] == [
        "flow f  active  T  0 of 3 steps over",
        flow_screens.NO_ENGINE,
        "s3      pending    ░░░░░░░░░░         waits for s2",
        "└ s2    pending    ░░░░░░░░░░         waits for s1",
        "  └ s1  active     ░░░░░░░░░░    0/1  for T",
    ]
    with real_cli.engine():
        terminal.until("status 0")
    assert [re.sub(r"\d+(\.\d)? m?s\b", "T", line).rstrip() for line in terminal.history()] == [
        "flow f  completed  T  3 of 3 steps over",
        "s3      completed  ██████████    1/1  T",
        "└ s2    completed  ██████████    1/1  T",
        "  └ s1  completed  ██████████    1/1  T",
        "status 0",
    ]


def test_a_plan_that_is_taller_than_the_terminal_is_a_window_that_never_scrolls(
    real_cli: Cli, watched: Any
) -> None:
    real_cli.register(*chain(40))
    real_cli("flow", "start", "s40", "--init", "a0=1", "--id", "f" * 200)
    terminal = watched("f" * 200)
    shown = terminal.until("no engine is alive")
    assert (len(shown), max(map(len, shown)) < 80) == (22, True)
    assert re.fullmatch(r"\d+ more above: \d+ pending", shown[2])
    terminal.until_other_than(shown)
    assert len(terminal.history()) == len(terminal.screen())
    terminal.resize(60, 15)
    terminal.until("30 more above: 30 pending")
    assert (len(terminal.screen()), max(map(len, terminal.screen())) < 60) == (13, True)
    terminal.resize(80, 24)
    with real_cli.engine():
        shown = terminal.until("status 0")
    assert shown[-1] == "status 0"
    assert any(re.fullmatch(r"\d+ more below: \d+ completed", line) for line in shown)
    assert sum("40 of 40 steps over" in line for line in terminal.history()) == 1


def test_a_failed_flow_leaves_its_tree_and_one_line(real_cli: Cli, watched: Any) -> None:
    real_cli.register()
    with real_cli.engine():
        real_cli("flow", "start", "broken", "--init", "a=1", "--id", "f", "--wait")
    shown = watched("f").until("status 1")
    assert shown[0].startswith("flow f  failed  ")
    assert shown[1].startswith("broken  failed     ")
    assert "".join(shown[2:-1]).startswith("error: flow f failed: ")


def test_ctrl_c_leaves_the_tree_and_one_line(real_cli: Cli, watched: Any) -> None:
    real_cli.register()
    real_cli("flow", "start", "double", "--init", "a=1", "--id", "f")
    terminal = watched("f")
    terminal.until("no engine is alive")
    terminal.press("C-c")
    shown = terminal.until("status 130")
    assert shown[-2].endswith("error: interrupted")
    assert shown[2].startswith("double")


def test_what_is_logged_is_said_once_and_not_again_at_once(shop: Cli) -> None:
    """A server that is away is news once."""
    said: list[str] = []
    log = logging.getLogger("argyll_redis.runtime.follower")

    async def work(app: Argyll) -> None:
        for number in range(3):
            log.warning("following failed: %s", number)
        log.warning("something else")
        await asyncio.sleep(0)

    opened.run(Asked(shop.url, shop.namespace, False), work, say=said.append)
    assert said == ["warning: following failed: 0", "warning: something else"]
