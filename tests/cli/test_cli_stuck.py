"""What is said where something is stuck: it names the cause, and fits the terminal."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from typing import Any

import pytest
from cli_words import BROKEN, DOUBLE, TRIPLE, Cli, ended, process, read_until

from argyll_redis.app import Argyll
from argyll_redis.cli import flow_screens, flow_texts, flow_watch, texts
from argyll_redis.cli.flow_screens import NO_HANDLER, OVER, UNKNOWN, Alive, hindrance, nowhere, rows_of
from argyll_redis.cli.refusals import READER_GONE

COLUMNS = 80


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is a terminal of 80 columns."""
    for module in (texts, flow_texts):
        monkeypatch.setattr(module, "terminal_width", lambda: COLUMNS)


# --------------------------------------------------------------------- folding


@pytest.mark.usefixtures("narrow")
def test_a_sentence_is_folded_between_words_beside_its_head() -> None:
    shown = texts.beside("[12]  ", "word " * 30 + "end")
    lines = shown.splitlines()
    assert (len(lines), max(map(len, lines)) <= COLUMNS) == (3, True)
    assert [line[:6] for line in lines] == ["[12]  ", "      ", "      "]
    assert " ".join(line[6:] for line in lines) == "word " * 30 + "end"


@pytest.mark.usefixtures("narrow")
def test_a_word_that_is_longer_than_a_line_is_left_whole() -> None:
    assert texts.beside("[1]  ", f"a {'x' * 90}").splitlines() == ["[1]  a", f"     {'x' * 90}"]


@pytest.mark.usefixtures("narrow")
def test_a_sentence_that_just_fits_is_one_line() -> None:
    assert texts.beside("> ", "a " + "x" * 76) == "> a " + "x" * 76


def test_in_a_pipe_a_sentence_is_one_line() -> None:
    assert texts.beside("> ", "word " * 99) == "> " + "word " * 99


@pytest.mark.usefixtures("narrow")
def test_why_fits_a_terminal(cli: Cli) -> None:
    cli.register(BROKEN)
    with cli.engine():
        cli("flow", "start", "broken", "--init", "a=1", "--id", "f" * 60, "--wait")
        told = flow_texts.explanation(
            {
                "step": "broken",
                "flow_id": "f",
                "status": "failed",
                "why": [{"text": "it failed: " + "boom " * 40, "version": 7}],
            }
        )
    assert max(map(len, told.splitlines())) <= COLUMNS


@pytest.mark.usefixtures("narrow")
def test_a_list_on_a_terminal_has_the_root_cause_and_not_which_goal_it_cost() -> None:
    error = 'goal "ship" can no longer be reached: step "price": no price for coffee'
    flow = {
        "id": "order-18",
        "status": "failed",
        "timestamp": "2026-11-27T09:43:31.024Z",
        "labels": {"customer": "bob"},
        "error": error,
    }
    [_, line] = flow_texts.flow_table([flow]).splitlines()
    assert line.endswith('  step "price": no price for coffee')


def test_a_list_in_a_pipe_has_the_whole_error(cli: Cli) -> None:
    cli.register(BROKEN, {**TRIPLE, "attributes": {**TRIPLE["attributes"], "d": {"role": "required"}}})
    with cli.engine():
        cli("flow", "start", "triple", "--init", "a=1", "--init", "b=1", "--id", "f", "--wait")
    assert 'goal "triple" can no longer be reached: step "broken": ' in cli("flow", "list").out


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("step", ["a", "s" * 60, "日本" * 9])
def test_an_event_is_one_line_of_a_terminal(step: str) -> None:
    data = {"step": step, "error": "boom " * 30}
    event = {"id": "12345-0", "type": "work_retry_scheduled", "at": 1_795_772_612_024, "data": data}
    line = flow_texts.event_line(event)
    assert (texts.columns_of(line) <= COLUMNS, line.endswith("…")) == (True, True)


def test_an_event_in_a_pipe_has_its_date_and_all_of_its_step() -> None:
    event = {
        "id": "2-0",
        "type": "step_started",
        "at": 1_795_772_612_024,
        "data": {"step": "s" * 60, "items": 3},
    }
    assert flow_texts.event_line(event) == (
        f"     2  2026-11-27 09:43:32.024Z  step_started          {'s' * 60}  items=3"
    )


# ---------------------------------------------------------------------- queues


@pytest.fixture
def queues(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the queues what a test says: name to waiting, running, due later, engines."""

    def say(**queues: tuple[int, int, int, int]) -> None:
        async def queue_stats(self: Argyll) -> dict[str, Any]:
            names = ("depth", "in_flight", "due", "engines")
            rows = [
                {"queue": name, "oldest": 0, **dict(zip(names, counts, strict=True))}
                for name, counts in queues.items()
            ]
            return {"queues": rows}

        monkeypatch.setattr(Argyll, "queue_stats", queue_stats)

    return say


def notes(cli: Cli) -> list[str]:
    """What `queue` says under its table."""
    _, _, told = cli("queue").out.partition("\n\n")
    return told.splitlines()


def test_queues_that_are_served_need_no_words(cli: Cli, queues: Any) -> None:
    queues(control=(0, 0, 0, 1), default=(5, 1, 2, 1), gpu=(0, 0, 0, 0))
    assert notes(cli) == []


def test_work_in_a_queue_that_nobody_serves_is_named(cli: Cli, queues: Any) -> None:
    queues(control=(0, 0, 0, 1), gpu=(2, 0, 1, 0), cpu=(0, 1, 0, 0))
    assert notes(cli) == [
        "3 entries lie in gpu, which no live engine serves",
        "1 entry lies in cpu, which no live engine serves",
    ]


def test_what_is_counted_as_running_without_an_engine_is_not_running(cli: Cli, queues: Any) -> None:
    queues(control=(0, 0, 0, 0), default=(0, 2, 0, 0))
    assert notes(cli) == [
        "no engine is alive: nothing goes on until one runs (`argyll engine`), "
        "which takes over what was running"
    ]


def test_what_waits_without_an_engine_needs_one(cli: Cli, queues: Any) -> None:
    queues(control=(0, 0, 0, 0), default=(2, 0, 0, 0))
    assert notes(cli) == ["no engine is alive: nothing goes on until one runs (`argyll engine`)"]


def test_queues_in_which_nothing_is_need_no_engine(cli: Cli, queues: Any) -> None:
    queues(control=(0, 0, 0, 0), default=(0, 0, 0, 0))
    assert notes(cli) == []


# ----------------------------------------------------------------------- watch


def pack(**given: Any) -> dict[str, Any]:
    """A flow with one active python step."""
    step = {
        "id": "pack",
        "status": "active",
        "handler": "pack",
        "queue": "packing",
        "items": 1,
        **dict.fromkeys(("succeeded", "failed", "skipped", "accepted", "waiting", "retries", "lost"), 0),
        "active": 1,
        "started_at": "2026-11-27T09:43:31.024Z",
        **given,
    }
    return {"status": "active", "steps": [step]}


@pytest.mark.parametrize(
    ("alive", "given", "why"),
    [
        (UNKNOWN, {}, {}),
        (Alive({"packing"}, {"pack"}), {}, {}),
        (Alive({"packing"}, {"ship"}), {}, {"pack": NO_HANDLER}),
        (Alive({"default"}, {"pack"}), {}, {"pack": "no live engine serves queue packing"}),
        (Alive({"packing"}, set()), {"accepted": 1}, {}),
        (Alive({"packing"}, set()), {"items": 2, "succeeded": 1, "active": 0}, {"pack": NO_HANDLER}),
        (Alive({"packing"}, set()), {"status": "pending"}, {}),
    ],
)
def test_a_step_that_nobody_can_run_is_named(alive: Alive, given: Any, why: dict[str, str]) -> None:
    assert nowhere(pack(**given), alive) == why


def test_where_no_engine_is_that_is_all_there_is_to_say() -> None:
    nobody = Alive(frozenset(), frozenset())
    assert (nowhere(pack(), nobody), "no engine is alive" in hindrance(pack(), nobody)) == ({}, True)


def test_a_row_says_what_keeps_its_step_from_running() -> None:
    [row] = rows_of(pack(), 1_795_772_612_024, Alive({"packing"}, set()))
    assert row.note == NO_HANDLER


@pytest.mark.parametrize(
    ("status", "step_status", "told"),
    [("failed", "active", True), ("failed", "pending", False), ("active", "active", False)],
)
def test_a_flow_that_is_over_and_still_waits_says_so(status: str, step_status: str, told: bool) -> None:
    progress = {**pack(status=step_status), "status": status}
    assert (hindrance(progress, UNKNOWN) == OVER) is told


PAINT = {
    "id": "paint",
    "type": "python",
    "attributes": {"c": {"role": "output"}},
    "python": {"handler": "paint"},
}


def test_in_a_pipe_a_step_that_nobody_can_run_is_said_first(real_cli: Cli) -> None:
    real_cli.register(PAINT)
    real_cli("flow", "start", "paint", "--id", "f")
    with real_cli.engine():
        watching = process("flow", "watch", "f", **real_cli.variables)
        told = read_until(watching.stderr, NO_HANDLER)
    watching.send_signal(signal.SIGINT)
    assert (told, ended(watching).status) == (f"paint: {NO_HANDLER}\n", 130)


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize(
    ("has_engine", "hint"), [(True, f"paint: {NO_HANDLER}\n"), (False, f"{flow_screens.NO_ENGINE}\n")]
)
def test_who_starts_a_flow_and_waits_at_a_terminal_is_told_that_nothing_can_run(
    is_terminal: bool, has_engine: bool, hint: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_watch, "is_terminal", lambda stream: is_terminal)
    monkeypatch.setattr(sys.modules["argyll_redis.cli.flow"], "PAST_TIMEOUT_MS", 0)
    cli.register(PAINT)
    with cli.engine() if has_engine else nullcontext():
        answer = cli("flow", "start", "paint", "--wait", "--timeout-ms", "1000" if has_engine else "1")
    assert (hint in answer.err, answer.out) == (is_terminal, "")


def test_nothing_is_hinted_of_a_flow_that_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_watch, "is_terminal", lambda stream: True)
    cli.register(TRIPLE, DOUBLE)
    with cli.engine():
        answer = cli("flow", "start", "triple", "--init", "a=1", "--wait")
    assert (answer.status, answer.err) == (0, "")


def test_who_gives_up_waiting_is_told_what_the_flow_waits_for(cli: Cli) -> None:
    cli.register(PAINT)
    cli("flow", "start", "paint", "--id", "f")
    with cli.engine():
        answer = cli("flow", "wait", "f", "--timeout-ms", "1")
    assert (answer.status, answer.err) == (
        5,
        "error: gave up waiting after 1 ms: flow f is active; "
        "step `paint`: no live engine has this handler (`paint`)\n",
    )


def test_in_a_pipe_it_is_said_that_what_ran_is_waited_for_after_the_end(real_cli: Cli) -> None:
    real_cli.register(PAINT)
    real_cli("flow", "start", "paint", "--id", "f")
    real_cli("flow", "cancel", "f")
    watching = process("flow", "watch", "f", **real_cli.variables)
    told = read_until(watching.stderr, OVER)
    watching.send_signal(signal.SIGINT)
    assert (told.splitlines()[-1], ended(watching).status) == (OVER, 130)


@pytest.mark.parametrize("command", [("events", "f", "--follow"), ("watch", "f"), ("watch", "f", "--json")])
def test_what_follows_ends_with_its_reader_though_nothing_happens(
    command: tuple[str, ...], real_cli: Cli
) -> None:
    real_cli.register(PAINT)
    real_cli("flow", "start", "paint", "--id", "f")
    following = process("flow", *command, **real_cli.variables)
    assert following.stdout is not None
    assert following.stdout.readline()
    following.stdout.close()
    assert ended(following).status == READER_GONE
