"""`flow complete` and `flow fail`: people and outside systems, with a token and without."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cli_words import Cli

from argyll_redis import ACCEPTED, Argyll


@contextmanager
def office(cli: Cli) -> Iterator[None]:
    """An engine with a step that a person answers, alone and for each of several."""
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        app = Argyll(cli.url, cli.namespace)

        @app.step(outputs="approved")
        async def approve(order: int) -> Any:
            return ACCEPTED

        @app.step(outputs="vote", for_each="voters", parallelism=5)
        async def ask(voters: str) -> Any:
            return ACCEPTED

        async def until() -> None:
            while not stop.is_set():
                await asyncio.sleep(0.01)

        async with app:
            await app.run(until=until, on_ready=lambda *_: ready.set())

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def waiting(cli: Cli) -> Iterator[Cli]:
    """A flow `one` in which one item waits, and a flow `many` in which three do."""
    with office(cli):
        cli("flow", "start", "approve", "--init", "order=7", "--id", "one")
        cli("flow", "start", "ask", "--init", 'voters=["a", "b", "c"]', "--id", "many")
        for flow, count in (("one", 1), ("many", 3)):
            until_accepted(cli, flow, count)
        yield cli


def until_accepted(cli: Cli, flow: str, count: int) -> None:
    """Waits until so many items wait for outside."""

    async def follow() -> None:
        async with Argyll(cli.url, cli.namespace) as app:
            seen = 0
            async for event in app.flow(flow).events():
                seen += event["type"] == "work_accepted"
                if seen == count:
                    return

    asyncio.run(asyncio.wait_for(follow(), 10))


def outcome(cli: Cli, flow: str) -> Any:
    return cli("flow", "wait", flow, "--timeout-ms", "10000", "--json").json


def tokens(cli: Cli, flow: str, step: str) -> list[str]:
    return list(cli("flow", "show", flow, "--json").json["executions"][step]["work_items"])


def test_the_one_item_that_waits_needs_no_token(waiting: Cli) -> None:
    answer = waiting("flow", "complete", "one", "approve", "--output", 'approved={"by": "me"}')
    assert (answer.status, answer.out) == (
        0,
        "the work item of step approve of flow one is completed\n",
    )
    assert outcome(waiting, "one")["result"] == {"approved": {"by": "me"}}


def test_outputs_are_json_if_they_parse_and_else_text(waiting: Cli) -> None:
    answer = waiting("flow", "complete", "one", "approve", "--output", "approved=yes", "--json")
    message = "the work item of step approve of flow one is completed"
    assert (answer.status, answer.json) == (0, {"message": message, "flow_id": "one"})
    assert outcome(waiting, "one")["result"] == {"approved": "yes"}


def test_a_failure_needs_no_token_either_and_says_what_went_wrong(waiting: Cli) -> None:
    answer = waiting("flow", "fail", "one", "approve", "--error", "over budget")
    assert (answer.status, answer.out) == (0, "the work item of step approve of flow one is failed\n")
    assert "over budget" in outcome(waiting, "one")["error"]


def test_several_items_that_wait_are_listed_and_nothing_is_done(waiting: Cli) -> None:
    for command in ("complete", "fail"):
        answer = waiting("flow", command, "many", "ask")
        lines = answer.err.splitlines()
        assert (answer.status, answer.out) == (2, "")
        assert lines[0] == "error: 3 work items of step ask wait; say which one with --token"
        assert [line.split()[-1] for line in lines[1:]] == tokens(waiting, "many", "ask")
    assert waiting("flow", "show", "many", "--json").json["status"] == "active"


def test_an_item_is_chosen_by_its_token(waiting: Cli) -> None:
    first, second, third = tokens(waiting, "many", "ask")
    for token, vote in ((third, 3), (first, 1)):
        waiting("flow", "complete", "many", "ask", "--token", token, "--output", f"vote={vote}")
    answer = waiting("flow", "complete", "many", "ask", "--output", "vote=2")
    assert answer.status == 0
    votes = [each["vote"] for each in outcome(waiting, "many")["result"]["vote"]]
    again = waiting("flow", "complete", "many", "ask", "--token", second)
    assert (votes, again.status) == ([1, 2, 3], 0)
    assert again.out == "the work item of step ask of flow many was settled already\n"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["gone", "approve"], 4, 'no flow "gone" exists'),
        (["one", "aprove"], 4, "did you mean `approve`?"),
        (["one", "approve", "--token", "0" * 32], 4, "has this token"),
        (["one", "approve", "--token", ""], 4, "has this token"),
        (["gone", "approve", "--token", "0" * 32], 4, "has this token"),
        (["one"], 2, "missing argument 'STEP'"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    arguments: list[str], status: int, words: str, waiting: Cli
) -> None:
    for command in ("complete", "fail"):
        answer = waiting("flow", command, *arguments)
        assert (answer.status, answer.out, answer.err.count("\n")) == (status, "", 1), answer
        assert words in answer.err


def test_a_step_in_which_nothing_waits_is_not_found(waiting: Cli) -> None:
    waiting("flow", "complete", "one", "approve")
    answer = waiting("flow", "complete", "one", "approve")
    assert (answer.status, answer.err.count("\n")) == (4, 1)
    assert "no work item of step approve of flow one waits for an outcome from outside" in answer.err


@pytest.mark.parametrize("output", ["approved", "=1", "approved=NaN", "approved=99999999999999999999"])
def test_an_output_that_is_none_is_refused_before_anything_is_done(output: str, waiting: Cli) -> None:
    answer = waiting("flow", "complete", "one", "approve", "--output", output)
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert waiting("flow", "show", "one", "--json").json["status"] == "active"


def test_what_was_imported_while_it_waited_is_left_as_it_is(waiting: Cli) -> None:
    other = Cli()
    other("flow", "import", "-", stdin=waiting("flow", "export", "one").out)
    for command in ("complete one approve", "fail one approve", "cancel one", "wait one"):
        answer = other("flow", *command.split())
        assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert "was imported" in answer.err
    watched = other("flow", "watch", "one")
    assert (watched.status, "nothing of it goes on here" in watched.err) == (0, True)
